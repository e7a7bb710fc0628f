//! What Kubernetes' events tell about the Pods of users. Pure: the same event tells the same.
//!
//! An event comes seconds before the status of a Pod says the same, if that says it at all: a volume that cannot be
//! mounted, a probe that ends a container and a Pod of higher priority show only here.

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Event;

use crate::observe::time;

/// Longest message that is kept, in characters.
pub const MESSAGE_MAX: usize = 500;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The name of the Pod that it is about.
    pub pod: String,
    /// When it happened last, to the second.
    pub at: Option<DateTime<Utc>>,
    /// What happened.
    pub what: What,
}

/// What happened to a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A step of its start is done; what kept it before is over.
    Progress,
    /// Its image is being pulled.
    Pulling,
    /// Its image is on the node.
    Pulled,
    /// Its image could not be pulled, with the cause.
    PullFailed(String),
    /// A volume could not be mounted.
    MountFailed(String),
    /// Its sandbox could not be set up.
    SandboxFailed(String),
    /// A probe failed.
    Unhealthy {
        /// Which one.
        probe: Probe,
        /// What it answered.
        message: String,
    },
    /// The container is ended because of a probe.
    ProbeEnds(Probe),
    /// The container is ended, and the event does not say why.
    Ends,
    /// A Pod of higher priority takes its place.
    Preempted(String),
    /// It has to leave its node.
    Evicted(String),
}

/// A probe of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Its failing ends the container.
    Liveness,
    /// It says whether the container is ready.
    Readiness,
    /// It holds the others back.
    Startup,
}

impl Probe {
    /// The probe's name in `healthchecks`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
        }
    }

    fn in_text(text: &str) -> Option<Self> {
        [Self::Liveness, Self::Readiness, Self::Startup]
            .into_iter()
            .find(|probe| text.to_ascii_lowercase().contains(&format!("{} probe", probe.as_str())))
    }
}

/// Reads an event; `None` when it is not about a Pod or tells nothing that matters here.
pub fn read(event: &Event) -> Option<Told> {
    let about = &event.involved_object;
    if about.kind.as_deref() != Some("Pod") {
        return None;
    }
    let message = event.message.as_deref().unwrap_or_default();
    let what = what(event.reason.as_deref().unwrap_or_default(), message)?;
    Some(Told { pod: about.name.clone()?, at: at(event), what })
}

fn what(reason: &str, message: &str) -> Option<What> {
    let said = || message.trim().chars().filter(|c| *c != '\0').take(MESSAGE_MAX).collect::<String>();
    Some(match reason {
        "Scheduled" | "SuccessfulAttachVolume" | "Created" | "Started" => What::Progress,
        "Pulling" => What::Pulling,
        "Pulled" => What::Pulled,
        "Failed" if message.starts_with("Failed to pull image") => What::PullFailed(said()),
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => What::MountFailed(said()),
        "FailedCreatePodSandBox" | "NetworkNotReady" | "FailedPodSandBoxStatus" => {
            What::SandboxFailed(said())
        }
        "Unhealthy" => What::Unhealthy { probe: Probe::in_text(message)?, message: said() },
        "Killing" if message.contains("failed ") => What::ProbeEnds(Probe::in_text(message)?),
        // All that a kubelet says where the container is not to be started again.
        "Killing" => What::Ends,
        "Preempted" | "Preempting" => What::Preempted(said()),
        "Evicted" | "TaintManagerEviction" if !message.starts_with("Cancelling") => What::Evicted(said()),
        _ => return None,
    })
}

/// When an event happened last. Old and new reporters fill different fields.
pub fn at(event: &Event) -> Option<DateTime<Utc>> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref());
    event
        .last_timestamp
        .as_ref()
        .map(time)
        .or_else(|| DateTime::from_timestamp_micros(micro?.0.as_microsecond()))
        .or_else(|| event.metadata.creation_timestamp.as_ref().map(time))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.1", "namespace": "n"},
            "involvedObject": {"kind": kind, "name": "p", "namespace": "n", "uid": "u"},
            "reason": reason, "message": message, "type": "Warning", "lastTimestamp": "2026-11-21T04:00:00Z",
        }))
        .unwrap()
    }

    fn told(reason: &str, message: &str) -> Option<What> {
        read(&event("Pod", reason, message)).map(|told| told.what)
    }

    #[test]
    fn events_of_1_20_and_of_current_releases() {
        let unhealthy = |probe, message: &str| Some(What::Unhealthy { probe, message: message.to_owned() });
        let refused = "Liveness probe failed: Get \"http://10.244.0.5:5999/\": dial tcp 10.244.0.5:5999: connect: connection refused";
        assert_eq!(told("Unhealthy", refused), unhealthy(Probe::Liveness, refused));
        let status = "Readiness probe failed: HTTP probe failed with statuscode: 503";
        assert_eq!(told("Unhealthy", status), unhealthy(Probe::Readiness, status));
        let errored = "Startup probe errored: rpc error: code = Unknown desc = failed to exec in container";
        assert_eq!(told("Unhealthy", errored), unhealthy(Probe::Startup, errored));
        for message in [
            "Container web failed liveness probe, will be restarted",
            "Container web failed startup probe, will be restarted",
        ] {
            assert!(matches!(told("Killing", message), Some(What::ProbeEnds(_))), "{message}");
        }
        assert_eq!(told("Killing", "Stopping container web"), Some(What::Ends));
        for reason in ["FailedMount", "FailedAttachVolume"] {
            assert_eq!(told(reason, "m"), Some(What::MountFailed("m".into())));
        }
        let sandbox = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox";
        assert_eq!(told("FailedCreatePodSandBox", sandbox), Some(What::SandboxFailed(sandbox.into())));
        assert_eq!(
            told("Preempted", "Preempted by n/p on node a"),
            Some(What::Preempted("Preempted by n/p on node a".into()))
        );
        assert!(matches!(
            told("TaintManagerEviction", "Marking for deletion Pod n/p"),
            Some(What::Evicted(_))
        ));
        assert_eq!(told("TaintManagerEviction", "Cancelling deletion of Pod n/p"), None);
        assert_eq!(told("Pulling", "Pulling image \"x\""), Some(What::Pulling));
        assert_eq!(told("Pulled", "Container image \"x\" already present on machine"), Some(What::Pulled));
        let pull = "Failed to pull image \"x\": rpc error: code = NotFound desc = not found";
        assert_eq!(told("Failed", pull), Some(What::PullFailed(pull.into())));
        assert_eq!(told("Failed", "Error: ErrImagePull"), None);
        assert_eq!(told("BackOff", "Back-off pulling image \"x\""), None);
    }

    #[test]
    fn other_objects_and_long_texts() {
        assert_eq!(read(&event("Node", "Unhealthy", "Readiness probe failed")), None);
        let Some(What::MountFailed(text)) = told("FailedMount", &format!("a\0{}", "ü".repeat(9000))) else {
            panic!("a mount that failed")
        };
        assert_eq!(text.chars().count(), MESSAGE_MAX);
    }

    #[test]
    fn the_time_stands_in_one_of_several_fields() {
        let old = event("Pod", "Pulled", "m");
        assert_eq!(at(&old).unwrap().to_rfc3339(), "2026-11-21T04:00:00+00:00");
        let mut new = event("Pod", "Pulled", "m");
        new.last_timestamp = None;
        new.event_time = serde_json::from_value(json!("2026-11-21T04:00:01.500000Z")).unwrap();
        assert_eq!(at(&new).unwrap().to_rfc3339(), "2026-11-21T04:00:01.500+00:00");
    }
}
