//! The bodies of requests. `pods_core` reads them field by field; these types only describe them, and a test compares the
//! two.
#![expect(dead_code, reason = "describes bodies that are read field by field")]

mod parts;
mod templates;

pub use parts::*;
pub use templates::*;

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::{
    lenient::{LenientInteger as Int, Mounts},
    schemas::StatusRequested,
};

/// Declares the fields of a pod's definition, after those that a body has of its own.
macro_rules! definition_body {
    ($(#[$meta:meta])* $type:ident { $($own:tt)* }) => {
        #[derive(ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$meta])*
        pub struct $type {
            $($own)*
            /// Container image, `registry/path:tag@digest`; must be on the list of allowed images. Needed unless the
            /// template has one; `""` uses the template's.
            #[schema(example = "postgres:16", max_length = 512)]
            #[serde(default)]
            image: String,
            /// `template_id`, `template_id:tag` or `template_id:tag@YYYY-MM-DD-HH:MM:SS`; stored pinned to one tag.
            /// `""` removes the template. Needs READ on the template.
            #[schema(example = "postgres:16")]
            #[serde(default)]
            template: String,
            /// What the pod is for: ASCII, at most 404 characters. null resets it.
            #[schema(max_length = 404)]
            description: Option<String>,
            /// Replaces the image's entrypoint; null keeps it.
            command: Option<Vec<String>>,
            /// Replaces the image's command; null keeps it.
            #[schema(example = json!(["-c", "max_connections=50"]))]
            arguments: Option<Vec<String>>,
            /// Environment of the container. `${pods:secrets:KEY}` stands for a value of `secret_map`,
            /// `<<tapissecret_user_password>>` for the generated password of the pod. null resets it.
            #[schema(example = json!({"POSTGRES_PASSWORD": "${pods:secrets:PGPASS}"}))]
            environment_variables: Option<BTreeMap<String, String>>,
            /// Named values: a literal, `${secret:name}`, `${secret:user:name}`, `${pods:random:N}` (N 8 to 128
            /// characters, generated once), `${pods:default:value:?description}`, `${:?description}`, `${pods:url}` and the
            /// like. null resets it.
            #[schema(example = json!({"PGPASS": "${pods:random:24}"}))]
            secret_map: Option<BTreeMap<String, String>>,
            /// Mounts by absolute path; null as a mount removes the one that the template has there. null resets all.
            volume_mounts: Option<Mounts>,
            /// Parts of the template's mounts and secret map to replace; null removes them.
            template_overrides: Option<TemplateOverridesInput>,
            /// Probes of the container; null removes them. Replaced as a whole.
            healthchecks: Option<PodHealthchecksInput>,
            /// Up to four entries by name (3 to 64 lower-case letters and digits). `default` is reached at
            /// `<pod_id>.pods.<tenant>`, others at `<pod_id>-<name>.pods.<tenant>`. null resets it.
            #[schema(example = json!({"default": {"protocol": "http", "port": 8080}}))]
            networking: Option<BTreeMap<String, NetworkingInput>>,
            /// CPU in millicores, memory and ephemeral storage in MiB, whole GPUs; what is missing takes its default.
            /// null resets it.
            resources: Option<ResourcesInput>,
            /// One of the installation's compute queues.
            #[schema(example = "default")]
            #[serde(default)]
            compute_queue: String,
            /// Seconds that each run may last: -1 (unlimited) or at least 300.
            #[schema(example = 43200)]
            #[serde(default)]
            time_to_stop_default: Int,
            /// The same for the current or next run only, in seconds; null uses the default.
            time_to_stop_instance: Option<Int>,
            /// `ON` or `OFF`; on an update also `RESTART`. A change needs ADMIN.
            #[serde(default)]
            status_requested: StatusRequested,
        }
    };
}

definition_body! {
    /// A new pod. Needs an image or a template that has one.
    #[schema(example = json!({"pod_id": "docpod", "image": "postgres:16", "description": "orders",
        "networking": {"default": {"protocol": "postgres", "port": 5432}}}))]
    NewPod {
        /// 3 to 64 lower-case letters and digits, starting with a letter; unique in the tenant.
        #[schema(example = "docpod", pattern = "^[a-z][a-z0-9]+$", min_length = 3, max_length = 64)]
        pod_id: String,
    }
}

definition_body! {
    /// What to change: only the fields that are named, each as a whole.
    #[schema(example = json!({"description": "orders, new", "time_to_stop_default": -1}))]
    UpdatePod {}
}

/// Mounts to add to a pod or to replace, by path; others stay.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachVolumeMounts {
    /// Mounts by absolute path; null as a mount removes it.
    volume_mounts: Mounts,
}

/// Fields to give back to the template.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetFields {
    /// Names of fields that a template can set, at least one.
    #[schema(example = json!(["image", "resources"]), min_items = 1)]
    fields: Vec<String>,
}

/// How the new tag is called.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTemplateTagFromPod {
    /// An existing template on which you hold USER.
    #[schema(example = "postgres")]
    template_id: String,
    /// What changed: ASCII, at most 255 characters.
    #[schema(example = "as it runs", max_length = 255)]
    commit_message: String,
    /// `[a-zA-Z0-9.-]+`, at most 80 characters; `latest` when missing.
    #[schema(example = "latest", pattern = "^[a-zA-Z0-9.-]+$", max_length = 80)]
    tag: Option<String>,
}
