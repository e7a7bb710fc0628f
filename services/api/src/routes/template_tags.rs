//! Tags of templates: list, add, get, delete. A tag never changes; "updating" adds a newer one of the same name.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use diesel_async::AsyncConnection;
use pods_core::{
    TemplateDefinition,
    input::Violations,
    permission::Action,
    template::{self, ChainError, bodies::NewTemplateTag, derive::CHAIN_MAX},
};
use pods_db::{
    Connection, DbError, derived,
    template_tags::{Deletion, NewTagRow, TagRow, dependents},
    templates::TemplateRow,
};
use serde_json::{Map, Value, json};

use super::pods::check_image;
use super::templates::{archive_warnings, counted, hold, in_use, load, resolve, visible, with_dependents};
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::{success, success_with},
    error::ApiError,
    openapi::{Envelope, bodies, params},
    paths::{TagPath, TemplateIdPath},
    query::Query,
    state::AppState,
    view::template::{
        Detail, TagView, TemplateView, TemplateWithTagsView, secret_placeholders, volume_placeholders,
    },
};

/// The templates that the caller may read with their tags, by template id.
///
/// Contents of configuration files are not shown here; see the tags of one template.
#[utoipa::path(get, path = "/v3/pods/templates/tags", tag = "templates",
    params(params::Full, params::IncludeDependencies),
    responses((status = 200, description = "Template id to template with tags, newest tag first",
        body = Envelope<BTreeMap<String, TemplateWithTagsView>>)))]
pub async fn list_templates_and_tags(
    app: Data<AppState>,
    caller: Caller,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let [full, asked] = query.flags([("full", true), ("include_dependencies", false)])?;
    let mut warnings = Map::new();
    let with_dependents = with_dependents(&app, &caller, asked, &mut warnings).await;
    let mut conn = app.db.get().await?;
    let (listed, mut metadata) = visible(&mut conn, &caller).await?;
    metadata.extend(warnings);
    let uids: Vec<_> = listed.iter().map(|(row, _)| row.template_uid).collect();
    let detail = Detail::of(full, false);
    let mut tags = TagRow::list_many(&mut conn, &uids, detail.definitions()).await?;
    let mut found = BTreeMap::new();
    if with_dependents {
        let references: Vec<&str> = tags.values().flatten().map(|tag| tag.reference.as_str()).collect();
        found = dependents(&mut conn, &caller.tenant.site_id, &references).await?;
    }
    drop(conn);
    let view = |tag: TagRow| {
        let dependents = with_dependents.then(|| found.remove(&tag.reference).unwrap_or_default().into());
        TagView { dependents, ..TagView::new(tag, detail) }
    };
    let mut view = view;
    let result: BTreeMap<String, TemplateWithTagsView> = listed
        .into_iter()
        .map(|(row, grants)| {
            let tags =
                tags.remove(&row.template_uid).unwrap_or_default().into_iter().map(&mut view).collect();
            let template_id = row.template_id.clone();
            (template_id, TemplateWithTagsView { template: TemplateView::new(row, grants), tags })
        })
        .collect();
    Ok(success_with("Templates and tags retrieved successfully.", metadata, result))
}

/// The tags of a template, newest first.
#[utoipa::path(get, path = "/v3/pods/templates/{template_id}/tags", tag = "templates",
    params(params::Full, params::IncludeConfigs, params::IncludeDependencies),
    responses((status = 200, description = "The tags", body = Envelope<Vec<TagView>>)))]
pub async fn list_template_tags(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let [full, configs, asked] =
        query.flags([("full", true), ("include_configs", false), ("include_dependencies", false)])?;
    let mut metadata = Map::new();
    let with_dependents = with_dependents(&app, &caller, asked, &mut metadata).await;
    let conn = &mut *app.db.get().await?;
    let (template, _) = load(conn, &caller, caller.rights(), &template_id, Action::ListTemplateTags).await?;
    let detail = Detail::of(full, configs);
    let tags = TagRow::list(conn, template.template_uid, detail.definitions()).await?;
    let views = views(conn, &caller, tags, detail, with_dependents).await?;
    Ok(success_with("Template tags retrieved successfully.", metadata, views))
}

/// The tags of a name, newest first, or with `tag@timestamp` the one; an empty list when there is none.
#[utoipa::path(get, path = "/v3/pods/templates/{template_id}/tags/{tag_id}", tag = "templates",
    params(params::IncludeConfigs, params::IncludeDependencies),
    responses((status = 200, description = "The tags", body = Envelope<Vec<TagView>>)))]
pub async fn get_template_tag(
    app: Data<AppState>,
    caller: Caller,
    path: TagPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let (template_id, tag_id) = path.into_inner();
    let [configs, asked] = query.flags([("include_configs", false), ("include_dependencies", false)])?;
    let mut metadata = Map::new();
    let with_dependents = with_dependents(&app, &caller, asked, &mut metadata).await;
    let conn = &mut *app.db.get().await?;
    let (template, _) = load(conn, &caller, caller.rights(), &template_id, Action::GetTemplateTag).await?;
    let detail = Detail::of(true, configs);
    let tags = TagRow::find(conn, template.template_uid, &tag_id, detail.definitions()).await?;
    let views = views(conn, &caller, tags, detail, with_dependents).await?;
    Ok(success_with("Template tag retrieved successfully.", metadata, views))
}

async fn views(
    conn: &mut Connection,
    caller: &Caller,
    tags: Vec<TagRow>,
    detail: Detail,
    with_dependents: bool,
) -> Result<Vec<TagView>, DbError> {
    let mut found = match with_dependents {
        false => None,
        true => {
            let references: Vec<&str> = tags.iter().map(|tag| tag.reference.as_str()).collect();
            Some(dependents(conn, &caller.tenant.site_id, &references).await?)
        }
    };
    let view = |tag: TagRow| {
        let dependents = found.as_mut().map(|found| found.remove(&tag.reference).unwrap_or_default().into());
        TagView { dependents, ..TagView::new(tag, detail) }
    };
    Ok(tags.into_iter().map(view).collect())
}

/// Adds a tag to a template.
///
/// A tag of the same name that exists stays, and pods that use it keep using it; the new one is what the name means
/// from now on. `pod_definition.template` names the template that this one builds on; it is pinned to one tag.
/// `metadata` lists the placeholders that users of the tag have to or may fill.
#[utoipa::path(post, path = "/v3/pods/templates/{template_id}/tags", tag = "templates",
    request_body = bodies::NewTemplateTag,
    responses((status = 200, description = "The new tag", body = Envelope<TagView>),
        (status = 409, description = "The template that the tag builds on was deleted at the same moment")))]
pub async fn add_template_tag(
    app: Data<AppState>,
    caller: Caller,
    template_id: TemplateIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let conn = &mut *app.db.get().await?;
    let (template, _) = load(conn, &caller, caller.rights(), &template_id, Action::AddTemplateTag).await?;
    let new = NewTemplateTag::read(body.value()?)?;
    let (tag, metadata) = store_tag(&app, conn, &caller, &template, new).await?;
    Ok(success_with("Template tag added successfully.", metadata, TagView::new(tag, Detail::Definition)))
}

/// Checks and stores a new tag; answers it with the metadata of the answer. The caller's right on the template is
/// checked again with the write.
pub(super) async fn store_tag(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    template: &TemplateRow,
    mut new: NewTemplateTag,
) -> Result<(TagRow, Map<String, Value>), ApiError> {
    let warnings = check(app, conn, caller, &mut new.pod_definition).await?;
    let row = NewTagRow {
        template,
        tenant: &caller.tenant,
        tag: &new.tag,
        definition: new.pod_definition,
        commit_message: &new.commit_message,
        description: &new.description,
        archive_message: "",
        added_by: &caller.username,
        now: Utc::now(),
    };
    let tag = conn
        .transaction(async |conn| {
            hold(conn, caller, caller.rights(), template, Action::AddTemplateTag).await?;
            Ok::<_, ApiError>(TagRow::create(conn, row).await?)
        })
        .await?;
    let metadata = metadata(&tag.definition, warnings);
    Ok((tag, metadata))
}

const DEFINITION: [&str; 2] = ["body", "pod_definition"];

/// Pins the template that `definition` builds on and checks the rules that need what is stored. Answers warnings.
async fn check(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    definition: &mut TemplateDefinition,
) -> Result<Vec<String>, ApiError> {
    let [body, pod_definition] = DEFINITION;
    let site_id = &caller.tenant.site_id;
    let mut violations = Violations::default();
    let mut warnings = Vec::new();
    let mut tags = template::Tags::new();
    if let Some(reference) = definition.template.take() {
        let place = [body, pod_definition, "template"];
        let resolved = resolve(conn, caller, &place, &reference).await?;
        warnings = archive_warnings(&resolved);
        let pinned = resolved.tag.reference;
        tags = derived::tags(conn, site_id, [pinned.as_str()]).await?;
        definition.template = Some(pinned);
    }
    let deeper = template::chain(definition.template.as_deref().unwrap_or_default(), &tags)
        .and_then(|chain| if chain.len() < CHAIN_MAX { Ok(chain) } else { Err(ChainError::TooDeep) })
        .unwrap_or_else(|error| {
            violations.rule(&[body, pod_definition, "template"], error.to_string());
            Vec::new()
        });
    definition.check(&DEFINITION, &deeper, &app.policy, &mut violations);
    if let Some(image) = definition.image.as_deref() {
        let place = [body, pod_definition, "image"];
        check_image(app, conn, &caller.tenant, (&place, image), &mut violations).await?;
    }
    Ok(violations.or(warnings)?)
}

fn metadata(definition: &TemplateDefinition, warnings: Vec<String>) -> Map<String, Value> {
    let mut metadata = Map::new();
    let secrets = secret_placeholders(definition);
    if !secrets.is_empty() {
        metadata.insert("secret_placeholders".to_owned(), json!(secrets));
    }
    let volumes = volume_placeholders(definition);
    if !volumes.is_empty() {
        metadata.insert("volume_placeholders".to_owned(), json!({"required": volumes}));
    }
    if !warnings.is_empty() {
        metadata.insert("warnings".to_owned(), json!(warnings));
    }
    metadata
}

/// Deletes a tag. For administrators of the service.
///
/// A tag's name alone is enough while there is one tag of the name. While pods or other tags use the tag it is refused
/// unless `force=true`; those then keep working.
#[utoipa::path(delete, path = "/v3/pods/templates/{template_id}/tags/{tag_id}", tag = "templates",
    params(params::Force),
    responses((status = 200, description = "The deleted tag", body = Envelope<TagView>),
        (status = 409, description = "The tag is in use, which `metadata` names, or the name means several tags")))]
pub async fn delete_template_tag(
    app: Data<AppState>,
    caller: Caller,
    path: TagPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let (template_id, tag_id) = path.into_inner();
    let force = query.flag("force", false)?;
    let rights = caller.rights_for(&app, Action::DeleteTemplateTag).await?;
    let conn = &mut *app.db.get().await?;
    let (template, _) = load(conn, &caller, rights, &template_id, Action::DeleteTemplateTag).await?;
    let shown = Detail::Definition.definitions();
    let mut found = TagRow::find(conn, template.template_uid, &tag_id, shown).await?;
    if found.len() > 1 {
        let exact: Vec<&str> = found.iter().take(10).map(|tag| tag.tag_timestamp.as_str()).collect();
        return Err(ApiError::Conflict(format!(
            "Several tags have this name; name one of them as tag@timestamp: {}.",
            exact.join(", ")
        )));
    }
    let missing = || ApiError::no_tag(&template_id, &tag_id);
    let tag = found.pop().ok_or_else(missing)?;
    match TagRow::delete(conn, &tag, force, Utc::now()).await? {
        Deletion::Done(dependents) => {
            let message = match dependents.is_empty() {
                true => "Template tag deleted successfully.".to_owned(),
                false => format!("Template tag deleted; {} keep working with it.", counted(&dependents)),
            };
            Ok(success(message, TagView::new(tag, Detail::Definition)))
        }
        Deletion::Refused(dependents) => {
            let metadata = Map::from_iter([
                ("template_id".to_owned(), json!(tag.template_id())),
                ("tag".to_owned(), json!(tag.tag)),
                ("tag_timestamp".to_owned(), json!(tag.tag_timestamp)),
            ]);
            Err(in_use(&format!("Template tag '{}'", tag.reference), dependents, true, metadata))
        }
        Deletion::Gone => Err(missing()),
    }
}
