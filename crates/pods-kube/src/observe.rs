//! What a Pod of Kubernetes tells about the container in it. Pure: the same Pod gives the same observation.

mod end;

use chrono::{DateTime, Utc};
use k8s_openapi::{
    api::core::v1::{ContainerState as KubeState, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use uuid::Uuid;

use crate::{hidden, labels};
use end::{disruption, end};

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
    /// What takes it away while its container still runs, with the cluster's explanation.
    pub disruption: Option<(TakenAway, String)>,
    /// When a node was found, to the second.
    pub scheduled: Option<DateTime<Utc>>,
    /// Whether the container passes its probes, or runs and has none.
    pub ready: bool,
    /// Since when it does or does not, to the second.
    pub ready_since: Option<DateTime<Utc>>,
    /// How often the kubelet started the container again.
    pub restart_count: i32,
    /// The probes that it has.
    pub probes: Probes,
    /// Whether visitors are led to it before it is ready.
    pub open_unready: bool,
    /// The trace that the start belongs to.
    pub traceparent: Option<String>,
}

/// Which probes a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// Its failing ends the container.
    pub liveness: bool,
    /// It says whether the container is ready.
    pub readiness: bool,
    /// Its failing ends the container; until it passes, the container is not ready.
    pub startup: bool,
}

impl Probes {
    /// Whether the container has any.
    pub fn any(self) -> bool {
        self.liveness || self.readiness || self.startup
    }

    /// Whether one may end the container.
    pub fn end_it(self) -> bool {
        self.liveness || self.startup
    }

    /// Whether one says when the container is ready.
    pub fn gate(self) -> bool {
        self.readiness || self.startup
    }
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
    /// It had to leave its node.
    Evicted,
    /// The node ran short of memory, disk or processes.
    NodePressure,
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
    let spec = pod.spec.as_ref();
    let first = status.container_statuses.iter().flatten().next();
    let container = container_state(first, refers_to_values(spec));
    let deadline_set = spec.and_then(|spec| spec.active_deadline_seconds) == Some(END_DEADLINE_SECONDS);
    let (ready, ready_since) = readiness(status, first);
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
        node: spec.and_then(|spec| spec.node_name.clone()),
        unschedulable: unschedulable(status),
        created: meta.creation_timestamp.as_ref().map(time),
        disruption: disruption(status),
        scheduled: scheduled(status),
        ready,
        ready_since,
        restart_count: first.map_or(0, |container| container.restart_count),
        probes: probes(spec),
        open_unready: meta
            .annotations
            .as_ref()
            .is_some_and(|annotations| annotations.contains_key(labels::OPEN_UNREADY_ANNOTATION)),
        traceparent: meta
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(labels::TRACEPARENT_ANNOTATION))
            .filter(|text| text.len() <= TRACEPARENT_MAX)
            .cloned(),
    })
}

/// Longer is no traceparent of version 00.
const TRACEPARENT_MAX: usize = 64;

/// Whether the command contains values that the kubelet puts in. Then what the runtime says about the command may
/// repeat them.
fn refers_to_values(spec: Option<&PodSpec>) -> bool {
    let container = spec.and_then(|spec| spec.containers.first());
    let words = container.map(|container| [&container.command, &container.args]);
    words.into_iter().flatten().flatten().flatten().any(|word| word.contains("$(PODS_SECRET_"))
}

fn probes(spec: Option<&PodSpec>) -> Probes {
    spec.and_then(|spec| spec.containers.first()).map_or(Probes::default(), |container| Probes {
        liveness: container.liveness_probe.is_some(),
        readiness: container.readiness_probe.is_some(),
        startup: container.startup_probe.is_some(),
    })
}

fn scheduled(status: &PodStatus) -> Option<DateTime<Utc>> {
    let condition = condition(status, "PodScheduled").filter(|condition| condition.status == "True")?;
    condition.last_transition_time.as_ref().map(time)
}

fn readiness(status: &PodStatus, first: Option<&ContainerStatus>) -> (bool, Option<DateTime<Utc>>) {
    let ready = first.is_some_and(|container| container.ready);
    let since = condition(status, "ContainersReady")
        .filter(|condition| (condition.status == "True") == ready)
        .and_then(|condition| condition.last_transition_time.as_ref().map(time));
    (ready, since)
}

/// A time of Kubernetes, cut to the microseconds that Postgres keeps.
pub fn time(time: &Time) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time.0.as_microsecond()).unwrap_or_default()
}

fn container_state(first: Option<&ContainerStatus>, hide: bool) -> ContainerState {
    let said = |reason: &Option<String>, message: &Option<String>, told: fn(&str, String) -> String| {
        let message = message.clone().unwrap_or_default();
        if hide { told(reason.as_deref().unwrap_or_default(), message) } else { message }
    };
    match first.and_then(|first| first.state.as_ref()) {
        Some(KubeState { terminated: Some(ended), .. }) => ContainerState::Terminated {
            exit_code: ended.exit_code,
            reason: ended.reason.clone().unwrap_or_default(),
            message: said(&ended.reason, &ended.message, hidden::of_the_end),
            started_at: ended.started_at.as_ref().map(time).filter(|at| at.timestamp() > 0),
            finished_at: ended.finished_at.as_ref().map(time).filter(|at| at.timestamp() > 0),
        },
        Some(KubeState { running: Some(running), .. }) => {
            ContainerState::Running { since: running.started_at.as_ref().map(time) }
        }
        Some(KubeState { waiting: Some(waiting), .. }) => ContainerState::Waiting {
            reason: waiting.reason.clone().unwrap_or_default(),
            message: said(&waiting.reason, &waiting.message, hidden::of_waiting),
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

#[cfg(test)]
mod tests;
