//! What probes, exit codes, last lines and events say of the cause.

use pods_kube::events::Probe;

use super::*;
use crate::events::Setup;

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
