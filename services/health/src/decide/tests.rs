//! Every case of the table in docs/lifecycle.md that health decides.

use pods_core::{PodDefinition, Resources};
use uuid::Uuid;

use pods_kube::observe::{ContainerState, Probes};

use super::*;

mod causes;

const NOW: i64 = 1_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).unwrap()
}

pub(super) fn row(status: Status) -> PodRow {
    let requested = match status {
        Status::Stopped | Status::ShuttingDown => StatusRequested::Off,
        Status::Restarting => StatusRequested::Restart,
        _ => StatusRequested::On,
    };
    PodRow {
        uid: Uuid::from_u128(1),
        site_id: "dev".into(),
        tenant_id: "dev".into(),
        pod_id: "a".into(),
        k8_name: "pods-dev-dev-a".into(),
        definition: PodDefinition::with_resources(Resources::default()),
        modified_fields: Default::default(),
        status_requested: requested,
        status,
        status_container: match status {
            Status::Available => StatusContainer::because(Reason::Running, "The container runs."),
            _ => StatusContainer::default(),
        },
        status_changed_ts: at(-100),
        revision: 7,
        instance_id: (status != Status::Stopped).then(|| Uuid::from_u128(2)),
        losses: 0,
        not_before: None,
        creation_ts: at(-200),
        update_ts: at(-200),
        start_instance_ts: (status == Status::Available).then(|| at(-50)),
        time_to_stop_ts: None,
        deleted_at: None,
        objects_gone_ts: None,
        tenant_host: "dev.localhost".into(),
        created_by: "alice".into(),
    }
}

fn pod(container: ContainerState, end: Option<End>) -> Observation {
    Observation {
        name: "pods-dev-dev-a-00000000".into(),
        uid: Uuid::from_u128(1),
        instance: Uuid::from_u128(2),
        k8s_uid: "k".into(),
        phase: "Pending".into(),
        container,
        deleting: None,
        deadline_set: false,
        node: Some("node".into()),
        unschedulable: None,
        created: Some(at(-60)),
        end,
        disruption: None,
        scheduled: None,
        ready: true,
        ready_since: None,
        restart_count: 0,
        probes: Probes::default(),
        open_unready: false,
        traceparent: None,
    }
}

fn running() -> Observation {
    pod(ContainerState::Running { since: Some(at(-1)) }, None)
}

fn waiting_for(reason: &str, message: &str) -> Observation {
    pod(ContainerState::Waiting { reason: reason.into(), message: message.into() }, None)
}

fn exited(exit_code: i32, oom_killed: bool, reason: &str) -> Observation {
    let started_at = (!waiting::could_not_start(reason)).then(|| at(-9));
    let container = ContainerState::Terminated {
        exit_code,
        reason: reason.into(),
        message: String::new(),
        started_at,
        finished_at: Some(at(-1)),
    };
    pod(container, Some(End::Exited { exit_code, oom_killed, finished_at: Some(at(-1)) }))
}

struct Case {
    pods: Vec<Arc<Observation>>,
    trigger: Trigger,
    tail: Tail,
    synced: bool,
    silence: Option<Silence>,
    trouble_since: Option<DateTime<Utc>>,
    note: Note,
    last_lines: Option<&'static str>,
}

fn case(pods: impl IntoIterator<Item = Observation>) -> Case {
    let pods = pods.into_iter().map(Arc::new).collect();
    Case {
        pods,
        trigger: Trigger::CHANGED,
        tail: Tail::Unread,
        synced: true,
        silence: None,
        trouble_since: None,
        note: Note::default(),
        last_lines: None,
    }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn of(&self, row: &PodRow) -> Plan {
        let seen = Seen {
            pods: &self.pods,
            synced: self.synced,
            trigger: self.trigger,
            tail: self.tail,
            silence: self.silence,
            trouble_since: self.trouble_since,
            give_up_after: Duration::from_secs(20),
            note: &self.note,
            last_lines: self.last_lines,
            now: at(0),
        };
        decide(row, &seen)
    }
}

/// The event that is recorded and the code that it is given.
fn recorded(plan: &Plan) -> Option<(Event, Reason)> {
    match &plan.step {
        Step::Record(record) => Some((record.event, record.because.code.unwrap())),
        _ => None,
    }
}

#[test]
fn a_running_container_makes_a_start_available_once() {
    for status in [Status::Requested, Status::Spawning] {
        let plan = case([running()]).of(&row(status));
        assert_eq!(recorded(&plan), Some((Event::Running, Reason::Running)), "{status}");
        assert!(plan.follow);
    }
    let plan = case([running()]).of(&row(Status::Available));
    assert_eq!((plan.step, plan.follow), (Step::Nothing, true));
}

fn silent_for(seconds: u64) -> Option<Silence> {
    Some(Silence { lasted: Duration::from_secs(seconds), limit: Duration::from_secs(60) })
}

/// The code that a row is given without a change of status.
fn explained(plan: &Plan) -> Option<(Reason, String)> {
    match &plan.step {
        Step::Explain(because) => Some((because.code.unwrap(), because.message.clone().unwrap())),
        _ => None,
    }
}

#[test]
fn a_start_time_is_never_in_the_future() {
    let ahead = pod(ContainerState::Running { since: Some(at(60)) }, None);
    let Step::Record(record) = case([ahead]).of(&row(Status::Spawning)).step else { panic!("not recorded") };
    assert_eq!(record.started_at, Some(at(0)));
}

#[test]
fn an_end_waits_for_its_log_but_not_for_ever() {
    let available = row(Status::Available);
    let ended = |tail| case([exited(0, false, "Completed")]).with(|case| case.tail = tail).of(&available);
    for tail in [Tail::Unread, Tail::Reading(Duration::from_secs(9))] {
        let plan = ended(tail);
        assert_eq!((plan.step, plan.follow), (Step::Nothing, true), "{tail:?}");
        assert!(plan.again.is_some());
    }
    for tail in [Tail::Stored, Tail::Reading(Duration::from_secs(10))] {
        assert_eq!(recorded(&ended(tail)), Some((Event::Succeeded, Reason::ExitCode)), "{tail:?}");
    }
}

#[test]
fn ends_and_their_codes() {
    let table = [
        (exited(0, false, "Completed"), Event::Succeeded, Reason::ExitCode),
        (exited(1, false, "Error"), Event::Failed, Reason::ExitCode),
        (exited(137, true, "OOMKilled"), Event::Failed, Reason::OutOfMemory),
        (exited(127, false, "ContainerCannotRun"), Event::Failed, Reason::ContainerStart),
        (
            pod(ContainerState::None, Some(End::StorageLimit { message: "m".into() })),
            Event::Failed,
            Reason::StorageLimit,
        ),
    ];
    for (pod, event, reason) in table {
        let plan = case([pod.clone()]).with(|case| case.tail = Tail::Stored).of(&row(Status::Available));
        assert_eq!(recorded(&plan), Some((event, reason)), "{pod:?}");
    }
}

#[test]
fn a_container_that_ended_unseen_gets_its_start_recorded_first() {
    let stored = |pod| case([pod]).with(|case| case.tail = Tail::Stored);
    let plan = stored(exited(0, false, "Completed")).of(&row(Status::Spawning));
    assert_eq!(recorded(&plan), Some((Event::Running, Reason::Running)));
    // One that never ran is never called available.
    let plan = stored(exited(127, false, "StartError")).of(&row(Status::Spawning));
    assert_eq!(recorded(&plan), Some((Event::Failed, Reason::ContainerStart)));
}

#[test]
fn a_pod_that_somebody_deletes_is_lost_and_has_not_failed() {
    let mut deleted = exited(143, false, "Error");
    deleted.deleting = Some(at(5));
    let plan = case([deleted]).with(|case| case.tail = Tail::Stored).of(&row(Status::Available));
    assert_eq!(recorded(&plan), Some((Event::Lost, Reason::Vanished)));
    let plan = case([]).with(|case| case.trigger = Trigger::DELETED).of(&row(Status::Available));
    assert_eq!(plan.step, Step::AskIfGone);
}

#[test]
fn absence_means_something_only_in_a_complete_view_and_for_a_pod_that_was_there() {
    let available = row(Status::Available);
    assert_eq!(case([]).with(|case| case.synced = false).of(&available).step, Step::Nothing);
    assert_eq!(case([]).of(&available).step, Step::AskIfGone);
    assert_eq!(case([]).of(&row(Status::Spawning)).step, Step::Nothing);
    let gone = |status| case([]).with(|case| case.trigger = Trigger::DELETED).of(&row(status)).step;
    // It may be an earlier start's Pod that went; the spawner creates what is missing either way.
    assert_eq!(gone(Status::Spawning), Step::Wake("pod gone"));
    assert_eq!(gone(Status::Requested), Step::Wake("pod gone"));
}

#[test]
fn what_was_taken_away_is_lost() {
    for (why, reason) in [
        (TakenAway::Evicted, Reason::Evicted),
        (TakenAway::NodePressure, Reason::NodePressure),
        (TakenAway::Preempted, Reason::Preempted),
        (TakenAway::NodeLost, Reason::NodeLost),
        (TakenAway::NodeRefused, Reason::NodeRefused),
    ] {
        let taken = pod(ContainerState::None, Some(End::TakenAway { why, message: "m".into() }));
        for status in [Status::Spawning, Status::Available] {
            let plan = case([taken.clone()]).of(&row(status));
            assert_eq!(recorded(&plan), Some((Event::Lost, reason)), "{why:?} {status}");
        }
    }
    let plan = case([running()]).with(|case| case.silence = silent_for(60)).of(&row(Status::Available));
    assert_eq!(recorded(&plan), Some((Event::Lost, Reason::NodeLost)));
}

#[test]
fn losses_are_counted_and_limited() {
    let mut often = row(Status::Available);
    often.losses = 3;
    let Step::Record(record) = lost(&often, Reason::Vanished, "s", at(0)).step else {
        panic!("not recorded")
    };
    assert_eq!(record.again, Some((4, at(4))));
    often.losses = lost::MAX_LOSSES;
    let plan = lost(&often, Reason::Vanished, "s", at(0));
    assert_eq!(recorded(&plan), Some((Event::LostTooOften, Reason::Vanished)));
}

#[test]
fn trouble_is_told_at_once_and_ends_the_start_after_a_while() {
    let spawning = row(Status::Spawning);
    let stuck = || case([waiting_for("CreateContainerConfigError", "secret not found")]);
    let plan = stuck().of(&spawning);
    assert!(matches!(&plan.step, Step::Explain(because) if because.code == Some(Reason::ContainerConfig)));
    assert!(plan.trouble && plan.again.is_some_and(|again| again <= Duration::from_secs(20)));
    let plan = stuck().with(|case| case.trouble_since = Some(at(-19))).of(&spawning);
    assert_eq!(recorded(&plan), None);
    let plan = stuck().with(|case| case.trouble_since = Some(at(-20))).of(&spawning);
    assert_eq!(recorded(&plan), Some((Event::GaveUp, Reason::ContainerConfig)));

    let no = waiting_for("ErrImagePull", "manifest unknown");
    assert_eq!(recorded(&case([no]).of(&spawning)), Some((Event::GaveUp, Reason::ImageNotFound)));
    let bad = waiting_for("InvalidImageName", "");
    assert_eq!(recorded(&case([bad]).of(&spawning)), Some((Event::GaveUp, Reason::ImageInvalid)));

    let mut nowhere = pod(ContainerState::None, None);
    nowhere.unschedulable = Some("0/1 nodes are available: 1 Insufficient cpu.".into());
    let plan = case([nowhere]).with(|case| case.trouble_since = Some(at(-30))).of(&spawning);
    let Step::Record(record) = plan.step else { panic!("not recorded") };
    assert!(record.because.message.unwrap().contains("Insufficient cpu"));
}

#[test]
fn a_start_that_goes_its_way_is_not_disturbed() {
    let mut fresh = waiting_for("ContainerCreating", "");
    fresh.created = Some(at(-1));
    let plan = case([fresh]).of(&row(Status::Spawning));
    assert_eq!((plan.step, plan.trouble), (Step::Nothing, false));
    let plan = case([waiting_for("ContainerCreating", "")]).of(&row(Status::Spawning));
    assert!(matches!(plan.step, Step::Explain(because) if because.code == Some(Reason::Starting)));
}

#[test]
fn another_starts_pod_never_moves_a_status() {
    for mut other in [running(), exited(1, false, "Error"), exited(0, false, "Completed")] {
        other.instance = Uuid::from_u128(9);
        for status in [Status::Requested, Status::Spawning] {
            let plan = case([other.clone()]).with(|case| case.tail = Tail::Stored).of(&row(status));
            assert_eq!(recorded(&plan), None, "{status} {other:?}");
        }
    }
}

#[test]
fn what_must_not_run_is_only_watched_and_the_spawner_is_told() {
    let mut tombstone = row(Status::Available);
    tombstone.deleted_at = Some(at(-1));
    let rows = [
        row(Status::ShuttingDown),
        row(Status::Restarting),
        row(Status::Complete),
        row(Status::Error),
        tombstone,
    ];
    for row in &rows {
        for pod in [running(), exited(0, false, "Completed"), exited(143, false, "Error")] {
            let plan = case([pod]).of(row);
            assert_eq!((plan.step, plan.follow), (Step::Nothing, true), "{}", row.status);
        }
        let gone = case([]).with(|case| case.trigger = Trigger::DELETED).of(row);
        assert_eq!(gone.step, Step::Wake("pod gone"), "{}", row.status);
        let stored = case([running()]).with(|case| case.trigger = Trigger::LOG_STORED).of(row);
        assert_eq!(stored.step, Step::Wake("log stored"), "{}", row.status);
    }
    // Something that was forgotten: nobody is at work on these.
    let late = |status| case([running()]).with(|case| case.trigger = Trigger::TIMER).of(&row(status)).step;
    assert_eq!(late(Status::Error), Step::Remind("must not run"));
    assert_eq!(late(Status::Stopped), Step::Remind("must not run"));
    assert_eq!(late(Status::ShuttingDown), Step::Nothing);
}

#[test]
fn a_passed_deadline_goes_before_everything_else() {
    let mut late = row(Status::Available);
    late.time_to_stop_ts = Some(at(0));
    assert_eq!(recorded(&case([running()]).of(&late)), Some((Event::Expired, Reason::Expired)));
    assert_eq!(recorded(&case([]).of(&late)), Some((Event::Expired, Reason::Expired)));
    late.time_to_stop_ts = Some(at(1));
    assert_eq!(recorded(&case([running()]).of(&late)), None);
}

#[test]
fn a_silent_node_is_told_at_once_and_its_return_too() {
    let available = row(Status::Available);
    let silent = || case([running()]).with(|case| case.silence = silent_for(1));
    let (code, message) = explained(&silent().of(&available)).unwrap();
    assert_eq!(code, Reason::NodeLost);
    assert!(message.contains("node has not answered since") && message.contains("UTC"), "{message}");
    let mut told = available.clone();
    told.status_container = StatusContainer::because(Reason::NodeLost, "earlier words");
    assert_eq!(silent().of(&told).step, Step::Nothing, "said once");
    let back = case([running()]).of(&told);
    assert_eq!(explained(&back).map(|(code, _)| code), Some(Reason::Running));
    let waiting = case([waiting_for("ContainerCreating", "")]).with(|case| case.silence = silent_for(1));
    assert_eq!(explained(&waiting.of(&row(Status::Spawning))).unwrap().0, Reason::NodeLost);
}
