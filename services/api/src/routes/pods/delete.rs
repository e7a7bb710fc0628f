//! `DELETE /pods/{pod_id}`.

use actix_web::{HttpResponse, web::Data};
use pods_core::{permission::Action, transition::Event};

use crate::{
    caller::Caller,
    envelope::success,
    error::ApiError,
    openapi::{Envelope, params},
    paths::PodIdPath,
    query::Query,
    routes::lifecycle::carry_out,
    state::AppState,
};

/// Deletes a pod. It is unknown from now on; its container is stopped and removed.
///
/// Volumes, snapshots and secrets stay. ADMIN is needed. `force` is accepted and changes nothing.
#[utoipa::path(delete, path = "/v3/pods/{pod_id}", tag = "pods", params(params::Force),
    responses((status = 200, description = "An empty text", body = Envelope<String>),
        (status = 409, description = "Others changed the pod at the same time; try again")))]
pub async fn delete_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    query.flag("force", false)?;
    let text = format!("{} deleted pod", caller.label());
    carry_out(&app, &caller, &pod_id, (Action::DeletePod, Event::Delete), &text).await?;
    Ok(success("Pod deleted successfully.", ""))
}
