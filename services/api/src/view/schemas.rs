//! How the parts of a pod look in the OpenAPI document. The types of `pods_core` are what is really written; every
//! answer of the tests is validated against the document, so these descriptions cannot drift from them.
#![expect(dead_code, reason = "describes what pods_core serialises")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use utoipa::ToSchema;

/// What the user wants.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub enum StatusRequested {
    /// The pod shall run.
    On,
    /// The pod shall not run.
    Off,
    /// The pod shall be stopped and started again.
    Restart,
}

/// Where a pod is in its life.
#[derive(ToSchema)]
#[schema(as = PodStatus, rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// A start was accepted.
    Requested,
    /// The container is being prepared.
    Spawning,
    /// The container runs.
    Available,
    /// Nothing of the pod exists in Kubernetes.
    Stopped,
    /// The container is being removed; a new start follows by itself.
    Restarting,
    /// The container is being removed.
    ShuttingDown,
    /// The container ended by itself with exit code 0.
    Complete,
    /// The pod could not be started, or its container ended with another exit code.
    Error,
}

/// How a networking entry is reached.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTPS at its own host, plain HTTP to the container.
    Http,
    /// TLS at its own host, plain TCP to the container.
    Tcp,
    /// As the PostgreSQL wire protocol starts TLS.
    Postgres,
    /// Reachable inside the cluster only.
    LocalOnly,
}

/// Who ends the TLS of a `postgres` entry.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum TlsMode {
    /// The container, with a certificate of its own.
    Passthrough,
    /// The proxy, with the certificate of the entry's host.
    Terminate,
}

/// One networking entry, every field filled in.
#[derive(ToSchema)]
pub struct Networking {
    /// How the entry is reached.
    protocol: Protocol,
    /// The port that the container listens on, 10 to 65535.
    #[schema(example = 5000)]
    port: i32,
    /// Host name of the entry, without scheme and port; written by the service.
    #[schema(example = "docpod.pods.tacc.tapis.io")]
    url: String,
    /// Who ends the TLS of a `postgres` entry.
    tls_mode: TlsMode,
    /// IP addresses and networks that may reach the entry; empty means everybody.
    ip_allow_list: Vec<String>,
    /// Whether visitors must log in with Tapis.
    tapis_auth: bool,
    /// Headers added to requests of logged-in visitors, name to value.
    tapis_auth_response_headers: BTreeMap<String, String>,
    /// Who may pass `tapis_auth`; `*` is every user of the tenant.
    tapis_auth_allowed_users: Vec<String>,
    /// Path to return to after the login.
    tapis_auth_return_path: String,
    /// Paths that need no login, each with what is below it.
    tapis_auth_excluded_paths: Vec<String>,
    /// Regular expressions (RE2) of paths that need no login.
    tapis_auth_excluded_path_regex: Vec<String>,
    /// Origins that browsers may call the entry from.
    cors_allow_origins: Vec<String>,
    /// Methods that browsers may use.
    cors_allow_methods: Vec<String>,
    /// Headers that browsers may send.
    cors_allow_headers: Vec<String>,
    /// Whether browsers may send credentials.
    cors_allow_credentials: bool,
    /// Seconds that browsers may remember a preflight answer.
    cors_max_age: i32,
    /// Whether `Vary: Origin` is added.
    cors_add_vary_header: bool,
    /// Path that the link button of TapisUI opens.
    tapis_ui_uri: String,
    /// Whether the link button uses `tapis_ui_uri`.
    tapis_ui_uri_redirect: bool,
    /// Text of the link button.
    tapis_ui_uri_description: String,
    /// Whether the proxy compresses answers.
    proxy_compression: bool,
    /// Encodings in order of preference.
    proxy_compression_encodings: Vec<String>,
    /// Content types that are not compressed, beside the ones that already are.
    proxy_compression_excluded_content_types: Vec<String>,
    /// Smallest body that is compressed, in bytes.
    proxy_compression_min_response_body_bytes: i32,
    /// A domain of the user's own for the entry; empty when there is none.
    custom_domain: String,
    /// Whether the service has verified the custom domain.
    custom_domain_verified: bool,
}

/// The resources of a pod, every field filled in.
#[derive(ToSchema)]
pub struct Resources {
    /// CPU that is reserved, in millicores.
    #[schema(example = 250)]
    cpu_request: i32,
    /// CPU that may be used, in millicores.
    #[schema(example = 2000)]
    cpu_limit: i32,
    /// Memory that is reserved, in MiB.
    #[schema(example = 256)]
    mem_request: i32,
    /// Memory that may be used, in MiB.
    #[schema(example = 3072)]
    mem_limit: i32,
    /// Ephemeral storage that is reserved, in MiB; -1 sets none.
    #[schema(example = -1)]
    ephemeral_storage_request: i32,
    /// Ephemeral storage that may be used, in MiB; -1 sets none.
    #[schema(example = -1)]
    ephemeral_storage_limit: i32,
    /// Whole GPUs.
    #[schema(example = 0)]
    gpus: i32,
}

/// What is mounted.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum MountType {
    /// A volume of the volumes API.
    TapisVolume,
    /// A snapshot, always read-only.
    TapisSnapshot,
    /// A file whose content stands in the definition.
    Ephemeral,
    /// A Kubernetes PersistentVolumeClaim.
    Pvc,
}

/// When a configuration file is written into its volume.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ConfigUpdateMode {
    /// At every start.
    Always,
    /// Only when it is not there yet.
    Once,
}

/// One mount.
#[derive(ToSchema)]
pub struct VolumeMount {
    /// What is mounted.
    r#type: MountType,
    /// Id of the volume, snapshot or claim; null for `ephemeral`; in templates a placeholder `${:?text}`.
    #[schema(required = true)]
    source_id: Option<String>,
    /// Path below the source that is mounted; empty is all of it.
    sub_path: String,
    /// Whether the container may not write.
    read_only: bool,
    /// Content of a configuration file; its length only, unless `include_configs=true`.
    #[schema(required = true)]
    config_content: Option<String>,
    /// Unix mode of the configuration file, octal.
    #[schema(example = "0644")]
    config_permissions: String,
    /// Name of the configuration file inside a volume.
    #[schema(required = true)]
    config_filename: Option<String>,
    /// When the configuration file is written.
    config_update_mode: ConfigUpdateMode,
    /// The user whose rights on the source the mount uses; written by the service.
    #[schema(required = true)]
    mounted_by: Option<String>,
}

/// What a pod changes of its template without repeating it.
#[derive(ToSchema)]
pub struct TemplateOverrides {
    /// By mount path: the keys to replace in the template's mount.
    volume_mounts: Option<BTreeMap<String, MountOverride>>,
    /// Values of `secret_map` to set or add.
    secret_map: Option<BTreeMap<String, String>>,
}

/// The keys of one mount that are replaced; what is absent stays as in the template.
#[derive(ToSchema)]
pub struct MountOverride {
    /// What is mounted.
    r#type: Option<MountType>,
    /// Id of the volume, snapshot or claim.
    source_id: Option<String>,
    /// Path below the source.
    sub_path: Option<String>,
    /// Whether the container may not write.
    read_only: Option<bool>,
    /// Content of a configuration file; its length only, unless `include_configs=true`.
    config_content: Option<String>,
    /// Unix mode of the configuration file, octal.
    config_permissions: Option<String>,
    /// Name of the configuration file inside a volume.
    config_filename: Option<String>,
    /// When the configuration file is written.
    config_update_mode: Option<ConfigUpdateMode>,
}

/// The probes of a pod.
#[derive(ToSchema)]
pub struct PodHealthchecks {
    /// Failing ends the container; the pod is then in ERROR.
    #[schema(required = true)]
    liveness: Option<Probe>,
    /// Failing takes the pod out of its Service.
    #[schema(required = true)]
    readiness: Option<Probe>,
    /// Holds the other probes back until it passes; failing ends the container, the pod is then in ERROR.
    #[schema(required = true)]
    startup: Option<Probe>,
    /// Whether the public address waits for readiness.
    networking_requires_ready: bool,
}

/// One probe; exactly one of HTTP (`http_get_path`), `exec_command` and `tcp_socket_port` is its action.
#[derive(ToSchema)]
pub struct Probe {
    /// Path of an HTTP probe.
    #[schema(required = true)]
    http_get_path: Option<String>,
    /// Port of an HTTP probe.
    #[schema(required = true)]
    http_get_port: Option<i32>,
    /// `HTTP` or `HTTPS`.
    #[schema(example = "HTTP")]
    http_get_scheme: String,
    /// Command of an exec probe.
    #[schema(required = true)]
    exec_command: Option<Vec<String>>,
    /// Port of a TCP probe.
    #[schema(required = true)]
    tcp_socket_port: Option<i32>,
    /// Seconds before the first probe.
    initial_delay_seconds: i32,
    /// Seconds between probes.
    period_seconds: i32,
    /// Seconds until a probe counts as failed.
    timeout_seconds: i32,
    /// Failures in a row that count.
    failure_threshold: i32,
    /// Successes in a row that count.
    success_threshold: i32,
}

/// The fields that the user set on a pod.
#[derive(ToSchema)]
pub struct PodOverrides {
    /// The id of the pod.
    pod_id: String,
    /// The pinned template; null without one.
    #[schema(required = true)]
    template: Option<String>,
    /// Where the pod is in its life.
    status: Status,
    /// The names of the fields.
    modified_fields: BTreeSet<String>,
    /// The stored value of each of them, by field; subfields of `resources` stand together below `resources`.
    overrides: BTreeMap<String, Value>,
}

/// Where the fields of a pod come from.
#[derive(ToSchema)]
pub struct PodProvenance {
    /// The id of the pod.
    pod_id: String,
    /// The pinned template; null without one.
    #[schema(required = true)]
    template: Option<String>,
    /// Whether the pod has a template.
    has_template: bool,
    /// The names of the fields that the user set.
    modified_fields: BTreeSet<String>,
    /// How many fields come from where.
    summary: ProvenanceSummary,
    /// By name of the field.
    fields: BTreeMap<String, FieldProvenance>,
}

/// How many fields come from where.
#[derive(ToSchema)]
pub struct ProvenanceSummary {
    /// Set on the pod.
    pod: u32,
    /// Set by a template.
    template: u32,
    /// Set by nobody.
    default: u32,
}

/// Where a value comes from.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum ProvenanceSource {
    /// The user set it on the pod.
    Pod,
    /// A template sets it to something else than the default.
    Template,
    /// Nobody set it.
    Default,
}

/// Where one field comes from.
#[derive(ToSchema)]
pub struct FieldProvenance {
    /// Where the value comes from.
    source: ProvenanceSource,
    /// Whether the user set the field, or a part of it, on the pod.
    in_modified_fields: bool,
    /// Whether a template of the chain sets it.
    template_provides: bool,
    /// What is stored on the pod.
    pod_value: Value,
    /// What the templates say; null when they do not set it.
    template_value: Value,
    /// What a start uses.
    derived_value: Value,
}
