//! Every route of the API, in one list.

mod lifecycle;
mod misc;
mod permissions;
mod pods;

pub use lifecycle::{restart_pod, start_pod, stop_pod};
pub use misc::healthcheck;
pub use permissions::{delete_pod_permission, get_pod_permissions, set_pod_permission};
pub use pods::{create_pod, delete_pod, get_pod, get_pod_logs, list_pods, update_pod};

pub(crate) mod docs {
    //! The documentation of the operations, for the OpenAPI document.
    pub use super::{lifecycle::*, misc::*, permissions::*, pods::*};
}

use actix_web::{Resource, Route, guard, web};

/// Registers all routes. Each pod route is served under `/v3/pods` and `/pods`.
pub fn configure(config: &mut web::ServiceConfig) {
    // The pages about the API are also below the pods' prefix, which is all that a tenant's proxy passes on.
    for prefix in ["", "/v3/pods", "/pods"] {
        config
            .service(resource(&format!("{prefix}/healthcheck")).route(read().to(healthcheck)))
            .service(resource(&format!("{prefix}/openapi.json")).route(read().to(misc::openapi_json)))
            .service(resource(&format!("{prefix}/docs")).route(read().to(misc::to_swagger_ui)))
            .service(misc::swagger_ui(prefix));
    }
    for prefix in ["/v3/pods", "/pods"] {
        config.service(
            web::scope(prefix)
                .service(resource("").route(read().to(list_pods)).route(web::post().to(create_pod)))
                .service(
                    resource("/{pod_id}")
                        .route(read().to(get_pod))
                        .route(web::put().to(update_pod))
                        .route(web::delete().to(delete_pod)),
                )
                .service(resource("/{pod_id}/start").route(act().to(start_pod)))
                .service(resource("/{pod_id}/stop").route(act().to(stop_pod)))
                .service(resource("/{pod_id}/restart").route(act().to(restart_pod)))
                .service(resource("/{pod_id}/logs").route(read().to(get_pod_logs)))
                .service(
                    resource("/{pod_id}/permissions")
                        .route(read().to(get_pod_permissions))
                        .route(web::post().to(set_pod_permission)),
                )
                .service(
                    resource("/{pod_id}/permissions/{user}").route(web::delete().to(delete_pod_permission)),
                ),
        );
    }
    config.default_service(web::to(misc::not_found));
}

/// A path whose other methods answer 405.
fn resource(path: &str) -> Resource {
    web::resource(path).default_service(web::to(misc::method_not_allowed))
}

/// GET, and HEAD as GET without its body.
fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// GET as documented, and POST; never HEAD, because the request does something.
fn act() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Post()))
}
