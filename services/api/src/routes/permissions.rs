//! Permissions on a pod.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{
    Level,
    input::{Reader, Violations},
    permission::{self, Action, valid_grantee},
};
use pods_db::{Connection, action_logs, permissions, pods::PodRow};
use serde_json::Value;

use super::pods::load;
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::success,
    error::ApiError,
    paths::{GrantPath, PodIdPath},
    state::AppState,
    view::PermissionsView,
};

/// The permissions on a pod.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/permissions", operation_id = "get_pod_permissions",
    tag = "permissions", params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "The permissions", body = PermissionsView), (status = 401),
        (status = 403), (status = 404), (status = 503)))]
pub async fn get_pod_permissions(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodPermissions).await?;
    let grants = permissions::list(&mut conn, pod.uid).await?;
    Ok(success("Pod permissions retrieved successfully.", PermissionsView::from(grants)))
}

/// Grants a user a level on a pod, replacing the one that the user holds. One ADMIN must stay.
#[utoipa::path(post, path = "/v3/pods/{pod_id}/permissions", operation_id = "set_pod_permission",
    tag = "permissions", params(("pod_id" = String, Path, description = "Id of the pod")),
    request_body = crate::openapi::SetPermissionBody,
    responses((status = 200, description = "The permissions", body = PermissionsView), (status = 400),
        (status = 401), (status = 403), (status = 404), (status = 503)))]
pub async fn set_pod_permission(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::SetPodPermission).await?;
    let (user, level) = read(body.value()?)?;
    if is_restricted(&user, level) {
        may_grant_restricted(&app, &mut conn, &caller, &pod).await?;
    }
    let grants = permissions::set(&mut conn, pod.uid, &user, level).await?;
    note(&mut conn, &caller, &pod, &format!("gave '{user}' {level}")).await?;
    Ok(success("Pod permissions updated successfully.", PermissionsView::from(grants)))
}

/// Removes the permission of a user. One ADMIN must stay.
#[utoipa::path(delete, path = "/v3/pods/{pod_id}/permissions/{user}", operation_id = "delete_pod_permission",
    tag = "permissions",
    params(("pod_id" = String, Path, description = "Id of the pod"), ("user" = String, Path, description = "The user")),
    responses((status = 200, description = "The permissions", body = PermissionsView), (status = 400),
        (status = 401), (status = 403), (status = 404), (status = 503)))]
pub async fn delete_pod_permission(
    app: Data<AppState>,
    caller: Caller,
    path: GrantPath,
) -> Result<HttpResponse, ApiError> {
    let (pod_id, user) = path.into_inner();
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::DeletePodPermission).await?;
    if is_restricted(&user, Level::None) {
        may_grant_restricted(&app, &mut conn, &caller, &pod).await?;
    }
    let grants = permissions::delete(&mut conn, pod.uid, &user).await?;
    note(&mut conn, &caller, &pod, &format!("removed the permission of '{user}'")).await?;
    Ok(success("Pod permission deleted successfully.", PermissionsView::from(grants)))
}

const TENANT_PREFIX: &str = "tenant.";

/// What only administrators of the service grant: APPROVEDADMIN, and access for a whole tenant.
fn is_restricted(user: &str, level: Level) -> bool {
    level == Level::ApprovedAdmin || user.starts_with(TENANT_PREFIX)
}

async fn may_grant_restricted(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pod: &PodRow,
) -> Result<(), ApiError> {
    let rights = caller.rights_with_role(app).await?;
    let (_, level) = PodRow::find(conn, &caller.tenant, &pod.pod_id, &caller.username)
        .await?
        .ok_or_else(|| ApiError::no_pod(&pod.pod_id))?;
    Ok(permission::decide(rights, level, Action::GrantRestrictedPermission)?)
}

fn read(body: Value) -> Result<(String, Level), Violations> {
    let mut violations = Violations::default();
    let mut reader = Reader::new(&["body"], body, &mut violations);
    let user = reader.required_string("user");
    let level = reader.required_string("level");
    if user.as_deref().is_some_and(|user| !valid_grantee(user)) {
        reader.rule("user", "user must be letters, digits, _ . @ - and start with a letter or _");
    }
    let level: Option<Level> = level.and_then(|text| match text.parse() {
        Ok(level) => Some(level),
        Err(_) => {
            reader.rule("level", "level must be NONE, READ, USER, ADMIN or APPROVEDADMIN");
            None
        }
    });
    if let (Some(user), Some(level)) = (&user, level)
        && user.starts_with(TENANT_PREFIX)
        && level != Level::Read
    {
        reader.rule("level", "a tenant can be given READ only");
    }
    reader.finish();
    match (user, level) {
        (Some(user), Some(level)) => violations.or((user, level)),
        _ => Err(violations),
    }
}

async fn note(conn: &mut Connection, caller: &Caller, pod: &PodRow, what: &str) -> Result<(), ApiError> {
    Ok(action_logs::add(conn, pod.uid, Utc::now(), &format!("'{}' {what}", caller.label())).await?)
}
