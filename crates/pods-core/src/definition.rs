//! What a user defines about a pod, as it is stored and as a start uses it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Healthchecks, Networking, Resources, TemplateOverrides, VolumeMount, mount, template::Derived,
    time_to_stop,
};

/// The definition of a pod: every field that a user may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodDefinition {
    /// The container image as typed; empty when the template's is used.
    pub image: String,
    /// The pinned template reference, or empty.
    #[serde(default)]
    pub template: String,
    /// What the pod is for.
    pub description: String,
    /// Replaces the image's entrypoint; `None` keeps it.
    pub command: Option<Vec<String>>,
    /// Replaces the image's command; `None` keeps it.
    pub arguments: Option<Vec<String>>,
    /// Environment of the container.
    pub environment_variables: BTreeMap<String, String>,
    /// Named values, references to secrets and placeholders.
    #[serde(default)]
    pub secret_map: BTreeMap<String, String>,
    /// The user's own mounts by path; `None` remembers the removal of a template's mount.
    #[serde(default)]
    pub volume_mounts: BTreeMap<String, Option<VolumeMount>>,
    /// Parts of the template's mounts and secret map that are replaced.
    #[serde(default)]
    pub template_overrides: Option<TemplateOverrides>,
    /// Probes.
    #[serde(default)]
    pub healthchecks: Option<Healthchecks>,
    /// Networking entries by name.
    pub networking: BTreeMap<String, Networking>,
    /// Resources, every field filled in.
    pub resources: Resources,
    /// Name of the compute queue.
    pub compute_queue: String,
    /// Seconds that each run may last; -1 is unlimited.
    pub time_to_stop_default: i32,
    /// The same for the current or next run only.
    pub time_to_stop_instance: Option<i32>,
}

/// The definition that a start uses and that `pod_instances` freezes: merged with its templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectivePod {
    /// The merged definition.
    #[serde(flatten)]
    pub definition: PodDefinition,
}

impl From<Derived> for EffectivePod {
    fn from(derived: Derived) -> Self {
        Self { definition: derived.definition }
    }
}

impl PodDefinition {
    /// The limit of a run that starts now, in seconds, or -1.
    pub fn run_limit(&self) -> i32 {
        self.time_to_stop_instance.unwrap_or(self.time_to_stop_default)
    }

    /// Drops the contents of configuration files, of which only the length is left, for lists.
    pub fn redact_contents(&mut self) {
        mount::redact(&mut self.volume_mounts);
        let overrides = self.template_overrides.iter_mut().flat_map(|own| own.volume_mounts.values_mut());
        for replaced in overrides {
            replaced.config_content = replaced.config_content.as_deref().map(mount::redaction);
        }
    }

    /// A definition with nothing but defaults, the start of every create.
    pub fn with_resources(resources: Resources) -> Self {
        Self {
            image: String::new(),
            template: String::new(),
            description: String::new(),
            command: None,
            arguments: None,
            environment_variables: BTreeMap::new(),
            secret_map: BTreeMap::new(),
            volume_mounts: BTreeMap::new(),
            template_overrides: None,
            healthchecks: None,
            networking: crate::networking::default_entries(),
            resources,
            compute_queue: DEFAULT_QUEUE.to_owned(),
            time_to_stop_default: time_to_stop::DEFAULT_SECONDS,
            time_to_stop_instance: None,
        }
    }
}

/// The compute queue of a pod that names none.
pub const DEFAULT_QUEUE: &str = "default";
