//! Every case of the table in docs/lifecycle.md that health decides.

use pods_core::{PodDefinition, Resources};
use uuid::Uuid;

use pods_kube::{
    events::Probe,
    observe::{ContainerState, Probes},
};

use super::*;
use crate::events::Setup;

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

fn probed(change: impl FnOnce(&mut Observation)) -> Observation {
    let mut pod = running();
    pod.probes = Probes { liveness: true, readiness: true, startup: false };
    change(&mut pod);
    pod
}

fn unhealthy(probe: Probe) -> Note {
    let answer = format!("{} probe failed: refused", probe.as_str());
    let failing = Some(probe).filter(|probe| *probe != Probe::Readiness);
    Note { unhealthy: Some((probe, answer)), failing, ..Note::default() }
}

#[test]
fn readiness_is_told_when_it_changes_and_not_with_every_answer_of_the_probe() {
    let not_ready = || case([probed(|pod| pod.ready = false)]);
    let Step::Record(first) = not_ready().of(&row(Status::Spawning)).step else { panic!("not recorded") };
    assert_eq!((first.because.code, first.because.ready), (Some(Reason::NotReady), Some(false)));
    assert_eq!(first.because.restart_count, Some(0));
    let open = case([probed(|pod| (pod.ready, pod.open_unready) = (false, true))]);
    let Step::Record(open) = open.of(&row(Status::Spawning)).step else { panic!("not recorded") };
    assert!(open.because.open_unready && !first.because.open_unready, "whether visitors wait is told, too");

    let mut available = row(Status::Available);
    available.status_container = first.because.clone();
    assert_eq!(not_ready().of(&available).step, Step::Nothing);
    let answered = || not_ready().with(|case| case.note = unhealthy(Probe::Readiness));
    let Step::Explain(why) = answered().of(&available).step else { panic!("the probe's answer is news") };
    assert!(why.message.as_deref().unwrap().contains("readiness probe failed: refused"));
    assert_eq!(why.start_time, first.because.start_time);
    available.status_container = why;
    let other = answered().with(|case| case.note.unhealthy = Some((Probe::Readiness, "503".into())));
    assert_eq!(other.of(&available).step, Step::Nothing, "another answer is no news");

    let Step::Explain(ready) = case([probed(|pod| pod.ready = true)]).of(&available).step else {
        panic!("ready is news")
    };
    assert_eq!((ready.code, ready.ready), (Some(Reason::Running), Some(true)));
    available.status_container = ready;
    assert_eq!(case([probed(|pod| pod.ready = true)]).of(&available).step, Step::Nothing);
    // Without probes nothing is said of readiness.
    let Step::Record(plain) = case([running()]).of(&row(Status::Spawning)).step else {
        panic!("not recorded")
    };
    assert_eq!((plain.because.ready, plain.because.restart_count), (None, None));
}

#[test]
fn a_container_that_a_probe_ended_did_not_end_by_itself() {
    let available = row(Status::Available);
    for (code, probe) in [(137, Probe::Liveness), (143, Probe::Startup), (0, Probe::Liveness)] {
        let mut ended = exited(code, false, "Error");
        ended.probes = Probes { liveness: true, startup: true, readiness: false };
        let note = Note { ended_by: Some(probe), ..unhealthy(probe) };
        let plan =
            case([ended.clone()]).with(|case| (case.tail, case.note) = (Tail::Stored, note)).of(&available);
        assert_eq!(recorded(&plan), Some((Event::Failed, Reason::ProbeFailed)), "{code}");
        let Step::Record(record) = plan.step else { unreachable!() };
        let message = record.because.message.unwrap();
        assert!(message.contains(probe.as_str()) && message.contains("refused"), "{message}");

        // A probe failed, but nobody has said yet that the end is its doing: a moment, then the plain truth.
        let soon = case([ended.clone()])
            .with(|case| (case.tail, case.note) = (Tail::Stored, unhealthy(probe)))
            .of(&available);
        assert_eq!((&soon.step, soon.again), (&Step::Nothing, Some(LOOK_AGAIN_SOON)));
        if let ContainerState::Terminated { finished_at, .. } = &mut ended.container {
            *finished_at = Some(at(-10));
        }
        ended.end = Some(End::Exited { exit_code: code, oom_killed: false, finished_at: Some(at(-10)) });
        let late = case([ended])
            .with(|case| (case.tail, case.note) = (Tail::Stored, unhealthy(probe)))
            .of(&available);
        assert_eq!(recorded(&late).unwrap().1, Reason::ExitCode);
    }
    let plan = case([exited(137, false, "Error")]).with(|case| case.tail = Tail::Stored).of(&available);
    assert_eq!(recorded(&plan), Some((Event::Failed, Reason::ExitCode)), "no probes, no waiting");
}

#[test]
fn exit_codes_have_a_meaning() {
    for (code, words) in [
        (7, "exit code 7."),
        (127, "not found"),
        (126, "not executable"),
        (139, "SIGSEGV"),
        (137, "SIGKILL"),
        (143, "SIGTERM"),
        (192, "signal 64"),
    ] {
        let plan = case([exited(code, false, "Error")]).with(|case| case.tail = Tail::Stored);
        let Step::Record(record) = plan.of(&row(Status::Available)).step else { panic!("not recorded") };
        let message = record.because.message.unwrap();
        assert!(message.contains(words) && message.contains(&code.to_string()), "{message}");
    }
}

#[test]
fn a_program_for_another_processor_is_told_from_one_that_fails() {
    for (lines, reason) in [
        ("exec /opt/program: exec format error\n", Reason::ContainerStart),
        ("standard_init_linux.go:228: exec user process caused: exec format error", Reason::ContainerStart),
        ("my tool: cannot read x: exec format error", Reason::ExitCode),
        ("", Reason::ExitCode),
    ] {
        let plan = case([exited(1, false, "Error")])
            .with(|case| (case.tail, case.last_lines) = (Tail::Stored, Some(lines)))
            .of(&row(Status::Available));
        assert_eq!(recorded(&plan), Some((Event::Failed, reason)), "{lines}");
    }
}

#[test]
fn what_only_events_tell_is_told_at_once() {
    let spawning = row(Status::Spawning);
    for (setup, code) in [
        (Setup::Mount("exit status 32".into()), Reason::Mount),
        (Setup::Sandbox("failed to setup network".into()), Reason::Sandbox),
    ] {
        let mut young = waiting_for("ContainerCreating", "");
        young.created = Some(at(0));
        let plan = case([young]).with(|case| case.note.setup = Some(setup.clone())).of(&spawning);
        assert_eq!(explained(&plan).map(|(code, _)| code), Some(code));
        assert!(plan.trouble);
    }
    let pulling =
        case([waiting_for("ContainerCreating", "")]).with(|case| case.note.pulling = true).of(&spawning);
    let (code, message) = explained(&pulling).unwrap();
    assert!(code == Reason::Starting && message.contains("image is being pulled"), "{message}");
}

#[test]
fn whoever_deletes_a_pod_is_named() {
    let available = row(Status::Available);
    let deleted = |end: bool| {
        let mut pod = if end { exited(143, false, "Error") } else { running() };
        pod.deleting = Some(at(5));
        pod
    };
    let preempted =
        Note { taken: Some((TakenAway::Preempted, "Preempted by n/p on node a".into())), ..Note::default() };
    let plan = case([deleted(false)]).with(|case| case.note = preempted.clone()).of(&available);
    let (code, message) = explained(&plan).unwrap();
    assert!(code == Reason::Preempted && message.contains("priority"), "{message}");
    let plan = case([deleted(true)]).with(|case| case.note = preempted.clone()).of(&available);
    assert_eq!(recorded(&plan), Some((Event::Lost, Reason::Preempted)));
    assert_eq!(cause_of_absence(&preempted).0, Reason::Preempted);
    assert_eq!(cause_of_absence(&Note::default()).0, Reason::Vanished);

    let mut drained = deleted(true);
    drained.disruption = Some((TakenAway::Evicted, "Eviction API: evicting".into()));
    let plan = case([drained]).of(&available);
    assert_eq!(recorded(&plan), Some((Event::Lost, Reason::Evicted)));
    assert_eq!(explained(&case([deleted(false)]).of(&available)).unwrap().0, Reason::Vanished);
}
