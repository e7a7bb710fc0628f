//! What a row says of a container that runs.

use chrono::{DateTime, Utc};
use pods_core::{
    reason::{Reason, StatusContainer},
    transition::Event,
};
use pods_kube::{events::Probe, observe::Observation};

use super::{Record, Seen, cause_of_deletion};
use crate::{nodes::Silence, waiting::join};

/// The container runs: the first word about it.
pub(super) fn began(pod: &Observation, seen: &Seen<'_>) -> Record {
    let because = told(pod, seen);
    let log = "health set status to AVAILABLE".to_owned();
    Record { event: Event::Running, started_at: because.start_time, because, log, again: None }
}

/// What a row says of a running container: that it runs, or what is wrong although it does.
pub fn told(pod: &Observation, seen: &Seen<'_>) -> StatusContainer {
    let (code, message) = if pod.deleting.is_some() {
        let (code, sentence) = cause_of_deletion(pod, seen.note);
        (code, format!("{sentence} It is started again as soon as its container has ended."))
    } else if let Some(silence) = seen.silence {
        (Reason::NodeLost, of_a_silent_node(pod, silence, seen.now))
    } else if pod.probes.gate() && !pod.ready {
        (Reason::NotReady, not_ready(pod, seen))
    } else {
        (Reason::Running, "The container runs.".to_owned())
    };
    StatusContainer {
        phase: Some("Running".to_owned()),
        // The node's clock may be ahead of ours.
        start_time: Some(pod.running_since().unwrap_or(seen.now).min(seen.now)),
        ready: pod.probes.any().then_some(pod.ready),
        restart_count: pod.probes.any().then_some(pod.restart_count),
        open_unready: pod.open_unready,
        ..StatusContainer::because(code, message)
    }
}

/// What a row says of a container that does not run yet, on a node that does not answer.
pub(super) fn on_a_silent_node(pod: &Observation, silence: Silence, now: DateTime<Utc>) -> StatusContainer {
    StatusContainer::because(Reason::NodeLost, of_a_silent_node(pod, silence, now)).in_phase(&*pod.phase)
}

fn of_a_silent_node(pod: &Observation, silence: Silence, now: DateTime<Utc>) -> String {
    let since = clock(now - silence.lasted);
    let until = clock(now + silence.limit.saturating_sub(silence.lasted));
    let node = pod.node.as_deref().unwrap_or_default();
    format!(
        "The node {node} has not answered since {since}. Its containers may go on; if it stays silent until {until}, the \
         pod is started on another node."
    )
}

const NOT_READY: &str = "The container runs, but it is not ready:";

fn not_ready(pod: &Observation, seen: &Seen<'_>) -> String {
    let answer = seen.note.unhealthy.as_ref().filter(|(probe, _)| *probe != Probe::Liveness);
    match answer {
        Some((_, message)) => join(NOT_READY, message),
        None if pod.probes.startup => format!("{NOT_READY} its startup probe has not passed yet."),
        None => format!("{NOT_READY} its readiness probe has not passed yet."),
    }
}

/// Whether what is to be said differs in more than words that change all the time: what a probe answers, and when.
pub(super) fn says_more(now: &StatusContainer, said: &StatusContainer) -> bool {
    let learned = |now: &StatusContainer| {
        let text = now.message.as_deref().unwrap_or_default();
        now.code == Some(Reason::NotReady) && !text.ends_with("has not passed yet.")
    };
    now.code != said.code
        || now.ready != said.ready
        || now.restart_count != said.restart_count
        || (learned(now) && !learned(said))
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S UTC").to_string()
}
