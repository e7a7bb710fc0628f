//! `DELETE /pods/{pod_id}`.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{permission::Action, transition::Event};
use pods_db::transitions::{Applied, Change, apply};

use super::{TRIES, busy, load};
use crate::{
    caller::Caller,
    envelope::success,
    error::ApiError,
    openapi::{Envelope, params},
    paths::PodIdPath,
    query::Query,
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
    let mut conn = app.db.get().await?;
    for _ in 0..TRIES {
        let pod = load(&mut conn, &caller, &pod_id, Action::DeletePod).await?;
        let text = format!("{} deleted pod", caller.label());
        match apply(&mut conn, &pod, Change::new(Event::Delete, Utc::now()).log(&text)).await? {
            Applied::Done(_) => return Ok(success("Pod deleted successfully.", "")),
            Applied::Illegal(illegal) => return Err(ApiError::wrong_state(illegal)),
            Applied::Underivable(error) => return Err(error.into()),
            Applied::Moved => {}
        }
    }
    Err(busy())
}
