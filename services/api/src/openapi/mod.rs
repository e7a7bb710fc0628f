//! The OpenAPI document, generated from the handlers. Operation ids are tapipy's method names.

use std::{collections::BTreeMap, sync::OnceLock};

use utoipa::{OpenApi, ToSchema};

use crate::{
    routes::docs,
    view::{LogsView, PermissionsView, PodView},
};

/// The body of `POST /pods`. Unknown keys are refused.
#[derive(ToSchema)]
#[schema(as = NewPod)]
#[expect(dead_code, reason = "describes a body that pods_core reads field by field")]
pub struct NewPodBody {
    /// 3 to 64 lower-case letters and digits, starting with a letter; unique in the tenant.
    #[schema(example = "docpod")]
    pod_id: String,
    #[schema(inline)]
    #[serde(flatten)]
    fields: UpdatePodBody,
}

/// The body of `PUT /pods/{pod_id}`: only what is named changes, each field as a whole.
#[derive(ToSchema)]
#[schema(as = UpdatePod)]
#[expect(dead_code, reason = "describes a body that pods_core reads field by field")]
pub struct UpdatePodBody {
    /// Container image, `registry/path:tag`; must be on the list of allowed images.
    #[schema(example = "busybox")]
    image: Option<String>,
    /// ASCII, at most 404 characters.
    description: Option<String>,
    /// Replaces the image's entrypoint.
    command: Option<Vec<String>>,
    /// Replaces the image's command.
    arguments: Option<Vec<String>>,
    /// Environment of the container.
    environment_variables: Option<BTreeMap<String, String>>,
    /// Up to four entries, name to entry.
    #[schema(value_type = Option<Object>)]
    networking: Option<BTreeMap<String, pods_core::Networking>>,
    /// CPU in millicores, memory and ephemeral storage in MiB, whole GPUs.
    #[schema(value_type = Option<Object>)]
    resources: Option<pods_core::Resources>,
    /// One of the installation's compute queues.
    compute_queue: Option<String>,
    /// Seconds that each run may last: -1 (unlimited) or at least 300.
    time_to_stop_default: Option<i32>,
    /// The same for the current or next run only.
    time_to_stop_instance: Option<i32>,
    /// ON, OFF or (not on create) RESTART.
    #[schema(example = "ON")]
    status_requested: Option<String>,
}

/// The body of `POST /pods/{pod_id}/permissions`.
#[derive(ToSchema)]
#[schema(as = SetPermission)]
#[expect(dead_code, reason = "describes a body that is read field by field")]
pub struct SetPermissionBody {
    /// A user of the tenant.
    user: String,
    /// NONE, READ, USER, ADMIN or APPROVEDADMIN.
    #[schema(example = "READ")]
    level: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Pods",
        description = "Long-lived containers for research, each with its own HTTPS address."
    ),
    paths(
        docs::list_pods,
        docs::create_pod,
        docs::get_pod,
        docs::update_pod,
        docs::delete_pod,
        docs::start_pod,
        docs::stop_pod,
        docs::restart_pod,
        docs::get_pod_logs,
        docs::get_pod_permissions,
        docs::set_pod_permission,
        docs::delete_pod_permission,
        docs::healthcheck
    ),
    components(schemas(PodView, NewPodBody, UpdatePodBody, LogsView, PermissionsView, SetPermissionBody))
)]
struct Document;

/// The document as JSON text.
pub fn json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| Document::openapi().to_pretty_json().unwrap_or_else(|_| "{}".to_owned()))
}
