//! How a Pod ended, or what is about to end it.

use k8s_openapi::api::core::v1::PodStatus;

use super::{ContainerState, End, TakenAway, condition};

/// Newer releases say beforehand what ends a Pod.
pub(super) fn disruption(status: &PodStatus) -> Option<(TakenAway, String)> {
    let target = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    let message = target.message.clone().unwrap_or_default();
    let why = match target.reason.as_deref() {
        Some("PreemptionByScheduler" | "PreemptionByKubeScheduler") => TakenAway::Preempted,
        Some("DeletionByTaintManager" | "DeletionByPodGC") => TakenAway::NodeLost,
        Some("TerminationByKubelet") if is_pressure(&message) => TakenAway::NodePressure,
        _ => TakenAway::Evicted,
    };
    Some((why, message))
}

pub(super) fn end(status: &PodStatus, container: &ContainerState) -> Option<End> {
    let failed = status.phase.as_deref() == Some("Failed");
    let message = || status.message.clone().unwrap_or_default();
    let taken = |why| Some(End::TakenAway { why, message: message() });
    match status.reason.as_deref().filter(|_| failed) {
        Some("DeadlineExceeded") => return Some(End::DeadlineExceeded),
        Some("Evicted") if is_own_storage_limit(&message()) => {
            return Some(End::StorageLimit { message: message() });
        }
        Some("Evicted") if is_pressure(&message()) => return taken(TakenAway::NodePressure),
        // A node that shuts down says so in words that changed from release to release.
        Some("Evicted" | "Shutdown" | "NodeShutdown" | "Terminated") => return taken(TakenAway::Evicted),
        Some("Preempting" | "Preempted") => return taken(TakenAway::Preempted),
        Some("NodeLost") => return taken(TakenAway::NodeLost),
        Some(reason) if is_refusal_of_the_node(reason) => return taken(TakenAway::NodeRefused),
        _ => {}
    }
    if failed && let Some((why, message)) = disruption(status) {
        return Some(End::TakenAway { why, message });
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

/// The kubelet evicts a Pod for its own limits with these sentences, else for the node's sake.
fn is_own_storage_limit(message: &str) -> bool {
    message.contains("exceeds the total limit of containers")
        || message.contains("exceeded its local ephemeral storage limit")
        || (message.contains("Usage of EmptyDir volume") && message.contains("exceeds the limit"))
}

/// Evicted because the node ran short, or not taken because it was short already.
fn is_pressure(message: &str) -> bool {
    message.contains("node was low on resource") || message.contains("node had condition: [")
}

/// The kubelet looked at the Pod that the scheduler gave it and did not take it.
fn is_refusal_of_the_node(reason: &str) -> bool {
    const REASONS: [&str; 7] = [
        "NodeAffinity",
        "NodeName",
        "NodePorts",
        "NodeUnschedulable",
        "TaintToleration",
        "UnexpectedAdmissionError",
        "TopologyAffinityError",
    ];
    reason.starts_with("OutOf") || REASONS.contains(&reason)
}
