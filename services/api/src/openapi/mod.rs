//! The OpenAPI document, generated from the handlers. Operation ids are tapipy's method names.
//!
//! A handler documents its query, its body, its success and the conflicts that are its own; `rules.rs` adds what holds
//! for all. `docs/openapi.json` is a copy of the document that a test keeps up to date.

pub mod bodies;
mod envelope;
mod lenient;
pub mod params;
mod rules;
pub mod schemas;

use std::sync::OnceLock;

use utoipa::OpenApi;

use crate::routes::docs;

pub use envelope::{Envelope, Metadata, Nothing};
pub use rules::PUBLIC;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Pods",
        description = "Long-lived containers for research, each with its own HTTPS address. Every answer has the keys \
            `message`, `metadata`, `result`, `status` and `version`. Times are RFC 3339 in UTC. The same routes are \
            served under `/pods`. Numbers and booleans of bodies may be sent as text; unknown keys are refused, unknown \
            query parameters are ignored. HEAD works wherever GET only reads; start, stop and restart may also be \
            sent as POST."
    ),
    tags(
        (name = "pods", description = "Containers with addresses"),
        (name = "permissions", description = "Who may do what"),
        (name = "templates", description = "Definitions that pods build on"),
        (name = "images", description = "The list of images that pods may use"),
        (name = "jupyter", description = "Notebooks on demand"),
        (name = "login", description = "Where browsers come through that visit pods with `tapis_auth`"),
        (name = "misc", description = "The service itself")
    ),
    paths(
        docs::list_pods,
        docs::create_pod,
        docs::stream_pod_events,
        docs::get_pod,
        docs::update_pod,
        docs::delete_pod,
        docs::attach_volume_mounts,
        docs::get_derived_pod,
        docs::get_pod_credentials,
        docs::get_pod_logs,
        docs::get_pod_events,
        docs::explain_pod,
        docs::list_pod_log_runs,
        docs::get_pod_log_run,
        docs::get_pod_overrides,
        docs::get_pod_provenance,
        docs::reset_pod_field,
        docs::save_pod_as_template_tag,
        docs::start_pod,
        docs::stop_pod,
        docs::restart_pod,
        docs::ensure_jupyter_pod,
        docs::get_pod_permissions,
        docs::set_pod_permission,
        docs::delete_pod_permission,
        docs::list_templates,
        docs::add_template,
        docs::list_templates_and_tags,
        docs::get_template,
        docs::update_template,
        docs::delete_template,
        docs::list_template_tags,
        docs::add_template_tag,
        docs::get_template_tag,
        docs::delete_template_tag,
        docs::get_template_permissions,
        docs::set_template_permission,
        docs::delete_template_permission,
        docs::get_images,
        docs::add_image,
        docs::add_images,
        docs::get_image,
        docs::update_image,
        docs::delete_image,
        docs::pod_auth,
        docs::pod_auth_callback,
        docs::healthcheck
    ),
    components(schemas(crate::view::LogRunBegun, crate::view::PodEventView, crate::view::PodGoneView))
)]
struct Document;

/// The document as JSON text.
pub fn json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
        rules::apply(&mut document);
        format!("{document:#}\n")
    })
}
