//! Start, stop, restart. GET as documented, although they change things; therefore never cached.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use chrono::Utc;
use pods_core::{permission::Action, transition::Event};
use pods_db::transitions::{Applied, Change, apply};

use super::pods::{TRIES, busy, load};
use crate::{
    caller::Caller, envelope::success, error::ApiError, paths::PodIdPath, state::AppState, view::PodView,
};

/// Starts a stopped pod; a pod in COMPLETE or ERROR is restarted.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/start", operation_id = "start_pod", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "The pod", body = PodView), (status = 401), (status = 403),
        (status = 404), (status = 409, description = "The pod runs or is under way"), (status = 503)))]
pub async fn start_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    act(&app, &caller, &pod_id, Action::StartPod, Event::Start).await
}

/// Stops a pod. Repeating it does no harm.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/stop", operation_id = "stop_pod", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "The pod", body = PodView), (status = 401), (status = 403),
        (status = 404), (status = 503)))]
pub async fn stop_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    act(&app, &caller, &pod_id, Action::StopPod, Event::Stop).await
}

/// Stops the pod and starts it with its present definition.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/restart", operation_id = "restart_pod", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "The pod", body = PodView), (status = 401), (status = 403),
        (status = 404), (status = 503)))]
pub async fn restart_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    act(&app, &caller, &pod_id, Action::RestartPod, Event::Restart).await
}

async fn act(
    app: &AppState,
    caller: &Caller,
    pod_id: &str,
    action: Action,
    event: Event,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    for _ in 0..TRIES {
        let pod = load(&mut conn, caller, pod_id, action).await?;
        let text = format!("'{}' asked for {event}", caller.label());
        match apply(&mut conn, &pod, Change::new(event, Utc::now()).log(&text)).await? {
            Applied::Done(pod) => {
                let message = format!("Pod {event} requested.");
                let mut answer = success(message, PodView::from(*pod));
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                return Ok(answer);
            }
            Applied::Illegal(illegal) => return Err(ApiError::wrong_state(illegal)),
            Applied::Moved => {}
        }
    }
    Err(busy())
}
