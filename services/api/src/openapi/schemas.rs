//! Parts of answers that are not types of this crate.

pub use crate::view::schemas::*;

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// What a template sets in the pods that use it. A field that is null, `{}` or the queue `default` sets nothing.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what pods_core serialises")]
pub struct TemplateTagPodDefinition {
    /// The container image.
    #[schema(required = true)]
    image: Option<String>,
    /// The template that this one builds on, pinned as `template_id:tag@YYYY-MM-DD-HH:MM:SS`.
    #[schema(required = true)]
    template: Option<String>,
    /// What the pod is for.
    #[schema(required = true)]
    description: Option<String>,
    /// Replaces the image's entrypoint.
    #[schema(required = true)]
    command: Option<Vec<String>>,
    /// Replaces the image's command.
    #[schema(required = true)]
    arguments: Option<Vec<String>>,
    /// Environment of the container.
    environment_variables: BTreeMap<String, String>,
    /// Named values and placeholders.
    secret_map: BTreeMap<String, String>,
    /// Mounts by absolute path.
    volume_mounts: BTreeMap<String, VolumeMount>,
    /// Seconds that each run may last; -1 is unlimited.
    #[schema(required = true)]
    time_to_stop_default: Option<i32>,
    /// The same for a single run, in seconds.
    #[schema(required = true)]
    time_to_stop_instance: Option<i32>,
    /// Networking entries by name.
    networking: BTreeMap<String, Networking>,
    /// CPU in millicores, memory and ephemeral storage in MiB, whole GPUs.
    resources: TemplateResources,
    /// The compute queue that the pod runs in.
    compute_queue: String,
    /// Probes of the container.
    #[schema(required = true)]
    healthchecks: Option<PodHealthchecks>,
}

/// The resources that a template sets; null sets nothing.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what pods_core serialises")]
pub struct TemplateResources {
    /// CPU that is reserved, in millicores.
    #[schema(required = true)]
    cpu_request: Option<i32>,
    /// CPU that may be used, in millicores.
    #[schema(required = true)]
    cpu_limit: Option<i32>,
    /// Memory that is reserved, in MiB.
    #[schema(required = true)]
    mem_request: Option<i32>,
    /// Memory that may be used, in MiB.
    #[schema(required = true)]
    mem_limit: Option<i32>,
    /// Ephemeral storage that is reserved, in MiB; -1 sets none.
    #[schema(required = true)]
    ephemeral_storage_request: Option<i32>,
    /// Ephemeral storage that may be used, in MiB; -1 sets none.
    #[schema(required = true)]
    ephemeral_storage_limit: Option<i32>,
    /// Whole GPUs.
    #[schema(required = true)]
    gpus: Option<i32>,
}
