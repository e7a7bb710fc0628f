//! `GET /pods` and `GET /pods/{pod_id}`.

use actix_web::{
    HttpResponse,
    http::header::{HeaderName, HeaderValue},
    web::Data,
};
use pods_core::{Level, permission::Action};
use pods_db::{changes, pods::PodRow};
use serde_json::{Map, json};

use super::{
    derived::{Mode, Wanted, merge},
    load_with_level, metadata,
};
use crate::{
    caller::Caller,
    envelope::success_with,
    error::ApiError,
    openapi::{Envelope, params},
    paths::PodIdPath,
    query::Query,
    state::AppState,
    view::{Configs, PodView},
};

/// Where in the stream of events a list of pods stands.
const CURSOR: HeaderName = HeaderName::from_static("x-pods-cursor");

/// The pods that the caller may read, by id.
///
/// The header `X-Pods-Cursor` is where `GET /pods/events` goes on from, so that nothing is missed.
///
/// Administrators with `X-Pods-Admin: true` see all of the tenant; `metadata.admin_context.user_accessible_ids` then
/// names those that they could read without it. A pod whose template does not exist any more is listed as stored, with
/// a line in `metadata.warnings`.
#[utoipa::path(get, path = "/v3/pods", tag = "pods", params(params::Derived, params::DerivedLite),
    responses((status = 200, description = "The pods", body = Envelope<Vec<PodView>>,
        headers(("X-Pods-Cursor" = String, description = "Where the stream of events goes on from")))))]
pub async fn list_pods(app: Data<AppState>, caller: Caller, query: Query) -> Result<HttpResponse, ApiError> {
    let mode = Mode::read(&query)?;
    let mut conn = app.db.get().await?;
    // Before the list: whoever watches from here on sees every change that is not in it.
    let cursor = changes::head(&mut conn).await?;
    let mut pods = PodRow::list_readable(&mut conn, &caller.tenant, &caller.username).await?;
    let mut metadata = Map::new();
    if caller.admin_mode {
        let ids: Vec<&str> = pods.iter().map(|(pod, _)| pod.pod_id.as_str()).collect();
        let context = json!({
            "admin_mode": true, "user_accessible_ids": ids, "msg": "All pods of the tenant, as administrator."
        });
        metadata.insert("admin_context".to_owned(), context);
        let all = PodRow::list_all(&mut conn, &caller.tenant).await?;
        // Admin mode needs no level.
        pods = all.into_iter().map(|pod| (pod, Level::None)).collect();
    }
    let view = |pod, definition, live| PodView::new(pod, definition, live, Configs::Redacted);
    let merged = merge(&app, &mut conn, &caller, Wanted { pods, mode, contents: false }, view).await?;
    drop(conn);
    mode.describe(&mut metadata);
    metadata::add(&mut metadata, "warnings", merged.warnings);
    let mut answer = success_with("Pods retrieved successfully.", metadata, merged.pods);
    if let Ok(cursor) = HeaderValue::from_str(&cursor.to_string()) {
        answer.headers_mut().insert(CURSOR, cursor);
    }
    Ok(answer)
}

/// A pod.
///
/// `metadata.unresolved_patterns` reports the `${...}` that `secret_map`, environment and configuration files hold,
/// unless `check_unresolved=false`. READ is needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}", tag = "pods",
    params(params::IncludeConfigs, params::CheckUnresolved, params::Derived, params::DerivedLite),
    responses((status = 200, description = "The pod", body = Envelope<PodView>)))]
pub async fn get_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let [include_configs, check_unresolved] =
        query.flags([("include_configs", false), ("check_unresolved", true)])?;
    let mode = Mode::read(&query)?;
    let mut conn = app.db.get().await?;
    let found = load_with_level(&mut conn, &caller, &pod_id, Action::GetPod).await?;
    let wanted = Wanted { pods: vec![found], mode, contents: true };
    let keep = |pod, definition, live| (pod, definition, live);
    let merged = merge(&app, &mut conn, &caller, wanted, keep).await?;
    drop(conn);
    let (pod, definition, live) = merged.pods.into_iter().next().ok_or_else(|| ApiError::no_pod(&pod_id))?;
    let mut metadata = Map::new();
    mode.describe(&mut metadata);
    metadata::add(&mut metadata, "warnings", merged.warnings);
    if check_unresolved {
        metadata::add_unresolved(&mut metadata, &definition);
    }
    let configs = if include_configs { Configs::Shown } else { Configs::Redacted };
    let view = PodView::new(pod, definition, live, configs);
    Ok(success_with("Pod retrieved successfully.", metadata, view))
}
