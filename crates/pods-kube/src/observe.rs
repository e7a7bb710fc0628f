//! What a Pod of Kubernetes tells about the container in it. Pure: the same Pod gives the same observation.

use chrono::{DateTime, Utc};
use k8s_openapi::{
    api::core::v1::{ContainerState as KubeState, Pod, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use uuid::Uuid;

use crate::labels;

/// The value of `activeDeadlineSeconds` with which a container is ended before its Pod is deleted.
pub const END_DEADLINE_SECONDS: i64 = 1;

/// What one Pod shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The Pod's name.
    pub name: String,
    /// The row that it belongs to.
    pub uid: Uuid,
    /// The start that it was made for.
    pub instance: Uuid,
    /// Kubernetes' own uid of the Pod.
    pub k8s_uid: String,
    /// Pending, Running, Succeeded, Failed, Unknown; empty when there is no status yet.
    pub phase: String,
    /// The state of its container.
    pub container: ContainerState,
    /// Set once the Pod is being deleted: when its grace period ends.
    pub deleting: Option<DateTime<Utc>>,
    /// Whether the spawner told the container to end and to keep its log.
    pub deadline_set: bool,
    /// The node that it was placed on.
    pub node: Option<String>,
    /// Why no node was found for it.
    pub unschedulable: Option<String>,
    /// When it was created.
    pub created: Option<DateTime<Utc>>,
    /// How it ended, once it has.
    pub end: Option<End>,
}

/// The state of the container.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerState {
    /// Nothing is reported yet.
    None,
    /// It does not run yet.
    Waiting {
        /// For example `ContainerCreating` or `ImagePullBackOff`.
        reason: String,
        /// The explanation, may be empty.
        message: String,
    },
    /// It runs.
    Running {
        /// Since when.
        since: Option<DateTime<Utc>>,
    },
    /// It ran and ended.
    Terminated {
        /// The exit code.
        exit_code: i32,
        /// For example `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`.
        reason: String,
        /// The explanation, may be empty.
        message: String,
        /// When it began to run.
        started_at: Option<DateTime<Utc>>,
        /// When it ended.
        finished_at: Option<DateTime<Utc>>,
    },
}

/// How a Pod ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The container ended by itself, or was killed for its own memory limit.
    Exited {
        /// The exit code.
        exit_code: i32,
        /// Whether it was killed for its memory limit.
        oom_killed: bool,
        /// When it ended.
        finished_at: Option<DateTime<Utc>>,
    },
    /// It wrote more than its own ephemeral storage limit.
    StorageLimit {
        /// The kubelet's explanation.
        message: String,
    },
    /// It was taken away through no fault of its own.
    TakenAway {
        /// By what.
        why: TakenAway,
        /// The cluster's explanation.
        message: String,
    },
    /// It was ended by the spawner through its deadline.
    DeadlineExceeded,
}

/// What took a Pod away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenAway {
    /// The node ran short of something.
    Evicted,
    /// A more important Pod needed the place.
    Preempted,
    /// The node stopped answering or was removed.
    NodeLost,
    /// The node refused the Pod that the scheduler gave it, or is shutting down.
    NodeRefused,
}

impl Observation {
    /// Whether the container runs.
    pub fn is_running(&self) -> bool {
        matches!(self.container, ContainerState::Running { .. })
    }

    /// Whether the container runs or has run, so that there may be a log of it.
    pub fn has_log(&self) -> bool {
        matches!(self.container, ContainerState::Running { .. } | ContainerState::Terminated { .. })
    }

    /// Since when the container runs or when it began to run.
    pub fn running_since(&self) -> Option<DateTime<Utc>> {
        match &self.container {
            ContainerState::Running { since } => *since,
            ContainerState::Terminated { started_at, .. } => *started_at,
            ContainerState::None | ContainerState::Waiting { .. } => None,
        }
    }
}

/// Reads a Pod; `None` when it does not carry the labels of ours.
pub fn observe(pod: &Pod) -> Option<Observation> {
    let meta = &pod.metadata;
    let uid = labels::uid(meta)?;
    // Without a readable instance it belongs to no start of its row, and must not run.
    let instance = labels::instance(meta).unwrap_or_default();
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let container = container_state(status);
    let deadline_set =
        pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds) == Some(END_DEADLINE_SECONDS);
    Some(Observation {
        name: meta.name.clone().unwrap_or_default(),
        uid,
        instance,
        k8s_uid: meta.uid.clone().unwrap_or_default(),
        phase: status.phase.clone().unwrap_or_default(),
        end: end(status, &container),
        container,
        deleting: meta.deletion_timestamp.as_ref().map(time),
        deadline_set,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        unschedulable: unschedulable(status),
        created: meta.creation_timestamp.as_ref().map(time),
    })
}

/// A time of Kubernetes, cut to the microseconds that Postgres keeps.
pub fn time(time: &Time) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.0.as_microsecond()).unwrap_or_default()
}

fn container_state(status: &PodStatus) -> ContainerState {
    let state = status.container_statuses.iter().flatten().next().and_then(|first| first.state.as_ref());
    match state {
        Some(KubeState { terminated: Some(ended), .. }) => ContainerState::Terminated {
            exit_code: ended.exit_code,
            reason: ended.reason.clone().unwrap_or_default(),
            message: ended.message.clone().unwrap_or_default(),
            started_at: ended.started_at.as_ref().map(time).filter(|at| at.timestamp() > 0),
            finished_at: ended.finished_at.as_ref().map(time).filter(|at| at.timestamp() > 0),
        },
        Some(KubeState { running: Some(running), .. }) => {
            ContainerState::Running { since: running.started_at.as_ref().map(time) }
        }
        Some(KubeState { waiting: Some(waiting), .. }) => ContainerState::Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: waiting.message.clone().unwrap_or_default(),
        },
        _ => ContainerState::None,
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let scheduled = condition(status, "PodScheduled")?;
    (scheduled.status == "False").then(|| scheduled.message.clone().unwrap_or_default())
}

fn end(status: &PodStatus, container: &ContainerState) -> Option<End> {
    let failed = status.phase.as_deref() == Some("Failed");
    let message = || status.message.clone().unwrap_or_default();
    let taken = |why| Some(End::TakenAway { why, message: message() });
    match status.reason.as_deref().filter(|_| failed) {
        Some("DeadlineExceeded") => return Some(End::DeadlineExceeded),
        Some("Evicted") if is_own_storage_limit(&message()) => {
            return Some(End::StorageLimit { message: message() });
        }
        Some("Evicted") => return taken(TakenAway::Evicted),
        Some("Preempting" | "Preempted") => return taken(TakenAway::Preempted),
        Some("NodeLost") => return taken(TakenAway::NodeLost),
        _ => {}
    }
    if failed && let Some(disrupted) = condition(status, "DisruptionTarget").filter(|c| c.status == "True") {
        let why = match disrupted.reason.as_deref() {
            Some("PreemptionByScheduler") => TakenAway::Preempted,
            Some("DeletionByTaintManager" | "DeletionByPodGC") => TakenAway::NodeLost,
            _ => TakenAway::Evicted,
        };
        return Some(End::TakenAway { why, message: disrupted.message.clone().unwrap_or_default() });
    }
    match container {
        // A kubelet that lost sight of the container reports 137 and this reason: nobody knows how it ended.
        ContainerState::Terminated { reason, message, .. } if reason == "ContainerStatusUnknown" => {
            Some(End::TakenAway { why: TakenAway::NodeLost, message: message.clone() })
        }
        ContainerState::Terminated { exit_code, reason, finished_at, .. } => Some(End::Exited {
            exit_code: *exit_code,
            oom_killed: reason == "OOMKilled",
            finished_at: *finished_at,
        }),
        // Failed without a container that ran: the kubelet did not take the Pod.
        _ if failed => taken(TakenAway::NodeRefused),
        _ => None,
    }
}

/// The kubelet evicts a Pod for its own limit with these two sentences, else for the node's sake.
fn is_own_storage_limit(message: &str) -> bool {
    message.contains("exceeds the total limit of containers")
        || message.contains("exceeded its local ephemeral storage limit")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let uid = "01234567-89ab-4def-8123-456789abcdef";
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "pods-a-b-c-00000000", "uid": "k8s",
                "labels": {"app.kubernetes.io/managed-by": "pods", "tapis.io/uid": uid, "tapis.io/instance": uid},
            },
            "spec": {"containers": [], "nodeName": "node"},
            "status": status,
        }))
        .unwrap()
    }

    fn seen(status: Value) -> Observation {
        observe(&pod(status)).unwrap()
    }

    #[test]
    fn a_pod_of_somebody_else_is_not_observed() {
        let mut foreign = pod(json!({}));
        foreign.metadata.labels = None;
        assert_eq!(observe(&foreign), None);
    }

    #[test]
    fn states_of_a_container() {
        let fresh = seen(json!({}));
        assert_eq!((fresh.container.clone(), fresh.end.clone()), (ContainerState::None, None));
        assert!(!fresh.has_log());

        let waiting = seen(json!({"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}));
        assert!(
            matches!(waiting.container, ContainerState::Waiting { ref reason, .. } if reason == "ErrImagePull")
        );

        let running = seen(json!({"phase": "Running", "containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-21T04:00:00Z"}}}]}));
        assert!(running.is_running() && running.has_log() && running.end.is_none());
        assert_eq!(running.running_since().unwrap().to_rfc3339(), "2026-11-21T04:00:00+00:00");
    }

    fn ended(phase: &str, reason: Option<&str>, message: &str, code: i32, container_reason: &str) -> End {
        let mut status = json!({"phase": phase, "message": message, "containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": container_reason}}}]});
        if let Some(reason) = reason {
            status["reason"] = json!(reason);
        }
        seen(status).end.unwrap()
    }

    #[test]
    fn ends_by_itself_or_taken_away() {
        let exited = |exit_code, oom_killed| End::Exited { exit_code, oom_killed, finished_at: None };
        assert_eq!(ended("Succeeded", None, "", 0, "Completed"), exited(0, false));
        assert_eq!(ended("Failed", None, "", 3, "Error"), exited(3, false));
        assert_eq!(ended("Failed", None, "", 137, "OOMKilled"), exited(137, true));
        assert_eq!(ended("Failed", Some("DeadlineExceeded"), "", 143, "Error"), End::DeadlineExceeded);
        let own = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi.";
        assert!(matches!(ended("Failed", Some("Evicted"), own, 137, "Error"), End::StorageLimit { .. }));
        let node = "The node was low on resource: memory.";
        let evicted = End::TakenAway { why: TakenAway::Evicted, message: node.to_owned() };
        assert_eq!(ended("Failed", Some("Evicted"), node, 137, "Error"), evicted);
        let unknown = ended("Failed", None, "", 137, "ContainerStatusUnknown");
        assert!(matches!(unknown, End::TakenAway { why: TakenAway::NodeLost, .. }));
        let refused =
            seen(json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough"}));
        assert!(matches!(refused.end, Some(End::TakenAway { why: TakenAway::NodeRefused, .. })));
    }

    #[test]
    fn an_unschedulable_pod_says_why() {
        let status = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient memory."}]});
        assert_eq!(seen(status).unschedulable.unwrap(), "0/1 nodes are available: 1 Insufficient memory.");
    }
}
