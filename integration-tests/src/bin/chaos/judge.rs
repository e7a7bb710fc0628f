//! Whether a pod is what its last accepted request asked for: a pure function of the model and of what was found.

use std::collections::BTreeMap;

use crate::{
    model::{Live, Model, Wants, World},
    script::Kind,
    snapshot::{Object, Row, Snapshot, What, title},
};

/// What belongs to a running pod of this environment.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether each start has a NetworkPolicy.
    pub policies: bool,
}

/// Everything that is wrong with a pod; empty when all is well.
pub fn judge(pod_id: &str, model: &Model, snapshot: &Snapshot, rules: Rules) -> Vec<String> {
    let none = Vec::new();
    let rows = snapshot.rows.get(pod_id).unwrap_or(&none);
    let nothing = Vec::new();
    let objects = snapshot.objects.get(pod_id).unwrap_or(&nothing);
    let mut problems = Vec::new();
    for object in objects {
        if !rows.iter().any(|row| Some(row.uid) == object.uid) {
            problems.push(format!("{} belongs to no row", title(object)));
        }
    }
    for row in rows.iter().filter(|row| row.deleted) {
        if !row.gone {
            problems
                .push(format!("the deleted row {} still waits for its objects ({})", row.uid, row.because));
        }
        let left = objects.iter().filter(|object| object.uid == Some(row.uid));
        problems
            .extend(left.map(|object| format!("{} is left of the deleted row {}", title(object), row.uid)));
    }
    let live: Vec<&Row> = rows.iter().filter(|row| !row.deleted).collect();
    let found = match live.as_slice() {
        [] => model.worlds().any(Option::is_none).then(Vec::new),
        [row] => fitting(row, model, objects, rules),
        _ => Some(vec!["it has two rows".to_owned()]),
    };
    problems.extend(found.unwrap_or_else(|| vec![unexplained(&live, model)]));
    problems
}

/// What is wrong with a row in the world that explains it best; `None` when no world does.
fn fitting(row: &Row, model: &Model, objects: &[Object], rules: Rules) -> Option<Vec<String>> {
    let fits = |world: &&World| {
        world.is_some_and(|live| row.mark == Some(live.mark) && row.on == (live.wants == Wants::On))
    };
    let mine: Vec<&Object> = objects.iter().filter(|object| object.uid == Some(row.uid)).collect();
    let worlds = model.worlds().filter(fits).flatten();
    worlds.map(|live| problems_of(row, *live, &mine, rules)).min_by_key(Vec::len)
}

fn unexplained(rows: &[&Row], model: &Model) -> String {
    let found = match rows {
        [row] => format!("mark {:?}, on {}, {}", row.mark, row.on, row.status),
        _ => "no pod".to_owned(),
    };
    format!("there is {found}, but it must be one of {:?}", model.worlds().collect::<Vec<_>>())
}

fn problems_of(row: &Row, live: Live, objects: &[&Object], rules: Rules) -> Vec<String> {
    let mut problems = Vec::new();
    let ended = live.kind == Kind::Job && row.status == "COMPLETE";
    let wanted = if live.wants == Wants::On { "AVAILABLE" } else { "STOPPED" };
    if row.status != wanted && !(live.wants == Wants::On && ended) {
        problems.push(format!("it is {} instead of {wanted}: {}", row.status, row.because));
    }
    let runs = live.wants == Wants::On && !ended;
    let mut expected: BTreeMap<What, usize> = BTreeMap::new();
    if runs {
        expected.extend([(What::Pod, 1), (What::Service, 1), (What::Secret, 1)]);
        if rules.policies {
            expected.insert(What::Policy, 1);
        }
    }
    for what in [What::Pod, What::Service, What::Secret, What::Policy] {
        let found: Vec<&&Object> = objects.iter().filter(|object| object.what == what).collect();
        let wanted = expected.get(&what).copied().unwrap_or(0);
        if found.len() != wanted {
            let names: Vec<String> = found.iter().map(|object| title(object)).collect();
            problems.push(format!("it has {} instead of {wanted} of {what:?}: {names:?}", found.len()));
        }
        for object in found.iter().filter(|object| object.instance != row.instance) {
            problems.push(format!("{} is not of the start {:?}", title(object), row.instance));
        }
        for object in found.iter().filter(|object| object.deleting) {
            problems.push(format!("{} is being deleted", title(object)));
        }
        if what == What::Pod && runs && !found.iter().all(|object| object.running) {
            problems.push("its container does not run".to_owned());
        }
        // A start's Secret shows with which definition the container was started.
        let old = found.iter().filter_map(|object| object.mark).find(|mark| *mark < live.least);
        if let Some(mark) = old {
            problems.push(format!("its container was started from definition {mark}, before {}", live.least));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{Outcome, Request, Seen};

    const RULES: Rules = Rules { policies: false };

    fn row(status: &str, on: bool) -> Row {
        Row {
            uid: Uuid::from_u128(1),
            pod_id: "p".to_owned(),
            status: status.to_owned(),
            because: String::new(),
            on,
            instance: on.then(|| Uuid::from_u128(2)),
            deleted: false,
            gone: false,
            mark: Some(1),
        }
    }

    fn object(what: What) -> Object {
        Object {
            what,
            name: "p".to_owned(),
            k8s_uid: "k".to_owned(),
            pod_id: "p".to_owned(),
            uid: Some(Uuid::from_u128(1)),
            instance: Some(Uuid::from_u128(2)),
            deleting: false,
            running: true,
            pending: false,
            container: None,
            mark: (what == What::Secret).then_some(1),
        }
    }

    fn snapshot(rows: Vec<Row>, objects: Vec<Object>) -> Snapshot {
        Snapshot { rows: [("p".to_owned(), rows)].into(), objects: [("p".to_owned(), objects)].into() }
    }

    fn all() -> Vec<Object> {
        [What::Pod, What::Service, What::Secret].map(object).to_vec()
    }

    fn created() -> Model {
        let mut model = Model::absent();
        let request = Request::Create { mark: 1, kind: Kind::Httpd, wants: Wants::On };
        model.note(request, Outcome::Accepted).unwrap();
        model.read(Some(Seen { mark: 1, wants: Wants::On })).unwrap();
        model
    }

    #[test]
    fn a_pod_as_it_was_asked_for_is_well() {
        let found = snapshot(vec![row("AVAILABLE", true)], all());
        assert_eq!(judge("p", &created(), &found, RULES), [""; 0]);
        assert_eq!(judge("p", &Model::absent(), &Snapshot::default(), RULES), [""; 0]);
    }

    #[test]
    fn what_is_lost_doubled_orphaned_or_stale_is_found() {
        let model = created();
        let problem = |rows, objects, words: &str| {
            let found = judge("p", &model, &snapshot(rows, objects), RULES);
            assert!(found.iter().any(|problem| problem.contains(words)), "{words}: {found:?}");
        };
        problem(vec![], vec![], "no pod");
        problem(vec![row("STOPPED", false)], vec![], "there is mark");
        problem(vec![row("SPAWNING", true)], all(), "instead of AVAILABLE");
        problem(vec![row("AVAILABLE", true)], vec![], "0 instead of 1 of Pod");
        let mut doubled = all();
        doubled.push(object(What::Pod));
        problem(vec![row("AVAILABLE", true)], doubled, "2 instead of 1 of Pod");
        let mut orphan = all();
        orphan.push(Object { uid: Some(Uuid::from_u128(9)), ..object(What::Secret) });
        problem(vec![row("AVAILABLE", true)], orphan, "belongs to no row");
        let old = Object { instance: Some(Uuid::from_u128(8)), ..object(What::Pod) };
        problem(vec![row("AVAILABLE", true)], vec![old], "is not of the start");
        let tombstone = Row { deleted: true, uid: Uuid::from_u128(5), ..row("STOPPED", false) };
        problem(vec![row("AVAILABLE", true), tombstone], all(), "still waits for its objects");
    }

    #[test]
    fn a_restart_that_brought_the_old_definition_back_is_found() {
        let mut model = created();
        model.note(Request::Update { mark: 2, to: None }, Outcome::Accepted).unwrap();
        model.note(Request::Restart, Outcome::Accepted).unwrap();
        let found = snapshot(vec![Row { mark: Some(2), ..row("AVAILABLE", true) }], all());
        let problems = judge("p", &model, &found, RULES);
        assert!(problems[0].contains("started from definition 1, before 2"), "{problems:?}");
    }
}
