//! The bodies of requests. `pods_core` reads them field by field; these types only describe them.
#![expect(dead_code, reason = "describes bodies that are read field by field")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::{
    lenient::{LenientBoolean as Bool, LenientInteger as Int, MountOrNull},
    schemas::{ConfigUpdateMode, MountType, Protocol, StatusRequested},
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
            volume_mounts: Option<BTreeMap<String, MountOrNull>>,
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
            #[schema(example = "default", pattern = "^[a-z0-9]+$")]
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
    volume_mounts: BTreeMap<String, MountOrNull>,
}

/// One networking entry; what is missing takes its default.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkingInput {
    /// How the entry is reached; `http` when missing. Any case.
    #[schema(value_type = Protocol)]
    #[serde(default)]
    protocol: String,
    /// The port that the container listens on, 10 to 65535; 5000 when missing.
    #[schema(example = 8080)]
    #[serde(default)]
    port: Int,
    /// Written by the service; accepted and ignored.
    #[serde(default)]
    url: String,
    /// IP addresses and networks (CIDR) that may reach the entry; empty means everybody.
    #[schema(example = json!(["192.0.2.0/24"]))]
    #[serde(default)]
    ip_allow_list: Vec<String>,
    /// Whether visitors must log in with Tapis; `http` only.
    #[serde(default)]
    tapis_auth: Bool,
    /// Headers added to requests of logged-in visitors, at most 32. Values may contain `<<tapisusername>>`,
    /// `<<tapistenantid>>` and `<<tapissiteid>>`.
    #[serde(default)]
    tapis_auth_response_headers: BTreeMap<String, String>,
    /// Who may pass `tapis_auth`: user names, `*`, `AUTHORIZED_READS`, `AUTHORIZED_USERS`, `AUTHORIZED_ADMINS`; every user of
    /// the tenant when missing.
    #[serde(default)]
    tapis_auth_allowed_users: Vec<String>,
    /// Path to return to after the login, at most 180 characters; `/` when missing.
    #[serde(default)]
    tapis_auth_return_path: String,
    /// Path prefixes that need no login, at most 50.
    #[serde(default)]
    tapis_auth_excluded_paths: Vec<String>,
    /// Regular expressions (RE2) of paths that need no login, at most 20.
    #[serde(default)]
    tapis_auth_excluded_path_regex: Vec<String>,
    /// Origins that browsers may call the entry from; `http` only.
    #[serde(default)]
    cors_allow_origins: Vec<String>,
    /// Methods that browsers may use.
    #[serde(default)]
    cors_allow_methods: Vec<String>,
    /// Headers that browsers may send.
    #[serde(default)]
    cors_allow_headers: Vec<String>,
    /// Whether browsers may send credentials.
    #[serde(default)]
    cors_allow_credentials: Bool,
    /// Seconds that browsers may remember a preflight answer, 0 to 100; 100 when missing.
    #[serde(default)]
    cors_max_age: Int,
    /// Whether `Vary: Origin` is added; true when missing.
    #[serde(default)]
    cors_add_vary_header: Bool,
    /// Path that the link button of TapisUI opens, at most 128 characters.
    #[serde(default)]
    tapis_ui_uri: String,
    /// Whether the link button uses `tapis_ui_uri`.
    #[serde(default)]
    tapis_ui_uri_redirect: Bool,
    /// Text of the link button: ASCII, at most 255 characters.
    #[serde(default)]
    tapis_ui_uri_description: String,
    /// Whether the proxy compresses answers; `http` only, true when missing.
    #[serde(default)]
    proxy_compression: Bool,
    /// `zstd`, `br` and `gzip` in order of preference.
    #[schema(example = json!(["zstd", "br", "gzip"]))]
    #[serde(default)]
    proxy_compression_encodings: Vec<String>,
    /// Content types that are not compressed, at most 50.
    #[serde(default)]
    proxy_compression_excluded_content_types: Vec<String>,
    /// Smallest body that is compressed, in bytes, 0 to 10485760; 1024 when missing.
    #[serde(default)]
    proxy_compression_min_response_body_bytes: Int,
    /// A domain of your own for the entry.
    #[serde(default)]
    custom_domain: String,
    /// Written by the service; accepted and ignored.
    #[serde(default)]
    custom_domain_verified: Bool,
}

/// Resources; what is missing takes its default. Requests must not be larger than limits.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesInput {
    /// CPU that is reserved, in millicores.
    #[schema(example = 250)]
    cpu_request: Option<Int>,
    /// CPU that may be used, in millicores.
    #[schema(example = 2000)]
    cpu_limit: Option<Int>,
    /// Memory that is reserved, in MiB.
    #[schema(example = 256)]
    mem_request: Option<Int>,
    /// Memory that may be used, in MiB.
    #[schema(example = 3072)]
    mem_limit: Option<Int>,
    /// Ephemeral storage that is reserved, in MiB; -1 sets none.
    ephemeral_storage_request: Option<Int>,
    /// Ephemeral storage that may be used, in MiB; -1 sets none.
    ephemeral_storage_limit: Option<Int>,
    /// Whole GPUs.
    gpus: Option<Int>,
}

/// One mount.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMountInput {
    /// What is mounted.
    #[schema(value_type = MountType)]
    r#type: String,
    /// Id of the volume, snapshot or claim; not for `ephemeral`. In templates a placeholder `${:?description}` for volumes
    /// and snapshots.
    #[schema(example = "shopdata")]
    source_id: Option<String>,
    /// Path below the source that is mounted, at most 255 characters; all of it when missing.
    #[serde(default)]
    sub_path: String,
    /// Whether the container may not write; false for volumes and claims, true for snapshots and files when missing.
    read_only: Option<Bool>,
    /// Content of a configuration file, at most 1 MiB; needed for `ephemeral`.
    config_content: Option<String>,
    /// Unix mode of the configuration file, octal.
    #[schema(example = "0644", pattern = "^[0-7]{3,4}$")]
    #[serde(default)]
    config_permissions: String,
    /// Name of the configuration file inside a volume.
    config_filename: Option<String>,
    /// When the configuration file is written into its volume; `always` when missing.
    #[schema(value_type = ConfigUpdateMode)]
    #[serde(default)]
    config_update_mode: String,
    /// Written by the service; accepted and ignored.
    mounted_by: Option<String>,
}

/// Parts of the template's mounts and secret map to replace.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateOverridesInput {
    /// By mount path: the keys of the template's mount to replace.
    #[serde(default)]
    volume_mounts: BTreeMap<String, MountOverrideInput>,
    /// Values to set or to add.
    #[serde(default)]
    secret_map: BTreeMap<String, String>,
}

/// The keys of one mount to replace.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MountOverrideInput {
    /// What is mounted.
    #[schema(value_type = MountType)]
    #[serde(default)]
    r#type: String,
    /// Id of the volume, snapshot or claim.
    #[serde(default)]
    source_id: String,
    /// Path below the source.
    #[serde(default)]
    sub_path: String,
    /// Whether the container may not write.
    #[serde(default)]
    read_only: bool,
    /// Content of a configuration file.
    #[serde(default)]
    config_content: String,
    /// Unix mode of the configuration file, octal.
    #[serde(default)]
    config_permissions: String,
    /// Name of the configuration file inside a volume.
    #[serde(default)]
    config_filename: String,
    /// When the configuration file is written.
    #[schema(value_type = ConfigUpdateMode)]
    #[serde(default)]
    config_update_mode: String,
}

/// Probes of a container.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PodHealthchecksInput {
    /// Failing restarts the container.
    liveness: Option<ProbeInput>,
    /// Failing takes the pod out of its Service.
    readiness: Option<ProbeInput>,
    /// Holds the other probes back until it passes.
    startup: Option<ProbeInput>,
    /// Whether the public address waits for readiness; true when missing.
    #[serde(default)]
    networking_requires_ready: Bool,
}

/// One probe; exactly one of HTTP (`http_get_path`), `exec_command` and `tcp_socket_port` is its action.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeInput {
    /// Path of an HTTP probe.
    #[schema(example = "/up")]
    http_get_path: Option<String>,
    /// Port of an HTTP probe, 1 to 65535; 5000 when missing.
    http_get_port: Option<Int>,
    /// `HTTP` or `HTTPS`; `HTTP` when missing.
    http_get_scheme: Option<String>,
    /// Command of an exec probe.
    exec_command: Option<Vec<String>>,
    /// Port of a TCP probe, 1 to 65535.
    tcp_socket_port: Option<Int>,
    /// Seconds before the first probe; 10 when missing.
    initial_delay_seconds: Option<Int>,
    /// Seconds between probes; 10 when missing.
    period_seconds: Option<Int>,
    /// Seconds until a probe counts as failed; 5 when missing.
    timeout_seconds: Option<Int>,
    /// Failures in a row that count; 3 when missing.
    failure_threshold: Option<Int>,
    /// Successes in a row that count; 1 when missing, and always 1 for liveness and startup.
    success_threshold: Option<Int>,
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
    #[schema(required = false, example = "latest", pattern = "^[a-zA-Z0-9.-]+$", max_length = 80)]
    tag: String,
}

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
    /// Words to find the template by.
    #[schema(example = json!(["database"]))]
    metatags: Option<Vec<String>>,
    /// Why the template should not be used any more.
    archive_message: Option<String>,
}

/// What to change: only the fields that are named; null resets a field.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTemplate {
    /// What the template is for: ASCII, at most 1600 characters.
    #[schema(max_length = 1600)]
    description: Option<String>,
    /// Words to find the template by.
    metatags: Option<Vec<String>>,
    /// Why the template should not be used any more.
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
    #[serde(default)]
    tag: String,
    /// What the tag is for: ASCII, at most 400 characters.
    #[serde(default)]
    description: String,
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
    volume_mounts: Option<BTreeMap<String, MountOrNull>>,
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
