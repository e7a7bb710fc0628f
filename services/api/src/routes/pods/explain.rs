//! `GET /pods/{pod_id}/explain`.

use actix_web::{HttpResponse, web::Data};
use pods_core::permission::Action;

use super::load_with_level;
use crate::{
    caller::Caller, envelope::success, error::ApiError, explanation, openapi::Envelope, paths::PodIdPath,
    state::AppState, view::ExplanationView,
};

/// Why the pod is where it is: what it waits for, who can do something about it, and the next call to make.
///
/// `code` is stable; the documentation of the service lists all of them. `networking` says of each entry how it is reached,
/// and which DNS record a custom domain waits for. The answer comes from what is stored and needs neither Kubernetes nor
/// the other parts of the service. READ is needed; `you` and `next_call` depend on what the caller may do.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/explain", tag = "pods",
    responses((status = 200, description = "The explanation", body = Envelope<ExplanationView>)))]
pub async fn explain_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let (pod, level) = load_with_level(&mut conn, &caller, &pod_id, Action::ExplainPod).await?;
    let explanation = explanation::of(&mut conn, &pod, explanation::rights(caller.rights(), level)).await?;
    drop(conn);
    Ok(success("Pod explained successfully.", ExplanationView::new(&pod, explanation)))
}
