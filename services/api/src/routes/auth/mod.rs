//! The login of visitors at pods, as far as it happens on the tenant's host: to the platform's login page and back.
//!
//! A pod's own host, which the edge serves, sends a browser here with what it wants back (`login`, sealed, opaque to this
//! process); `begin` seals it into a `state` and leads on to the platform, `callback` learns from the platform who the
//! visitor is and sends the browser back with a ticket that the edge exchanges for a session. The platform's token goes no
//! further than `callback`. Nothing is stored before the platform has named somebody.

mod begin;
mod callback;
mod clients;
mod place;
mod refusal;
mod state;
mod turns;
pub mod upkeep;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY},
    web::Data,
};

use crate::{openapi::params, paths::PodNetPath, query::Query, state::AppState};

/// How long a browser may take for a redirect.
const TICKET_LIFE: Duration = Duration::from_secs(60);
/// Longest `login`; the edge makes shorter ones.
const LOGIN_MAX: usize = 2400;
/// Longest `code` and `state`.
const ANSWER_MAX: usize = 4096;

/// Leads a visitor of a pod to the login page of the tenant.
///
/// `pod_id_net` is the pod's id, followed by `-` and the name of the networking entry when that is not `default`. This is
/// for browsers, which pods with `tapis_auth` send here; without `login` it leads to the pod, which sends them back.
#[utoipa::path(get, path = "/v3/pods/{pod_id_net}/auth", tag = "login", params(params::PodAuth),
    responses((status = 302, description = "To the login page, or to the pod when it needs no login"),
        (status = 400, description = "The login began too long ago, or not at this pod"),
        (status = 401, description = "Asked for by a part of a page, which cannot log anybody in"),
        (status = 404, description = "No pod has this address"),
        (status = 503, description = "Nobody can log in at the moment")))]
pub async fn pod_auth(
    app: Data<AppState>,
    request: HttpRequest,
    pod_id_net: PodNetPath,
    query: Query,
) -> HttpResponse {
    let begun = begin::begin(&app, &request, &pod_id_net, &query).await;
    begun.unwrap_or_else(|refusal| refusal.respond(&request))
}

/// Where the login page sends visitors back to.
///
/// It exchanges the code and leads back to the pod with a ticket that counts once, in the browser that began.
#[utoipa::path(get, path = "/v3/pods/{pod_id_net}/auth/callback", tag = "login", params(params::PodAuthCallback),
    responses((status = 302, description = "Back to the pod"),
        (status = 400, description = "The login is not known any more, or the code is not good"),
        (status = 403, description = "The visitor is not among those who may pass"),
        (status = 404, description = "No pod has this address"),
        (status = 503, description = "Nobody can log in at the moment")))]
pub async fn pod_auth_callback(
    app: Data<AppState>,
    request: HttpRequest,
    pod_id_net: PodNetPath,
    query: Query,
) -> HttpResponse {
    let done = callback::callback(&app, &request, &pod_id_net, &query).await;
    done.unwrap_or_else(|refusal| refusal.respond(&request))
}

/// A redirect that nobody keeps and that names nobody where it leads to.
fn found(location: &str) -> HttpResponse {
    HttpResponse::Found()
        .insert_header((LOCATION, location))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .finish()
}
