//! Why a pod is in the state it is in: stable codes and the `status_container` object.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::status::text_enum;

text_enum! {
    /// A stable, machine-readable cause. New ones may be added; existing ones keep their meaning.
    Reason {
        /// The container is being set up.
        Starting => "starting",
        /// The container runs.
        Running => "running",
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
        /// A volume could not be mounted.
        Mount => "mount",
        /// The container could not be created or started, for example because its command does not exist.
        ContainerStart => "container_start",
        /// The container ended by itself; the message has the exit code.
        ExitCode => "exit_code",
        /// The container used more memory than its limit.
        OutOfMemory => "out_of_memory",
        /// The pod wrote more than its own ephemeral storage limit.
        StorageLimit => "storage_limit",
        /// The time to stop has passed.
        Expired => "expired",
        /// The node evicted or preempted the pod.
        Evicted => "evicted",
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
        /// A volume, snapshot or claim that the pod mounts cannot be had; the message names the mount.
        StorageUnavailable => "storage_unavailable",
        /// A secret or value that the pod needs cannot be had; the message names the key.
        SecretUnavailable => "secret_unavailable",
        /// The pod's template, or one that it builds on, does not exist any more.
        TemplateUnavailable => "template_unavailable",
        /// The key that the pod's credentials are sealed with is missing at the moment; the work is retried.
        KeysUnavailable => "keys_unavailable",
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
