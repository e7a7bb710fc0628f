//! Permissions, templates, tags and images.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::parts::{NetworkingInput, PodHealthchecksInput, ResourcesInput};
use crate::openapi::lenient::{LenientInteger as Int, Mounts};

/// A user and the level to give.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPermission {
    /// A user of the tenant, `tenant.<tenant_id>` (READ only), or for templates `**` (everybody, READ only). The last two
    /// are for administrators of the service.
    #[schema(example = "bob", min_length = 1, max_length = 128)]
    user: String,
    /// APPROVEDADMIN is given by administrators of the service only.
    #[schema(value_type = PermissionLevel, example = "READ")]
    level: String,
}

/// What a user may do with an object; each level includes the ones before it.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub enum PermissionLevel {
    /// An explicit "no access".
    None,
    /// See the object.
    Read,
    /// Also change it.
    User,
    /// Everything.
    Admin,
    /// As ADMIN; also unlocks private images.
    ApprovedAdmin,
}

/// A new template.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTemplate {
    /// 3 to 64 lower-case letters and digits, starting with a letter; unique in the site.
    #[schema(
        required = true,
        example = "postgres",
        pattern = "^[a-z][a-z0-9]+$",
        min_length = 3,
        max_length = 64
    )]
    #[serde(default)]
    template_id: String,
    /// What the template is for: ASCII, at most 1600 characters.
    #[schema(max_length = 1600)]
    description: Option<String>,
    /// Words to find the template by, each of at most 255 characters.
    #[schema(example = json!(["database"]), max_items = 100)]
    metatags: Option<Vec<String>>,
    /// Why the template should not be used any more, at most 4000 characters.
    #[schema(max_length = 4000)]
    archive_message: Option<String>,
}

/// What to change: only the fields that are named; null resets a field.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTemplate {
    /// What the template is for: ASCII, at most 1600 characters.
    #[schema(max_length = 1600)]
    description: Option<String>,
    /// Words to find the template by, each of at most 255 characters.
    #[schema(max_items = 100)]
    metatags: Option<Vec<String>>,
    /// Why the template should not be used any more, at most 4000 characters.
    #[schema(max_length = 4000)]
    archive_message: Option<String>,
}

/// A new tag of a template.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTemplateTag {
    /// What a pod takes from the tag; nothing when missing.
    #[serde(default)]
    pod_definition: PodDefinitionInput,
    /// What changed: ASCII, at most 255 characters.
    #[schema(example = "first cut", max_length = 255)]
    commit_message: String,
    /// `[a-zA-Z0-9.-]+`, at most 80 characters; `latest` when missing. Adding a tag of the same name again makes it the
    /// newest of that name.
    #[schema(example = "16", pattern = "^[a-zA-Z0-9.-]+$", max_length = 80)]
    tag: Option<String>,
    /// What the tag is for: ASCII, at most 400 characters.
    description: Option<String>,
}

/// What a template sets in the pods that use it; what is missing it does not set.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"image": "postgres:16", "networking": {"default": {"protocol": "postgres", "port": 5432}},
    "secret_map": {"PGPASS": "${:?Password of the superuser}"}, "environment_variables": {"POSTGRES_PASSWORD": "${pods:secrets:PGPASS}"}}))]
pub struct PodDefinitionInput {
    /// Container image, `registry/path:tag@digest`; must be on the list of allowed images.
    image: Option<String>,
    /// The template that this one builds on; stored pinned to one tag. Needs READ on it.
    template: Option<String>,
    /// What the pod is for: ASCII, at most 255 characters.
    #[schema(max_length = 255)]
    description: Option<String>,
    /// Replaces the image's entrypoint.
    command: Option<Vec<String>>,
    /// Replaces the image's command.
    arguments: Option<Vec<String>>,
    /// Environment of the container. Every `${pods:secrets:KEY}` needs its KEY in the `secret_map` of the chain.
    environment_variables: Option<BTreeMap<String, String>>,
    /// Named values and placeholders; no `${secret:..}`.
    secret_map: Option<BTreeMap<String, String>>,
    /// Mounts by absolute path; null as a mount removes the one of the template that this one builds on.
    volume_mounts: Option<Mounts>,
    /// Seconds that each run may last: -1 (unlimited) or at least 300.
    time_to_stop_default: Option<Int>,
    /// The same for a single run, in seconds.
    time_to_stop_instance: Option<Int>,
    /// Up to four entries by name.
    networking: Option<BTreeMap<String, NetworkingInput>>,
    /// CPU in millicores, memory and ephemeral storage in MiB, whole GPUs; null sets nothing.
    resources: Option<ResourcesInput>,
    /// The compute queue; `default` sets nothing.
    #[schema(example = "default")]
    compute_queue: Option<String>,
    /// Probes of the container.
    healthchecks: Option<PodHealthchecksInput>,
}

/// An image to allow.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// `registry/path[:tag][@digest]`; a tag or digest restricts it to that one.
    #[schema(example = "library/redis")]
    image: String,
    /// Who may use it: ids of tenants, `*` (the main tenants), `**` (all tenants), `-tenant` (not this one). Nobody when
    /// missing.
    #[schema(example = json!(["*"]))]
    tenants: Option<Vec<String>>,
    /// What the image is for: ASCII, at most 255 characters.
    #[schema(max_length = 255)]
    description: Option<String>,
}

/// What to change: only the fields that are named.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateImage {
    /// Who may use it; null leaves it as it is.
    tenants: Option<Vec<String>>,
    /// What the image is for; null leaves it as it is.
    #[schema(max_length = 255)]
    description: Option<String>,
}
