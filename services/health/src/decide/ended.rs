//! What a row says of a container that ended by itself, or for its own limits.

use chrono::TimeDelta;
use pods_core::{
    Status,
    reason::{Reason, StatusContainer},
    transition::Event,
};
use pods_kube::{
    events::Probe,
    observe::{ContainerState, End, Observation},
};

use super::{Record, Seen};
use crate::waiting::{self, join};

/// How long after its end a container may wait for the event that says which probe ended it.
const EVENT_LIMIT: TimeDelta = TimeDelta::seconds(3);

/// Whether the event that tells the cause may still be on its way: a probe failed, and the container ended with an
/// error, but that the one is because of the other was not said yet.
pub(super) fn cause_may_come(pod: &Observation, end: &End, seen: &Seen<'_>) -> bool {
    let End::Exited { finished_at: Some(finished), oom_killed: false, .. } = end else { return false };
    pod.probes.end_it()
        && seen.note.failing.is_some()
        && seen.note.ended_by.is_none()
        && seen.now - *finished < EVENT_LIMIT
}

/// The end of a container.
pub(super) fn ended(pod: &Observation, end: &End, seen: &Seen<'_>) -> Record {
    let (event, because, exit_code) = cause(pod, end, seen);
    let status = if event == Event::Succeeded { Status::Complete } else { Status::Error };
    let log = format!("health set status to {status}: {}", because.message.as_deref().unwrap_or_default());
    let because = StatusContainer {
        exit_code,
        start_time: pod.running_since(),
        phase: Some(if event == Event::Succeeded { "Succeeded" } else { "Failed" }.to_owned()),
        ready: pod.probes.any().then_some(false),
        restart_count: pod.probes.any().then_some(pod.restart_count),
        ..because
    };
    Record { event, because, log, started_at: None, again: None }
}

fn cause(pod: &Observation, end: &End, seen: &Seen<'_>) -> (Event, StatusContainer, Option<i32>) {
    let failed = |reason, text: String, code| (Event::Failed, StatusContainer::because(reason, text), code);
    match end {
        End::Exited { exit_code, oom_killed: true, .. } => {
            let text = format!(
                "The container used more memory than its limit and was killed (exit code {exit_code}). \
                 Raise resources.mem_limit or use less memory."
            );
            failed(Reason::OutOfMemory, text, Some(*exit_code))
        }
        End::Exited { exit_code, .. } => match seen.note.ended_by.filter(|_| pod.probes.end_it()) {
            Some(probe) => failed(Reason::ProbeFailed, of_a_probe(probe, *exit_code, seen), Some(*exit_code)),
            None if *exit_code == 0 => {
                let text = "The container ended by itself with exit code 0.";
                (Event::Succeeded, StatusContainer::because(Reason::ExitCode, text), Some(0))
            }
            None => {
                let (reason, text) = of_an_exit(pod, *exit_code, seen);
                failed(reason, text, Some(*exit_code))
            }
        },
        End::StorageLimit { message } => {
            let text = join("The pod wrote more than its storage limit and was ended.", message);
            failed(Reason::StorageLimit, text, None)
        }
        // The caller has sorted these out.
        End::TakenAway { message, .. } => failed(Reason::Evicted, message.clone(), None),
        End::DeadlineExceeded => failed(Reason::Vanished, String::new(), None),
    }
}

fn of_a_probe(probe: Probe, exit_code: i32, seen: &Seen<'_>) -> String {
    let name = probe.as_str();
    let text = format!(
        "The {name} probe failed too often, so Kubernetes ended the container (exit code {exit_code}). Correct \
         healthchecks.{name}, or give the program more time."
    );
    match &seen.note.unhealthy {
        Some((failing, answer)) if *failing == probe => join(&text, answer),
        _ => text,
    }
}

fn of_an_exit(pod: &Observation, exit_code: i32, seen: &Seen<'_>) -> (Reason, String) {
    let (reason, message) = match &pod.container {
        ContainerState::Terminated { reason, message, .. } => (reason.as_str(), message.as_str()),
        _ => ("", ""),
    };
    if waiting::could_not_start(reason) {
        let text = join("The container could not be started.", &waiting::in_words(message));
        return (Reason::ContainerStart, text);
    }
    if seen.last_lines.is_some_and(says_exec_format) {
        let text = format!(
            "The node cannot execute the program (exec format error, exit code {exit_code}): it was built for another \
             processor, or is a script without a #! line."
        );
        return (Reason::ContainerStart, text);
    }
    let meaning = meaning(exit_code).map(|meaning| format!(", {meaning}")).unwrap_or_default();
    let text = join(&format!("The container ended with exit code {exit_code}{meaning}."), message);
    (Reason::ExitCode, text)
}

/// Runtimes start the container and only then fail to execute the program in it; the log alone has their words.
fn says_exec_format(last_lines: &str) -> bool {
    last_lines.lines().any(|line| {
        (line.starts_with("exec ") || line.contains("exec user process caused"))
            && line.trim_end().ends_with("exec format error")
    })
}

/// What an exit code says by custom.
fn meaning(exit_code: i32) -> Option<String> {
    const SIGNALS: [(i32, &str); 10] = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (4, "SIGILL, an instruction that the processor does not have"),
        (6, "SIGABRT, the program gave up"),
        (7, "SIGBUS"),
        (8, "SIGFPE, an impossible calculation"),
        (9, "SIGKILL"),
        (11, "SIGSEGV, a fault in the program's own memory"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    match exit_code {
        126 => Some("which a shell gives for a command that is not executable".to_owned()),
        127 => Some("which a shell gives for a command that was not found".to_owned()),
        129..=192 => {
            let number = exit_code - 128;
            let name = SIGNALS.iter().find(|(signal, _)| *signal == number).map(|(_, name)| *name);
            Some(match name {
                Some(name) => format!("ended by signal {number} ({name})"),
                None => format!("ended by signal {number}"),
            })
        }
        _ => None,
    }
}
