//! Every route of the API, in one list.

pub mod auth;
mod events;
mod images;
mod jupyter;
mod lifecycle;
mod misc;
mod permissions;
mod pods;
mod table;
mod template_tags;
mod templates;

pub(crate) mod docs {
    //! The operations and their documentation, for the OpenAPI document.
    pub use super::{
        auth::*, events::*, images::*, jupyter::*, lifecycle::*, misc::*, permissions::*, pods::*,
        template_tags::*, templates::*,
    };
}

use actix_web::web;
use docs::*;
use table::{Place, act, at, delete, get, get_only, large, post, put};

/// The prefixes under which everything about pods is served.
const PREFIXES: [&str; 2] = ["/v3/pods", "/pods"];

/// The places below a prefix. The order matters: words come before ids.
fn places() -> Vec<Place> {
    vec![
        at("", [get(list_pods), large(post(create_pod))]),
        at("/templates", [get(list_templates), post(add_template)]),
        at("/templates/tags", [get(list_templates_and_tags)]),
        at("/templates/{template_id}", [get(get_template), put(update_template), delete(delete_template)]),
        at("/templates/{template_id}/tags", [get(list_template_tags), large(post(add_template_tag))]),
        at("/templates/{template_id}/tags/{tag_id}", [get(get_template_tag), delete(delete_template_tag)]),
        at(
            "/templates/{template_id}/permissions",
            [get(get_template_permissions), post(set_template_permission)],
        ),
        at("/templates/{template_id}/permissions/{user}", [delete(delete_template_permission)]),
        at("/images", [get(get_images), post(add_image)]),
        at("/images/bulk", [post(add_images)]),
        // The name of an image may hold slashes.
        at("/images/{image_id:.+}", [get(get_image), put(update_image), delete(delete_image)]),
        at("/jupyter/ensure", [get_only(ensure_jupyter_pod)]),
        at("/events", [get(stream_pod_events)]),
        Place::reserved_words(),
        at("/{pod_id}", [get(get_pod), large(put(update_pod)), delete(delete_pod)]),
        at("/{pod_id}/start", [act(start_pod)]),
        at("/{pod_id}/stop", [act(stop_pod)]),
        at("/{pod_id}/restart", [act(restart_pod)]),
        at("/{pod_id}/derived", [get(get_derived_pod)]),
        at("/{pod_id}/credentials", [get(get_pod_credentials)]),
        at("/{pod_id}/logs", [get(get_pod_logs)]),
        at("/{pod_id}/events", [get(get_pod_events)]),
        at("/{pod_id}/explain", [get(explain_pod)]),
        at("/{pod_id}/log-runs", [get(list_pod_log_runs)]),
        at("/{pod_id}/log-runs/{run_index}", [get(get_pod_log_run)]),
        at("/{pod_id}/overrides", [get(get_pod_overrides)]),
        at("/{pod_id}/provenance", [get(get_pod_provenance)]),
        at("/{pod_id}/reset_field", [post(reset_pod_field)]),
        at("/{pod_id}/save_pod_as_template_tag", [post(save_pod_as_template_tag)]),
        at("/{pod_id}/volumes", [large(post(attach_volume_mounts))]),
        at("/{pod_id_net}/auth", [get_only(pod_auth)]),
        at("/{pod_id_net}/auth/callback", [get_only(pod_auth_callback)]),
        at("/{pod_id}/permissions", [get(get_pod_permissions), post(set_pod_permission)]),
        at("/{pod_id}/permissions/{user}", [delete(delete_pod_permission)]),
    ]
}

/// Registers all routes.
pub fn configure(config: &mut web::ServiceConfig) {
    // The pages about the API are also below the pods' prefix, which is all that a tenant's proxy passes on.
    for prefix in ["", "/v3", "/v3/pods", "/pods"] {
        config.service(at("/healthcheck", [get(healthcheck)]).below(prefix));
    }
    for prefix in ["", "/v3/pods", "/pods"] {
        config
            .service(at("/openapi.json", [get(openapi_json)]).below(prefix))
            .service(at("/docs", [get(to_swagger_ui)]).below(prefix))
            .service(swagger_ui(prefix));
    }
    for prefix in PREFIXES {
        let scope =
            places().into_iter().fold(web::scope(prefix), |scope, place| scope.service(place.below("")));
        config.service(scope);
    }
    config.default_service(web::to(not_found));
}

/// What is registered below a prefix, as the OpenAPI document writes it: path and methods. For tests.
pub fn listed() -> Vec<(String, Vec<&'static str>)> {
    places().iter().filter_map(Place::listed).collect()
}
