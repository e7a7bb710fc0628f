//! Why a pod is in the state it is in: stable codes and the `status_container` object.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::status::text_enum;

text_enum! {
    /// A stable, machine-readable cause. New ones may be added; existing ones keep their meaning.
    Reason {
        /// A start was accepted and its turn comes next.
        Queued => "queued",
        /// The container is being set up.
        Starting => "starting",
        /// The container runs.
        Running => "running",
        /// The container runs, but its readiness or startup probe does not pass.
        NotReady => "not_ready",
        /// No node has room or fits; the message names the resource.
        Unschedulable => "unschedulable",
        /// The registry has no such image or tag.
        ImageNotFound => "image_not_found",
        /// The registry refuses access to the image.
        ImageDenied => "image_denied",
        /// The image's name is not one that the runtime understands.
        ImageInvalid => "image_invalid",
        /// The image could not be pulled for another cause, for example an unreachable registry.
        ImagePull => "image_pull",
        /// The image has no variant for the processors of this cluster.
        ImagePlatform => "image_platform",
        /// The secret for pulling a private image is missing, or the pod may not use it.
        ImagePullSecret => "image_pull_secret",
        /// A volume could not be mounted.
        Mount => "mount",
        /// The node could not set up the sandbox of the pod, usually its network.
        Sandbox => "sandbox",
        /// The container cannot be set up as it is defined, for example because its image demands another user.
        ContainerConfig => "container_config",
        /// The container could not be created or started, for example because its command does not exist.
        ContainerStart => "container_start",
        /// The container ended by itself; the message has the exit code.
        ExitCode => "exit_code",
        /// The container used more memory than its limit.
        OutOfMemory => "out_of_memory",
        /// The pod wrote more than its own ephemeral storage limit.
        StorageLimit => "storage_limit",
        /// The liveness or startup probe kept failing, so that the container was ended.
        ProbeFailed => "probe_failed",
        /// The time to stop has passed.
        Expired => "expired",
        /// The pod was evicted from its node, for example because the node is being emptied.
        Evicted => "evicted",
        /// The node ran short of memory, disk or processes and evicted the pod.
        NodePressure => "node_pressure",
        /// A pod of higher priority took the pod's place.
        Preempted => "preempted",
        /// The node did not take the pod that the scheduler gave it.
        NodeRefused => "node_refused",
        /// The node stopped answering.
        NodeLost => "node_lost",
        /// The Pod vanished from Kubernetes without our doing.
        Vanished => "vanished",
        /// Kubernetes refused an object for good; the message is its answer.
        Refused => "refused",
        /// A quota of the namespace is used up.
        Quota => "quota",
        /// The Kubernetes API cannot be reached at the moment; nothing is lost, the work is retried.
        KubernetesUnreachable => "kubernetes_unreachable",
        /// Kubernetes does not let this service do its work; an operator has to mend it, the work is retried.
        KubernetesDenied => "kubernetes_denied",
        /// The message broker does not take wake-ups at the moment; they are kept and sent later.
        BrokerUnreachable => "broker_unreachable",
        /// No spawner has taken up the work for a while.
        NoSpawner => "no_spawner",
        /// Nobody watches the containers at the moment, so what happened is not known yet.
        NoObserver => "no_observer",
        /// Something that still ends, such as a deleted pod of the same id, has the name that the start needs.
        NameTaken => "name_taken",
        /// A volume, snapshot or claim that the pod mounts cannot be had; the message names the mount.
        StorageUnavailable => "storage_unavailable",
        /// A secret or value that the pod needs cannot be had; the message names the key.
        SecretUnavailable => "secret_unavailable",
        /// The pod's template, or one that it builds on, does not exist any more.
        TemplateUnavailable => "template_unavailable",
        /// The key that the pod's credentials are sealed with is missing at the moment; the work is retried.
        KeysUnavailable => "keys_unavailable",
        /// What is left of the pod in Kubernetes is being removed.
        Stopping => "stopping",
        /// A user stopped the pod.
        Stopped => "stopped",
    }
}

text_enum! {
    /// Who can do something about the state of a pod.
    Actor {
        /// A user who administers the pod.
        Owner => "owner",
        /// Who runs the service or the cluster.
        Operator => "operator",
        /// Nobody has to: it goes on by itself, or is as it shall be.
        Nobody => "nobody",
    }
}

/// The `status_container` object of a pod: what Kubernetes says and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct StatusContainer {
    /// The phase of the Kubernetes Pod: Pending, Running, Succeeded or Failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<String>,
    /// When the container of this instance began to run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_time: Option<DateTime<Utc>>,
    /// What happened, to what, and what to do, in plain words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The stable code of the cause.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<Reason>,
    /// The exit code of an ended container.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Whether the container passes its probes; only for pods that have some.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ready: Option<bool>,
    /// How often Kubernetes started the container again within this run; only for pods with probes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restart_count: Option<i32>,
    /// Whether visitors are led to the container before it is ready; for the service itself.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub open_unready: bool,
    /// Who can do something about it, where that does not follow from the code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<Actor>,
}

impl Reason {
    /// Whether something took the pod away although it should run, so that it is started again.
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Self::Vanished
                | Self::Evicted
                | Self::NodePressure
                | Self::Preempted
                | Self::NodeRefused
                | Self::NodeLost
        )
    }
}

/// Longest message that is stored, in characters.
pub const MESSAGE_MAX: usize = 2000;

impl StatusContainer {
    /// A state with a cause and its explanation, cut to [`MESSAGE_MAX`] characters.
    pub fn because(code: Reason, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message.chars().filter(|c| *c != '\0').take(MESSAGE_MAX).collect();
        Self { code: Some(code), message: Some(message), ..Self::default() }
    }

    /// The same with who can do something about it.
    #[must_use]
    pub fn for_the(mut self, actor: Option<Actor>) -> Self {
        self.actor = actor;
        self
    }

    /// The same with the phase of the Kubernetes Pod.
    #[must_use]
    pub fn in_phase(mut self, phase: impl Into<String>) -> Self {
        self.phase = Some(phase.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_explains_every_reason() {
        let page = include_str!("../../../docs/lifecycle.md");
        let table = page.split("| Code | Meaning |").nth(1).unwrap().split("\n\n").next().unwrap();
        let documented: Vec<&str> =
            table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let all: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(documented, all);
    }

    #[test]
    fn messages_are_cut_and_have_no_nul() {
        let long = format!("a\0{}", "ü".repeat(MESSAGE_MAX));
        let message = StatusContainer::because(Reason::Refused, long).message.unwrap();
        assert_eq!(message.chars().count(), MESSAGE_MAX);
        assert!(message.starts_with("aü"));
    }
}
