//! Templates: list, add, get, change, delete.

use std::collections::HashMap;

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use diesel_async::AsyncConnection;
use pods_core::{
    Level,
    permission::{self, Action},
    template::{
        TemplateReference,
        bodies::{NewTemplate, TemplateFields, UpdateTemplate},
    },
};
use pods_db::{
    Connection, DbError,
    permissions::{self, Object},
    template_tags::{Definitions, Deletion, Dependents, TagRow, dependents},
    templates::{self as rows, NewTemplateRow, Resolution, Resolved, TemplateChanges, TemplateRow},
};
use serde_json::{Map, Value, json};

use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::{success, success_with, unchanged},
    error::ApiError,
    openapi::{Envelope, bodies, params},
    paths::TemplateIdPath,
    query::Query,
    state::AppState,
    view::template::{DependentsView, TagDependentsView, TemplateView},
};

/// The template with the caller's level, if the caller may do `action` with it.
pub(super) async fn load(
    conn: &mut Connection,
    caller: &Caller,
    rights: permission::Caller,
    template_id: &str,
    action: Action,
) -> Result<(TemplateRow, Level), ApiError> {
    let (template, level) = TemplateRow::find(conn, &caller.tenant, template_id, &caller.username)
        .await?
        .ok_or_else(|| ApiError::no_template(template_id))?;
    permission::decide(rights, level, action)?;
    Ok((template, level))
}

/// The tag that a reference in a body means, for a caller who may use its template. `place` is where it stands.
pub(super) async fn resolve(
    conn: &mut Connection,
    caller: &Caller,
    place: &[&str],
    reference: &str,
) -> Result<Resolved, ApiError> {
    let wrong = |problem: String| ApiError::invalid(place, format!("Value error, {problem}"));
    let reference = TemplateReference::parse(reference).map_err(|error| wrong(error.to_string()))?;
    let may = |level| permission::decide(caller.rights(), level, Action::UseTemplate);
    match rows::resolve(conn, &caller.tenant, &caller.username, &reference).await? {
        Resolution::Found(resolved) => {
            may(resolved.level)?;
            Ok(*resolved)
        }
        // Which tags a template has is for those who may read it.
        Resolution::NoTag { level, .. } => {
            may(level)?;
            Err(wrong(reference.unknown()))
        }
        Resolution::NoTemplate => Err(wrong(reference.unknown())),
    }
}

/// Checks the caller's level once more, which then stays as it is until the transaction ends: between the first look
/// and the write somebody may have taken it away.
pub(super) async fn hold(
    conn: &mut Connection,
    caller: &Caller,
    rights: permission::Caller,
    template: &TemplateRow,
    action: Action,
) -> Result<(), ApiError> {
    let object = Object::Template(template.template_uid);
    let level = permissions::lock(conn, object, &caller.tenant, &caller.username)
        .await?
        .ok_or_else(|| ApiError::no_template(&template.template_id))?;
    Ok(permission::decide(rights, level, action)?)
}

/// Archive messages of what a new pod or tag builds on.
pub(super) fn archive_warnings(resolved: &Resolved) -> Vec<String> {
    let Resolved { template, tag, .. } = resolved;
    let of = |what: String, message: &str| (!message.is_empty()).then(|| format!("{what}: {message}"));
    [
        of(format!("Template '{}' is archived", template.template_id), &template.archive_message),
        of(format!("Template tag '{}' is archived", tag.reference), &tag.archive_message),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Templates in a list, each with its permissions if the caller may see them.
pub(super) type Listed = Vec<(TemplateRow, Option<permissions::Grants>)>;

/// The templates that the caller sees in lists, with the permissions that the caller may see, and the metadata.
pub(super) async fn visible(
    conn: &mut Connection,
    caller: &Caller,
) -> Result<(Listed, Map<String, Value>), DbError> {
    let readable = TemplateRow::list_readable(conn, &caller.tenant, &caller.username).await?;
    let mut metadata = Map::new();
    let listed: Vec<(TemplateRow, Level)> = if caller.admin_mode {
        let ids: Vec<&str> = readable.iter().map(|(row, _)| row.template_id.as_str()).collect();
        let context = json!({
            "admin_mode": true, "user_accessible_ids": ids, "msg": "All templates of the site, as administrator."
        });
        metadata.insert("admin_context".to_owned(), context);
        let all = TemplateRow::list_all(conn, &caller.tenant.site_id).await?;
        all.into_iter().map(|row| (row, Level::Admin)).collect()
    } else {
        readable
    };
    let shown = |level: Level| level >= Level::User;
    let uids: Vec<_> =
        listed.iter().filter(|(_, level)| shown(*level)).map(|(row, _)| row.template_uid).collect();
    let mut grants = match uids.is_empty() {
        true => Default::default(),
        false => permissions::list_many_templates(conn, &uids).await?,
    };
    let listed = listed
        .into_iter()
        .map(|(row, level)| {
            let grants = shown(level).then(|| grants.remove(&row.template_uid).unwrap_or_default());
            (row, grants)
        })
        .collect();
    Ok((listed, metadata))
}

/// Whether dependents are asked for and the caller may see them; if not, the answer's metadata says so.
pub(super) async fn with_dependents(
    app: &AppState,
    caller: &Caller,
    asked: bool,
    metadata: &mut Map<String, Value>,
) -> bool {
    if !asked {
        return false;
    }
    // Without an answer about roles nobody is an administrator; the rest of the request needs none.
    let rights = caller.rights_with_role(app).await.unwrap_or(caller.rights());
    let may = permission::decide(rights, Level::None, Action::SeeDependents).is_ok();
    if !may {
        let warning =
            "include_dependencies is for administrators of the service only, so dependents were left out.";
        metadata.insert("warnings".to_owned(), json!([warning]));
    }
    may
}

/// What uses each of the tags.
async fn tag_dependents(
    conn: &mut Connection,
    site_id: &str,
    tags: &[TagRow],
) -> Result<Vec<TagDependentsView>, DbError> {
    let references: Vec<&str> = tags.iter().map(|tag| tag.reference.as_str()).collect();
    let mut found = dependents(conn, site_id, &references).await?;
    let view = |tag: &TagRow| TagDependentsView {
        template_id: tag.template_id().to_owned(),
        tag_timestamp: tag.tag_timestamp.clone(),
        full_tag: tag.reference.clone(),
        dependents: found.remove(&tag.reference).unwrap_or_default().into(),
    };
    Ok(tags.iter().map(view).collect())
}

/// The templates that the caller may read, by id.
///
/// Administrators with `X-Pods-Admin: true` see all of the site.
#[utoipa::path(get, path = "/v3/pods/templates", tag = "templates", params(params::IncludeDependencies),
    responses((status = 200, description = "The templates", body = Envelope<Vec<TemplateView>>)))]
pub async fn list_templates(
    app: Data<AppState>,
    caller: Caller,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let asked = query.flag("include_dependencies", false)?;
    let mut warnings = Map::new();
    let with_dependents = with_dependents(&app, &caller, asked, &mut warnings).await;
    let mut conn = app.db.get().await?;
    let (listed, mut metadata) = visible(&mut conn, &caller).await?;
    metadata.extend(warnings);
    let mut dependents: HashMap<String, Vec<TagDependentsView>> = HashMap::new();
    if with_dependents {
        let uids: Vec<_> = listed.iter().map(|(row, _)| row.template_uid).collect();
        let tags = TagRow::list_many(&mut conn, &uids, Definitions::Absent).await?;
        let tags: Vec<TagRow> = tags.into_values().flatten().collect();
        for view in tag_dependents(&mut conn, &caller.tenant.site_id, &tags).await? {
            dependents.entry(view.template_id.clone()).or_default().push(view);
        }
    }
    drop(conn);
    let view = |(row, grants): (TemplateRow, Option<permissions::Grants>)| TemplateView {
        tag_dependents: with_dependents.then(|| dependents.remove(&row.template_id).unwrap_or_default()),
        ..TemplateView::new(row, grants)
    };
    let views: Vec<TemplateView> = listed.into_iter().map(view).collect();
    Ok(success_with("Templates retrieved successfully.", metadata, views))
}

/// Adds a template without tags. The caller becomes its ADMIN.
#[utoipa::path(post, path = "/v3/pods/templates", tag = "templates", request_body = bodies::NewTemplate,
    responses((status = 200, description = "The new template", body = Envelope<TemplateView>),
        (status = 409, description = "The site has a template with this id")))]
pub async fn add_template(
    app: Data<AppState>,
    caller: Caller,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let new = NewTemplate::read(body.value()?)?;
    let row = NewTemplateRow {
        tenant: &caller.tenant,
        template_id: &new.template_id,
        description: &new.fields.description,
        metatags: new.fields.metatags.clone(),
        archive_message: &new.fields.archive_message,
        creator: &caller.username,
        now: Utc::now(),
    };
    let row = TemplateRow::create(&mut *app.db.get().await?, row).await?;
    let grants = vec![(caller.username.clone(), Level::Admin)];
    Ok(success("Template added successfully.", TemplateView::new(row, Some(grants))))
}

/// A template.
#[utoipa::path(get, path = "/v3/pods/templates/{template_id}", tag = "templates",
    params(params::IncludeDependencies),
    responses((status = 200, description = "The template", body = Envelope<TemplateView>)))]
pub async fn get_template(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let asked = query.flag("include_dependencies", false)?;
    let mut metadata = Map::new();
    let with_dependents = with_dependents(&app, &caller, asked, &mut metadata).await;
    let conn = &mut *app.db.get().await?;
    let (template, level) = load(conn, &caller, caller.rights(), &template_id, Action::GetTemplate).await?;
    let dependents = match with_dependents {
        false => None,
        true => {
            let tags = TagRow::list(conn, template.template_uid, Definitions::Absent).await?;
            Some(tag_dependents(conn, &caller.tenant.site_id, &tags).await?)
        }
    };
    let mut view = view(conn, &caller, template, level).await?;
    view.tag_dependents = dependents;
    Ok(success_with("Template retrieved successfully.", metadata, view))
}

/// Changes the fields that the body names, each as a whole.
#[utoipa::path(put, path = "/v3/pods/templates/{template_id}", tag = "templates",
    request_body = bodies::UpdateTemplate,
    responses((status = 200, body = Envelope<TemplateView>, description = "The template after the change; with \
        status \"error\" when the body changes nothing")))]
pub async fn update_template(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let conn = &mut *app.db.get().await?;
    let (template, level) =
        load(conn, &caller, caller.rights(), &template_id, Action::UpdateTemplate).await?;
    let update = UpdateTemplate::read(body.value()?)?;
    let before = TemplateFields {
        description: template.description.clone(),
        metatags: template.metatags.clone(),
        archive_message: template.archive_message.clone(),
    };
    let after = update.apply(&before);
    if after == before {
        let view = view(conn, &caller, template, level).await?;
        return Ok(unchanged("No changes were made: the template is like this already.", view));
    }
    // Only what differs is written, so two updates of different fields at once both stay.
    let changes = TemplateChanges {
        description: (after.description != before.description).then_some(after.description),
        metatags: (after.metatags != before.metatags).then_some(after.metatags),
        archive_message: (after.archive_message != before.archive_message).then_some(after.archive_message),
    };
    let template = conn
        .transaction(async |conn| {
            hold(conn, &caller, caller.rights(), &template, Action::UpdateTemplate).await?;
            TemplateRow::update(conn, template.template_uid, changes, Utc::now())
                .await?
                .ok_or_else(|| ApiError::no_template(&template_id))
        })
        .await?;
    let view = view(conn, &caller, template, level).await?;
    Ok(success("Template updated successfully.", view))
}

/// Deletes a template with all its tags.
///
/// While pods, or tags of other templates, use one of its tags it is refused unless `force=true`; those then keep
/// working, but nothing new can use the template. Which pods and tags they are is told to administrators of the
/// service, others learn how many.
#[utoipa::path(delete, path = "/v3/pods/templates/{template_id}", tag = "templates", params(params::Force),
    responses((status = 200, description = "An empty text", body = Envelope<String>),
        (status = 409, description = "The template is in use; `metadata` says by how much")))]
pub async fn delete_template(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let force = query.flag("force", false)?;
    let mut conn = app.db.get().await?;
    let (template, _) =
        load(&mut conn, &caller, caller.rights(), &template_id, Action::DeleteTemplate).await?;
    let deletion = conn
        .transaction(async |conn| {
            hold(conn, &caller, caller.rights(), &template, Action::DeleteTemplate).await?;
            Ok::<_, ApiError>(TemplateRow::delete(conn, &template, force, Utc::now()).await?)
        })
        .await?;
    drop(conn);
    match deletion {
        Deletion::Done(dependents) if dependents.is_empty() => {
            Ok(success("Template deleted successfully.", ""))
        }
        Deletion::Done(dependents) => {
            Ok(success(format!("Template deleted; {} keep working with it.", counted(&dependents)), ""))
        }
        Deletion::Refused(dependents) => {
            let rights = caller.rights_with_role(&app).await.unwrap_or(caller.rights());
            let named = permission::decide(rights, Level::None, Action::SeeDependents).is_ok();
            let what = format!("Template '{}'", template.template_id);
            let metadata = Map::from_iter([("template_id".to_owned(), json!(template.template_id))]);
            Err(in_use(&what, dependents, named, metadata))
        }
        Deletion::Gone => Err(ApiError::no_template(&template_id)),
    }
}

/// A refusal to delete what is in use; the names of dependents only when the caller may know them.
pub(super) fn in_use(
    what: &str,
    dependents: Dependents,
    named: bool,
    mut metadata: Map<String, Value>,
) -> ApiError {
    let message =
        format!("{what} is in use by {}; force=true deletes it all the same.", counted(&dependents));
    let view = DependentsView::from(dependents);
    metadata.insert("dependant_pod_count".to_owned(), json!(view.dependant_pod_count));
    metadata.insert("dependant_tags_count".to_owned(), json!(view.dependant_tags_count));
    if named {
        metadata.insert("dependant_pods".to_owned(), json!(view.dependant_pods));
        metadata.insert("dependant_tags".to_owned(), json!(view.dependant_tags));
    }
    ApiError::ConflictWith { message, metadata }
}

/// `2 pods and 1 template tag`.
pub(super) fn counted(dependents: &Dependents) -> String {
    let number = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (dependents.pods.len(), dependents.tags.len()) {
        (pods, 0) => number(pods, "pod"),
        (0, tags) => number(tags, "template tag"),
        (pods, tags) => format!("{} and {}", number(pods, "pod"), number(tags, "template tag")),
    }
}

/// The template as its caller sees it: with its permissions for USER and above.
async fn view(
    conn: &mut Connection,
    caller: &Caller,
    template: TemplateRow,
    level: Level,
) -> Result<TemplateView, DbError> {
    let shown = permission::decide(caller.rights(), level, Action::GetTemplatePermissions).is_ok();
    let grants = match shown {
        true => Some(permissions::list(conn, Object::Template(template.template_uid)).await?),
        false => None,
    };
    Ok(TemplateView::new(template, grants))
}
