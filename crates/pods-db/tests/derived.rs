//! Pods with templates: what a start freezes, what deriving costs, and pods that no longer derive.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use chrono::TimeDelta;
use pods_core::{
    Networking, PodDefinition, Status, TemplateDefinition,
    reason::Reason,
    template::{ChainError, Tags},
    transition::Event,
};
use pods_db::{
    Connection, action_logs, credentials,
    credentials::SealedCredentials,
    derived, instances,
    pods::{NewPodRow, PodRow},
    routes,
    template_tags::TagRow,
    testing::{TestDatabase, definition, done, forget_tag, new_pod, now, pod, tag, template, tenant},
    transitions::{Applied, Change, apply},
};

fn layer(parent: Option<&TagRow>, command: &str) -> TemplateDefinition {
    TemplateDefinition {
        template: parent.map(|tag| tag.reference.clone()),
        environment_variables: [(command.to_uppercase(), "set".to_owned())].into(),
        command: Some(vec![command.to_owned()]),
        ..TemplateDefinition::default()
    }
}

/// A chain of three tags, the outermost last.
async fn three(conn: &mut Connection, id: &str) -> [TagRow; 3] {
    let template = template(conn, id).await;
    let deep = tag(conn, &template, "deep", layer(None, "deep")).await;
    let middle = tag(conn, &template, "middle", layer(Some(&deep), "middle")).await;
    let close = tag(conn, &template, "close", layer(Some(&middle), "close")).await;
    [deep, middle, close]
}

async fn using(conn: &mut Connection, id: &str, tag: &TagRow) -> PodRow {
    let tenant = tenant();
    let definition = PodDefinition { template: tag.reference.clone(), ..definition() };
    let new = NewPodRow { definition, ..new_pod(&tenant, id, false) };
    PodRow::create(conn, new).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_pods_derives_with_one_statement() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let mut rows = vec![pod(conn, "plain", false).await];
    let plain = database.db().statements();
    let tags = derived::tags(conn, "dev", rows.iter().map(|row| row.definition.template.as_str())).await;
    assert_eq!(tags.unwrap(), Tags::new());
    assert_eq!(database.db().statements(), plain, "without templates there is nothing to ask");
    for name in ["shop", "wiki", "blog"] {
        let [deep, _, close] = three(conn, name).await;
        for nth in 0..5 {
            rows.push(using(conn, &format!("{name}{nth}"), &close).await);
        }
        rows.push(using(conn, &format!("{name}deep"), &deep).await);
    }
    let before = database.db().statements();
    let tags = derived::tags(conn, "dev", rows.iter().map(|row| row.definition.template.as_str())).await;
    let tags = tags.unwrap();
    assert_eq!(database.db().statements() - before, 1);
    assert_eq!(tags.len(), 9);
    for row in rows.iter().filter(|row| row.pod_id.ends_with('0')) {
        let merged = row.derived(&tags).unwrap().definition;
        assert_eq!(merged.command, Some(vec!["close".to_owned()]));
        let names: Vec<&str> = merged.environment_variables.keys().map(String::as_str).collect();
        assert_eq!(names, ["CLOSE", "DEEP", "MIDDLE"]);
    }
    assert_eq!(rows[0].derived(&tags).unwrap().definition.command, None);
    assert!(
        derived::tags(conn, "far", rows.iter().map(|row| row.definition.template.as_str()))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_those_of_the_merged_pods() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let shop = template(conn, "shop").await;
    let entries = |names: &[&str]| -> BTreeMap<String, Networking> {
        names.iter().map(|name| ((*name).to_owned(), Networking::default())).collect()
    };
    let deep = TemplateDefinition { networking: entries(&["default", "web"]), ..layer(None, "deep") };
    let deep = tag(conn, &shop, "deep", deep).await;
    let close = tag(conn, &shop, "close", layer(Some(&deep), "close")).await;
    let using_both = using(conn, "merged", &close).await;
    let tenant = tenant();
    let mut new = new_pod(&tenant, "own", false);
    new.definition.template = close.reference.clone();
    new.definition.networking = entries(&["default", "admin"]);
    new.modified_fields.insert("networking".to_owned());
    let own = PodRow::create(conn, new).await.unwrap();
    let plain = pod(conn, "plain", true).await;
    let deleted = pod(conn, "deleted", false).await;
    done(conn, &deleted, Change::new(Event::Delete, now())).await;

    let before = database.db().statements();
    let mut routes = routes::all(conn, "dev").await.unwrap();
    assert_eq!(database.db().statements() - before, 3);
    routes.sort_by(|a, b| a.pod_id.cmp(&b.pod_id));
    let tags = derived::tags(conn, "dev", [close.reference.as_str()]).await.unwrap();
    for (route, row) in routes.iter().zip([&using_both, &own, &plain]) {
        let merged = row.derived(&tags).unwrap().definition;
        assert_eq!((&route.networking, &route.problem), (&merged.networking, &None));
        assert_eq!((route.uid, &route.k8_name, route.status), (row.uid, &row.k8_name, row.status));
        assert_eq!(route.tenant, row.tenant());
    }
    let names: Vec<&str> = routes[1].networking.keys().map(String::as_str).collect();
    assert_eq!((routes.len(), names), (3, vec!["admin", "default", "web"]));

    let uids = [own.uid, deleted.uid];
    let some = routes::some(conn, "dev", &uids).await.unwrap();
    assert_eq!(some, [routes[1].clone()]);
    assert_eq!(routes::some(conn, "far", &uids).await.unwrap(), []);
    forget_tag(conn, &deep.reference).await;
    let routes = routes::all(conn, "dev").await.unwrap();
    let mut broken: Vec<_> = routes.into_iter().filter(|route| route.problem.is_some()).collect();
    broken.sort_by(|a, b| a.pod_id.cmp(&b.pod_id));
    let [of_template, of_own] = &broken[..] else { panic!("{broken:?}") };
    let names = |networking: &BTreeMap<String, Networking>| networking.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&of_own.networking),
        ["admin", "default"],
        "what the row itself has is known all the same"
    );
    assert_eq!(names(&of_template.networking), names(&using_both.definition.networking));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_freezes_the_merged_definition() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let [_, _, close] = three(conn, "shop").await;
    let row = using(conn, "docpod", &close).await;
    assert_eq!(PodRow::by_uid(conn, row.uid).await.unwrap().unwrap(), row, "every field is stored");
    let started = done(conn, &row, Change::new(Event::Start, now())).await;
    assert_eq!(started.definition, row.definition, "the merge is stored nowhere else");
    let frozen =
        instances::get(conn, started.instance_id.unwrap()).await.unwrap().unwrap().effective.definition;
    assert_eq!(frozen.command, Some(vec!["close".to_owned()]));
    assert_eq!(frozen.template, close.reference);

    let running = done(conn, &started, Change::new(Event::Running, now())).await;
    let restarting = done(conn, &running, Change::new(Event::Restart, now())).await;
    let again = done(conn, &restarting, Change::new(Event::ObjectsGone, now())).await;
    assert_eq!(again.status, Status::Requested);
    let frozen = instances::get(conn, again.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(frozen.effective.definition.command, Some(vec!["close".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_follows_the_template() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let template = template(conn, "shop").await;
    let limited = TemplateDefinition { time_to_stop_default: Some(600), ..TemplateDefinition::default() };
    let limited = tag(conn, &template, "limited", limited).await;
    let row = using(conn, "docpod", &limited).await;
    let row = done(conn, &row, Change::new(Event::Start, now())).await;
    let began = now();
    let row = done(conn, &row, Change::new(Event::Running, now()).started_at(began)).await;
    assert_eq!(row.time_to_stop_ts, Some(began + TimeDelta::seconds(600)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_one_run_leaves_the_ledger_with_it() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let tenant = tenant();
    let mut new = new_pod(&tenant, "docpod", true);
    new.definition.time_to_stop_instance = Some(300);
    new.modified_fields.insert("time_to_stop_instance".to_owned());
    let row = PodRow::create(conn, new).await.unwrap();
    let row = done(conn, &row, Change::new(Event::Stop, now())).await;
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    assert_eq!(row.definition.time_to_stop_instance, None);
    assert!(!row.modified_fields.contains("time_to_stop_instance"), "the template may limit the next run");
    assert!(row.modified_fields.contains("pod_id"));
    assert_eq!(PodRow::by_uid(conn, row.uid).await.unwrap().unwrap(), row);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_derive_is_not_started_and_nothing_is_stopped_for_it() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let [deep, middle, close] = three(conn, "shop").await;
    let stopped = using(conn, "stopped", &close).await;
    let running = using(conn, "running", &close).await;
    let running = done(conn, &running, Change::new(Event::Start, now())).await;
    let restarting = using(conn, "restarting", &close).await;
    let restarting = done(conn, &restarting, Change::new(Event::Restart, now())).await;
    forget_tag(conn, &deep.reference).await;

    let missing = Applied::Underivable(ChainError::Missing(deep.reference.clone()));
    assert_eq!(apply(conn, &stopped, Change::new(Event::Start, now())).await.unwrap(), missing);
    assert_eq!(PodRow::by_uid(conn, stopped.uid).await.unwrap().unwrap(), stopped);
    let running = done(conn, &running, Change::new(Event::Running, now())).await;
    assert_eq!(running.status, Status::Available, "what runs goes on");
    assert!(running.time_to_stop_ts.is_some(), "with the limits it was started with");
    assert_eq!(apply(conn, &running, Change::new(Event::Restart, now())).await.unwrap(), missing);
    let lost = done(conn, &running, Change::new(Event::Lost, now())).await;
    assert_eq!(lost.status, Status::Requested, "a replacement is built from the snapshot");
    done(conn, &lost, Change::new(Event::Stop, now())).await;

    let failed =
        done(conn, &restarting, Change::new(Event::ObjectsGone, now()).log("stopped, starting again")).await;
    assert_eq!((failed.status, failed.instance_id), (Status::Error, None));
    assert_eq!(failed.status_container.code, Some(Reason::TemplateUnavailable));
    let message = failed.status_container.message.clone().unwrap();
    assert!(message.contains(&deep.reference), "{message}");
    let log = action_logs::list(conn, failed.uid).await.unwrap();
    assert!(log.last().unwrap().contains("could not be started"), "{log:?}");
    assert_eq!(PodRow::by_uid(conn, failed.uid).await.unwrap().unwrap(), failed);
    assert_eq!(apply(conn, &failed, Change::new(Event::Start, now())).await.unwrap(), missing);
    done(conn, &failed, Change::new(Event::Stop, now())).await;

    let tags = derived::tags(conn, "dev", [stopped.definition.template.as_str()]).await.unwrap();
    assert_eq!(tags.len(), 2, "{} and {}", middle.reference, close.reference);
    assert!(stopped.derived(&tags).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_with_the_pod_and_are_replaced_by_one() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", false).await;
    let first = credentials::get(conn, row.uid).await.unwrap().unwrap();
    assert_eq!(first.sealed, b"sealed");
    let sealed = |text: &str| SealedCredentials { key_id: "two".to_owned(), sealed: text.into() };
    assert!(!credentials::replace(conn, row.uid, None, &sealed("x")).await.unwrap());
    let attempts = (0..4).map(|nth| {
        let (database, first) = (&database, &first);
        async move {
            let conn = &mut database.conn().await;
            credentials::replace(conn, row.uid, Some(first), &sealed(&nth.to_string())).await.unwrap()
        }
    });
    let won: Vec<bool> = futures::future::join_all(attempts).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap();
    let other = pod(conn, "other", false).await;
    let many = credentials::get_many(conn, &[row.uid, other.uid]).await.unwrap();
    assert_eq!((many[&row.uid].clone(), many[&other.uid].clone()), (sealed(&winner.to_string()), first));
    assert_eq!(format!("{:?}", sealed("hunter2")), "SealedCredentials { key_id: \"two\", .. }");
}
