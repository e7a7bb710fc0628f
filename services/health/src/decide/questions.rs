//! What has to be asked before a decision: it costs a call or a query, so it is asked only where the answer counts.

use chrono::{DateTime, TimeDelta, Utc};
use pods_db::pods::PodRow;
use pods_kube::observe::{ContainerState, End, Observation};

use crate::{events::Note, waiting};

/// A container that is set up for longer without an event is asked about among the earlier ones.
const ASK_EVENTS_AFTER: TimeDelta = TimeDelta::seconds(5);
/// A container that lived no longer may not have been executed at all; Kubernetes counts in seconds.
const STILLBORN: TimeDelta = TimeDelta::seconds(3);

/// Whether a decision about a Pod may depend on an event from before this process listened.
pub fn asks_for_events(pod: &Observation, row: &PodRow, note: &Note, now: DateTime<Utc>) -> bool {
    !note.asked && waits_for_an_event(pod, row, note, now)
}

fn waits_for_an_event(pod: &Observation, row: &PodRow, note: &Note, now: DateTime<Utc>) -> bool {
    if pod.deleting.is_some() {
        return row.status.wants_objects() && pod.disruption.is_none() && note.taken.is_none();
    }
    match (&pod.container, &pod.end) {
        (_, Some(End::Exited { .. })) => pod.probes.end_it() && note.ended_by.is_none(),
        (ContainerState::Waiting { reason, .. }, None) if reason == "ContainerCreating" => {
            let old = pod.created.is_some_and(|created| now - created > ASK_EVENTS_AFTER);
            old && note.setup.is_none() && !note.pulling && note.pulled.is_none()
        }
        (ContainerState::Waiting { reason, .. }, None) if reason == "ImagePullBackOff" => {
            note.pull_failed.is_none() && !waiting::is_trouble(row.status_container.code)
        }
        _ => false,
    }
}

/// Whether the last lines of a container count: it ended as soon as it began, and they may say that it was never
/// executed.
pub fn asks_for_last_lines(pod: &Observation) -> bool {
    match &pod.container {
        ContainerState::Terminated {
            exit_code: 1 | 126 | 255,
            started_at: Some(started),
            finished_at: Some(finished),
            ..
        } => *finished - *started <= STILLBORN,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use pods_core::{
        Status,
        reason::{Reason, StatusContainer},
    };
    use pods_kube::observe;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::{decide::tests::row, events::Setup};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_233_600 + second, 0).unwrap()
    }

    /// A Pod that was created at second 0.
    fn pod(state: Value, spec: Value, deleting: bool) -> Observation {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "uid": "k", "creationTimestamp": at(0).to_rfc3339(),
                "labels": {"app.kubernetes.io/managed-by": "pods", "tapis.io/uid": Uuid::nil(),
                    "tapis.io/instance": Uuid::nil()}},
            "spec": {"containers": [spec]},
            "status": {"phase": "Pending", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": state}]},
        });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!(at(9).to_rfc3339());
        }
        observe(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn terminated(exit_code: i32, seconds: i64) -> Value {
        json!({"terminated": {"exitCode": exit_code, "reason": "Error", "startedAt": at(0).to_rfc3339(),
            "finishedAt": at(seconds).to_rfc3339()}})
    }

    #[test]
    fn events_are_asked_for_where_they_are_missing() {
        let plain = || json!({"name": "c"});
        let probed = || json!({"name": "c", "livenessProbe": {"tcpSocket": {"port": 1}}});
        let creating = || json!({"waiting": {"reason": "ContainerCreating"}});
        let back_off = || json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}});
        let (nothing, pulled) = (Note::default(), Note { pulled: Some(at(1)), ..Note::default() });
        let mount = Note { setup: Some(Setup::Mount("m".into())), ..Note::default() };
        let asked = Note { asked: true, ..Note::default() };
        let failed = Note { pull_failed: Some("f".into()), ..Note::default() };
        let asks = |pod: &Observation, note: &Note, second| {
            asks_for_events(pod, &row(Status::Spawning), note, at(second))
        };
        let slow = pod(creating(), plain(), false);
        let table = [
            (&nothing, 3, false, "it is young"),
            (&nothing, 9, true, "nothing was heard"),
            (&pulled, 9, false, "it goes on"),
            (&mount, 9, false, "the cause is known"),
            (&asked, 9, false, "once"),
        ];
        for (note, second, expected, why) in table {
            assert_eq!(asks(&slow, note, second), expected, "{why}");
        }
        let waits = pod(back_off(), plain(), false);
        assert!(asks(&waits, &nothing, 1) && !asks(&waits, &failed, 1));
        let mut told = row(Status::Spawning);
        told.status_container = StatusContainer::because(Reason::ImagePull, "said before");
        assert!(!asks_for_events(&waits, &told, &nothing, at(1)), "the row knows the cause");
        assert!(asks(&pod(terminated(1, 9), probed(), false), &nothing, 10), "a probe may have ended it");
        assert!(!asks(&pod(terminated(1, 9), plain(), false), &nothing, 10));
        let taken = pod(json!({"running": {}}), plain(), true);
        assert!(asks_for_events(&taken, &row(Status::Available), &nothing, at(1)));
        assert!(!asks_for_events(&taken, &row(Status::ShuttingDown), &nothing, at(1)), "we do it ourselves");
    }

    #[test]
    fn last_lines_count_for_a_container_that_hardly_lived() {
        let asks = |state| asks_for_last_lines(&pod(state, json!({"name": "c"}), false));
        assert!(asks(terminated(1, 3)) && asks(terminated(126, 0)) && asks(terminated(255, 1)));
        assert!(!asks(terminated(1, 4)) && !asks(terminated(2, 1)) && !asks(json!({"running": {}})));
    }
}
