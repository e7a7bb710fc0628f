//! Start, stop, restart. GET as documented, although they change things; therefore never cached.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use pods_core::{permission::Action, transition::Event};
use pods_db::pods::PodRow;

use super::pods::{TRIES, Write, Written, busy, load, to_newest_tag, write};
use crate::{
    caller::Caller,
    envelope::success,
    error::ApiError,
    openapi::{Envelope, params},
    paths::PodIdPath,
    query::Query,
    state::AppState,
    view::{Configs, PodView},
};

/// Starts a stopped pod; a pod in COMPLETE or ERROR is restarted.
///
/// ADMIN is needed. The start uses the definition as it is now, merged with its templates.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/start", tag = "pods",
    responses((status = 200, description = "The pod", body = Envelope<PodView>),
        (status = 409, description = "The pod runs or is under way, or a template of it does not exist any more")))]
pub async fn start_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    act(&app, &caller, &pod_id, (Action::StartPod, Event::Start)).await
}

/// Stops a pod. Repeating it does no harm.
///
/// ADMIN is needed. `force` is accepted and changes nothing.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/stop", tag = "pods", params(params::Force),
    responses((status = 200, description = "The pod", body = Envelope<PodView>),
        (status = 409, description = "Others changed the pod at the same time; try again")))]
pub async fn stop_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    query.flag("force", false)?;
    act(&app, &caller, &pod_id, (Action::StopPod, Event::Stop)).await
}

/// Stops the pod and starts it with its present definition.
///
/// With `grab_latest_template_tag=true` the pod is first moved to the newest tag of the same name, for which READ on
/// the template is needed. ADMIN on the pod is needed in any case.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/restart", tag = "pods", params(params::GrabLatestTemplateTag),
    responses((status = 200, description = "The pod", body = Envelope<PodView>),
        (status = 409, description = "A template of the pod does not exist any more")))]
pub async fn restart_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    if !query.flag("grab_latest_template_tag", false)? {
        return act(&app, &caller, &pod_id, (Action::RestartPod, Event::Restart)).await;
    }
    let mut conn = app.db.get().await?;
    let what = format!("{} moved the pod to the newest tag", caller.label());
    let text = asked_for(&caller, Event::Restart);
    for _ in 0..TRIES {
        let pod = load(&mut conn, &caller, &pod_id, Action::RestartPod).await?;
        let newest = to_newest_tag(&app, &mut conn, &caller, &pod).await?;
        let request = Write {
            state: newest.as_ref().map(|(state, _)| state),
            plan: newest.as_ref().map(|(_, plan)| (plan, what.as_str())),
            event: Some((Event::Restart, &text)),
        };
        if let Written::Done(pod) = write(&app, &mut conn, &caller, &pod, request).await? {
            return Ok(answer(*pod, Event::Restart));
        }
    }
    Err(busy())
}

async fn act(
    app: &AppState,
    caller: &Caller,
    pod_id: &str,
    (action, event): (Action, Event),
) -> Result<HttpResponse, ApiError> {
    let text = asked_for(caller, event);
    Ok(answer(carry_out(app, caller, pod_id, (action, event), &text).await?, event))
}

/// Moves a pod on if the caller may, however many others write to it at the same time; answers the row as it is then.
pub(super) async fn carry_out(
    app: &AppState,
    caller: &Caller,
    pod_id: &str,
    (action, event): (Action, Event),
    text: &str,
) -> Result<PodRow, ApiError> {
    let mut conn = app.db.get().await?;
    for _ in 0..TRIES {
        let pod = load(&mut conn, caller, pod_id, action).await?;
        let request = Write { state: None, plan: None, event: Some((event, text)) };
        if let Written::Done(pod) = write(app, &mut conn, caller, &pod, request).await? {
            return Ok(*pod);
        }
    }
    Err(busy())
}

fn asked_for(caller: &Caller, event: Event) -> String {
    format!("{} asked for {event}", caller.label())
}

fn answer(pod: PodRow, event: Event) -> HttpResponse {
    // Whoever was just asked for one of these does not run, or does not run any more.
    let view = PodView::stored(pod, false, Configs::Redacted);
    let mut answer = success(format!("Pod {event} requested."), view);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
