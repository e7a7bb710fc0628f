//! `GET /pods/{pod_id}/logs`.

use actix_web::{HttpResponse, web::Data};
use pods_core::permission::Action;
use pods_db::{action_logs, logs};

use super::load;
use crate::{
    caller::Caller, envelope::success, error::ApiError, openapi::Envelope, paths::PodIdPath, state::AppState,
    view::LogsView,
};

/// The newest 10 MiB of the container's log, and the action log.
///
/// The container's log is kept after a stop, until the next start. READ is needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/logs", tag = "pods",
    responses((status = 200, description = "The logs", body = Envelope<LogsView>)))]
pub async fn get_pod_logs(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodLogs).await?;
    let bytes = logs::read(&mut conn, pod.uid).await?;
    let action_logs = action_logs::list(&mut conn, pod.uid).await?;
    drop(conn);
    let logs = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(success("Pod logs retrieved successfully.", LogsView { logs, action_logs }))
}
