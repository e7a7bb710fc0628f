//! Parts of a definition.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::openapi::{
    lenient::{LenientBoolean as Bool, LenientInteger as Int},
    schemas::{MountType, Protocol, TlsMode},
};

/// One networking entry; what is missing takes its default.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkingInput {
    /// How the entry is reached; `http` when missing. Any case.
    #[schema(value_type = Option<Protocol>)]
    protocol: Option<String>,
    /// The port that the container listens on, 10 to 65535; 5000 when missing. A change counts at once.
    #[schema(example = 8080)]
    port: Option<Int>,
    /// Written by the service; accepted and ignored.
    url: Option<String>,
    /// Who ends the TLS of a `postgres` entry: `passthrough` (the container; when missing) or `terminate` (the proxy, so
    /// that `sslmode=verify-full` works; the container sees no TLS). Any case.
    #[schema(value_type = Option<TlsMode>)]
    tls_mode: Option<String>,
    /// IP addresses and networks (CIDR) that may reach the entry; empty means everybody.
    #[schema(example = json!(["192.0.2.0/24"]))]
    ip_allow_list: Option<Vec<String>>,
    /// Whether visitors must log in with Tapis; `http` only.
    tapis_auth: Option<Bool>,
    /// Headers added to requests of logged-in visitors, at most 32. Values may contain `<<tapisusername>>`,
    /// `<<tapistenantid>>` and `<<tapissiteid>>`.
    tapis_auth_response_headers: Option<BTreeMap<String, String>>,
    /// Who may pass `tapis_auth`: user names, `*`, `AUTHORIZED_READS`, `AUTHORIZED_USERS`, `AUTHORIZED_ADMINS`; every user of
    /// the tenant when missing.
    tapis_auth_allowed_users: Option<Vec<String>>,
    /// Path to return to after the login, at most 180 characters; `/` when missing.
    tapis_auth_return_path: Option<String>,
    /// Paths that need no login, at most 50, each with what is below it: `/open` frees `/open` and `/open/x`, not
    /// `/openly`; `/open/` frees what is below it.
    tapis_auth_excluded_paths: Option<Vec<String>>,
    /// Regular expressions (RE2) of paths that need no login, at most 20.
    tapis_auth_excluded_path_regex: Option<Vec<String>>,
    /// Origins that browsers may call the entry from, as they send them: `scheme://host[:port]` in lower case, `*` or
    /// `null`; `http` only.
    cors_allow_origins: Option<Vec<String>>,
    /// Methods that browsers may use.
    cors_allow_methods: Option<Vec<String>>,
    /// Headers that browsers may send.
    cors_allow_headers: Option<Vec<String>>,
    /// Whether browsers may send credentials.
    cors_allow_credentials: Option<Bool>,
    /// Seconds that browsers may remember a preflight answer, 0 to 100; 100 when missing.
    cors_max_age: Option<Int>,
    /// Whether `Vary: Origin` is added; true when missing.
    cors_add_vary_header: Option<Bool>,
    /// Path that the link button of TapisUI opens, at most 128 characters.
    tapis_ui_uri: Option<String>,
    /// Whether the link button uses `tapis_ui_uri`.
    tapis_ui_uri_redirect: Option<Bool>,
    /// Text of the link button: ASCII, at most 255 characters.
    tapis_ui_uri_description: Option<String>,
    /// Whether the proxy compresses answers; `http` only, true when missing.
    proxy_compression: Option<Bool>,
    /// `zstd`, `br` and `gzip` in order of preference.
    #[schema(example = json!(["zstd", "br", "gzip"]))]
    proxy_compression_encodings: Option<Vec<String>>,
    /// Content types that are not compressed, at most 50, without parameters. Those that are compressed already never are,
    /// nor is `text/event-stream`.
    #[schema(example = json!(["image/svg+xml"]))]
    proxy_compression_excluded_content_types: Option<Vec<String>>,
    /// Smallest body that is compressed, in bytes, 0 to 10485760; 1024 when missing.
    proxy_compression_min_response_body_bytes: Option<Int>,
    /// A domain of your own for the entry; not a host of the platform, and no part of it may be `pods`.
    custom_domain: Option<String>,
    /// Written by the service; accepted and ignored.
    #[schema(value_type = Value, required = false)]
    custom_domain_verified: serde_json::Value,
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
    sub_path: Option<String>,
    /// Whether the container may not write; false for volumes and claims, true for snapshots and files when missing.
    read_only: Option<Bool>,
    /// Content of a configuration file, at most 1 MiB; needed for `ephemeral`.
    config_content: Option<String>,
    /// Unix mode of the configuration file, octal.
    #[schema(example = "0644", pattern = "^([0-7]{3,4})?$")]
    config_permissions: Option<String>,
    /// Name of the configuration file inside a volume.
    config_filename: Option<String>,
    /// When the configuration file is written into its volume: `always` (also when missing or empty) or `once`.
    #[schema(example = "always")]
    config_update_mode: Option<String>,
    /// Written by the service; accepted and ignored.
    #[schema(value_type = Value, required = false)]
    mounted_by: serde_json::Value,
    /// Where it is mounted, in the older shapes: a list of mounts, or mounts by id of the volume.
    mount_path: Option<String>,
    /// Id of the volume, in the older shapes.
    volume_id: Option<String>,
}

/// Parts of the template's mounts and secret map to replace.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateOverridesInput {
    /// By mount path: the keys of the template's mount to replace.
    volume_mounts: Option<BTreeMap<String, MountOverrideInput>>,
    /// Values to set or to add.
    secret_map: Option<BTreeMap<String, String>>,
}

/// The keys of one mount to replace.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MountOverrideInput {
    /// What is mounted.
    #[schema(value_type = Option<MountType>)]
    r#type: Option<String>,
    /// Id of the volume, snapshot or claim.
    source_id: Option<String>,
    /// Path below the source.
    sub_path: Option<String>,
    /// Whether the container may not write.
    read_only: Option<bool>,
    /// Content of a configuration file.
    config_content: Option<String>,
    /// Unix mode of the configuration file, octal.
    config_permissions: Option<String>,
    /// Name of the configuration file inside a volume.
    config_filename: Option<String>,
    /// When the configuration file is written.
    config_update_mode: Option<String>,
}

/// Probes of a container.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PodHealthchecksInput {
    /// Failing ends the container; the pod is then in ERROR.
    liveness: Option<ProbeInput>,
    /// Failing takes the pod out of its Service.
    readiness: Option<ProbeInput>,
    /// Holds the other probes back until it passes; failing ends the container, the pod is then in ERROR.
    startup: Option<ProbeInput>,
    /// Whether the public address waits for readiness; true when missing.
    networking_requires_ready: Option<Bool>,
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
