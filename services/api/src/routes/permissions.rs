//! Permissions on pods and templates: one way to read, grant and remove them.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{
    Level,
    input::{Reader, Violations},
    permission::{self, Action, Grantee, Resource},
};
use pods_db::{
    permissions::{self, Grants, Object, Request},
    pods::PodRow,
    templates::TemplateRow,
};
use serde_json::Value;

use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::success,
    error::ApiError,
    openapi::{Envelope, bodies},
    paths::{GrantPath, PodIdPath, TemplateGrantPath, TemplateIdPath},
    state::AppState,
    view::PermissionsView,
};

/// The permissions on a pod.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/permissions", tag = "permissions",
    responses((status = 200, description = "The permissions", body = Envelope<PermissionsView>)))]
pub async fn get_pod_permissions(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let object = pod(&app, &caller, &pod_id).await?;
    permission::decide(caller.rights(), object.level, Action::GetPodPermissions)?;
    let grants = permissions::list(&mut *app.db.get().await?, object.id).await?;
    Ok(success("Pod permissions retrieved successfully.", PermissionsView::from(grants)))
}

/// Grants a user a level on a pod, replacing the one that the user holds.
///
/// One ADMIN must stay. Administrators of the service alone grant APPROVEDADMIN and, to `tenant.<tenant_id>`, READ for
/// a whole tenant, which opens the pod's `tapis_auth` pages to it but not this API.
#[utoipa::path(post, path = "/v3/pods/{pod_id}/permissions", tag = "permissions",
    request_body = bodies::SetPermission,
    responses((status = 200, description = "The permissions", body = Envelope<PermissionsView>)))]
pub async fn set_pod_permission(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let object = pod(&app, &caller, &pod_id).await?;
    let (user, change) = wanted(&caller, &object, Action::SetPodPermission, body)?;
    let grants = apply(&app, &caller, &object, &user, change).await?;
    Ok(success("Pod permissions updated successfully.", PermissionsView::from(grants)))
}

/// Removes the permission of a user on a pod.
///
/// One ADMIN must stay. Entries for a whole tenant are removed by administrators of the service.
#[utoipa::path(delete, path = "/v3/pods/{pod_id}/permissions/{user}", tag = "permissions",
    responses((status = 200, description = "The permissions", body = Envelope<PermissionsView>)))]
pub async fn delete_pod_permission(
    app: Data<AppState>,
    caller: Caller,
    path: GrantPath,
) -> Result<HttpResponse, ApiError> {
    let (pod_id, user) = path.into_inner();
    let object = pod(&app, &caller, &pod_id).await?;
    let grants = apply(&app, &caller, &object, &user, Change::Delete).await?;
    Ok(success(deleted(&user), PermissionsView::from(grants)))
}

/// The permissions on a template.
#[utoipa::path(get, path = "/v3/pods/templates/{template_id}/permissions", tag = "permissions",
    responses((status = 200, description = "The permissions", body = Envelope<PermissionsView>)))]
pub async fn get_template_permissions(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
) -> Result<HttpResponse, ApiError> {
    let object = template(&app, &caller, &template_id).await?;
    permission::decide(caller.rights(), object.level, Action::GetTemplatePermissions)?;
    let grants = permissions::list(&mut *app.db.get().await?, object.id).await?;
    Ok(success("Template permissions retrieved successfully.", PermissionsView::from(grants)))
}

/// Grants a user a level on a template, replacing the one that the user holds.
///
/// A user is one of the template's own tenant. One ADMIN must stay. Administrators of the service alone grant
/// APPROVEDADMIN, READ for a whole tenant (`tenant.<tenant_id>`) and READ for everybody (`**`).
#[utoipa::path(post, path = "/v3/pods/templates/{template_id}/permissions", tag = "permissions",
    request_body = bodies::SetPermission,
    responses((status = 200, description = "The permissions", body = Envelope<PermissionsView>)))]
pub async fn set_template_permission(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let object = template(&app, &caller, &template_id).await?;
    let (user, change) = wanted(&caller, &object, Action::SetTemplatePermission, body)?;
    let grants = apply(&app, &caller, &object, &user, change).await?;
    Ok(success("Template permissions updated successfully.", PermissionsView::from(grants)))
}

/// Removes the permission of a user on a template.
///
/// One ADMIN must stay. `**` and entries for a whole tenant are removed by administrators of the service.
#[utoipa::path(delete, path = "/v3/pods/templates/{template_id}/permissions/{user}", tag = "permissions",
    responses((status = 200, description = "The permissions", body = Envelope<PermissionsView>)))]
pub async fn delete_template_permission(
    app: Data<AppState>,
    caller: Caller,
    path: TemplateGrantPath,
) -> Result<HttpResponse, ApiError> {
    let (template_id, user) = path.into_inner();
    let object = template(&app, &caller, &template_id).await?;
    let grants = apply(&app, &caller, &object, &user, Change::Delete).await?;
    Ok(success(deleted(&user), PermissionsView::from(grants)))
}

/// What permissions are about, and the level that the caller holds on it.
#[derive(Debug, Clone, Copy)]
struct Target {
    id: Object,
    level: Level,
}

impl Target {
    fn resource(&self) -> Resource {
        match self.id {
            Object::Pod(_) => Resource::Pod,
            Object::Template(_) => Resource::Template,
        }
    }
}

async fn pod(app: &AppState, caller: &Caller, pod_id: &str) -> Result<Target, ApiError> {
    let found = PodRow::find(&mut *app.db.get().await?, &caller.tenant, pod_id, &caller.username).await?;
    let (pod, level) = found.ok_or_else(|| ApiError::no_pod(pod_id))?;
    Ok(Target { id: Object::Pod(pod.uid), level })
}

async fn template(app: &AppState, caller: &Caller, template_id: &str) -> Result<Target, ApiError> {
    let conn = &mut *app.db.get().await?;
    let found = TemplateRow::find(conn, &caller.tenant, template_id, &caller.username).await?;
    let (template, level) = found.ok_or_else(|| ApiError::no_template(template_id))?;
    Ok(Target { id: Object::Template(template.template_uid), level })
}

/// What a body asks for. Permission comes first: who may not grant anything (`action`) learns nothing from the checks of
/// the body, unless it is about an entry for many, which takes no level.
fn wanted(
    caller: &Caller,
    object: &Target,
    action: Action,
    body: JsonBody,
) -> Result<(String, Change), ApiError> {
    let resource = object.resource();
    let asked = body.value().and_then(|value| Ok(read(value, resource)?));
    match permission::decide(caller.rights(), object.level, action) {
        Err(denied) if !asked.as_ref().is_ok_and(|(user, _)| is_for_many(user, resource)) => {
            Err(denied.into())
        }
        _ => asked,
    }
}

fn is_for_many(user: &str, resource: Resource) -> bool {
    Grantee::parse(user, resource).is_ok_and(|grantee| grantee.is_group())
}

fn deleted(user: &str) -> String {
    format!("Permission of '{}' deleted successfully.", user.chars().take(128).collect::<String>())
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Set(Level),
    Delete,
}

impl Change {
    /// The right that the change takes.
    fn action(self, resource: Resource, user: &str) -> Action {
        let template = resource == Resource::Template;
        match self {
            _ if is_for_many(user, resource) && template => Action::GrantGroupTemplatePermission,
            _ if is_for_many(user, resource) => Action::GrantGroupPodPermission,
            Change::Set(Level::ApprovedAdmin) if template => Action::GrantRestrictedTemplatePermission,
            Change::Set(Level::ApprovedAdmin) => Action::GrantRestrictedPodPermission,
            Change::Set(_) if template => Action::SetTemplatePermission,
            Change::Set(_) => Action::SetPodPermission,
            Change::Delete if template => Action::DeleteTemplatePermission,
            Change::Delete => Action::DeletePodPermission,
        }
    }
}

/// Changes an entry. The caller's own right is checked again with the change: between the first look and this moment
/// somebody may have taken it away.
async fn apply(
    app: &AppState,
    caller: &Caller,
    object: &Target,
    user: &str,
    change: Change,
) -> Result<Grants, ApiError> {
    let resource = object.resource();
    let action = change.action(resource, user);
    let rights = caller.rights_for(app, action).await?;
    permission::decide(rights, object.level, action)?;
    let log = match change {
        Change::Set(level) => format!("{} gave '{user}' {level}", caller.label()),
        Change::Delete => format!("{} removed the permission of '{user}'", caller.label()),
    };
    let request = Request {
        object: object.id,
        tenant: &caller.tenant,
        actor: &caller.username,
        log: (resource == Resource::Pod).then_some(log.as_str()),
        now: Utc::now(),
    };
    let check = |held: Level| permission::decide(rights, held, action);
    let conn = &mut *app.db.get().await?;
    Ok(match change {
        Change::Set(level) => permissions::set(conn, &request, user, level, check).await?,
        Change::Delete => permissions::delete(conn, &request, user, check).await?,
    })
}

fn read(body: Value, resource: Resource) -> Result<(String, Change), Violations> {
    let mut violations = Violations::default();
    let mut reader = Reader::new(&["body"], body, &mut violations);
    let user = reader.required_string("user");
    let level = reader.required_string("level");
    let grantee = user.as_deref().and_then(|user| match Grantee::parse(user, resource) {
        Ok(grantee) => Some(grantee),
        Err(problem) => {
            reader.rule("user", problem);
            None
        }
    });
    let level: Option<Level> = level.and_then(|text| match text.parse() {
        Ok(level) => Some(level),
        Err(_) => {
            reader.rule("level", "level must be NONE, READ, USER, ADMIN or APPROVEDADMIN");
            None
        }
    });
    if grantee.is_some_and(|grantee| grantee.is_group()) && level.is_some_and(|level| level != Level::Read) {
        reader.rule("level", "a tenant or everybody can be given READ only");
    }
    reader.finish();
    match (user, level) {
        (Some(user), Some(level)) => violations.or((user, Change::Set(level))),
        _ => Err(violations),
    }
}
