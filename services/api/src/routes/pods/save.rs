//! `POST /pods/{pod_id}/save_pod_as_template_tag`.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use diesel_async::AsyncConnection;
use pods_core::{
    TemplateDefinition,
    permission::Action,
    placeholder::{self, LegacyPiece},
    template::{NewTemplateTag, NewTemplateTagFromPod, as_template_definition},
};
use pods_db::{action_logs, derived};
use serde_json::{Map, Value};

use super::{
    super::{template_tags, templates},
    load,
};
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::success_with,
    error::ApiError,
    openapi::{Envelope, bodies},
    paths::PodIdPath,
    state::AppState,
    view::template::{Detail, TagView},
};

/// Makes a template tag of what the user set on a pod.
///
/// Values of `secret_map` and ids of volumes become placeholders that users of the tag fill. Everything else that the
/// user set goes along as it is: `metadata.warnings` names the variables, files, headers and commands that everybody
/// who may read the template can read then. ADMIN on the pod, USER on the template and READ on the template that the
/// pod builds on are needed.
#[utoipa::path(post, path = "/v3/pods/{pod_id}/save_pod_as_template_tag", tag = "pods",
    request_body = bodies::NewTemplateTagFromPod,
    responses((status = 200, description = "The new tag", body = Envelope<TagView>),
        (status = 409, description = "A template of the pod does not exist any more")))]
pub async fn save_pod_as_template_tag(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let conn = &mut *app.db.get().await?;
    let pod = load(conn, &caller, &pod_id, Action::SavePodAsTemplateTag).await?;
    let NewTemplateTagFromPod { template_id, tag, commit_message } =
        NewTemplateTagFromPod::read(body.value()?)?;
    let (template, _) =
        templates::load(conn, &caller, caller.rights(), &template_id, Action::AddTemplateTag).await?;
    let derived = derived::derive_one(conn, &pod).await?.definition;
    let pod_definition = as_template_definition(&pod.definition, &pod.modified_fields, &derived);
    let new = NewTemplateTag { tag, commit_message, description: String::new(), pod_definition };
    let literal = as_they_are(&new.pod_definition);
    let label = caller.label();
    let (tag, mut metadata) = conn
        .transaction(async |conn| {
            let stored = template_tags::store_tag(&app, conn, &caller, &template, new).await?;
            let text = format!("{label} saved pod as template tag {}", stored.0.reference);
            action_logs::add(conn, pod.uid, Utc::now(), &text).await?;
            Ok::<_, ApiError>(stored)
        })
        .await?;
    add_warning(&mut metadata, literal);
    let view = TagView::new(tag, Detail::Definition);
    Ok(success_with("Pod saved as template tag successfully.", metadata, view))
}

/// Most names of one kind that a warning lists.
const NAMES_MAX: usize = 20;

/// What of a definition is readable for every reader of the template, in words; `None` when nothing is.
fn as_they_are(definition: &TemplateDefinition) -> Option<String> {
    let environment = definition.environment_variables.iter();
    let literal = environment.filter(|(_, value)| is_literal(value)).map(|(name, _)| name.as_str());
    let files = definition
        .volume_mounts
        .iter()
        .filter_map(|(path, mount)| mount.as_ref()?.config_content.as_ref().map(|_| path.as_str()));
    let headers = definition
        .networking
        .values()
        .flat_map(|entry| entry.tapis_auth_response_headers.keys().map(String::as_str));
    let commands = [("command", definition.command.is_some()), ("arguments", definition.arguments.is_some())];
    let parts = [
        named("environment_variables", literal.collect()),
        named("config_content of", files.collect()),
        named("tapis_auth_response_headers", headers.collect()),
        named("", commands.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| {
        format!(
            "These went along as they are, and everybody who may read the template can read them: {}.",
            parts.join("; ")
        )
    })
}

/// Whether a value says more than which placeholder belongs there.
fn is_literal(value: &str) -> bool {
    let only_reference = placeholder::whole(value).is_some();
    let legacy = placeholder::legacy_pieces(value);
    let only_legacy = matches!(legacy.as_slice(), [LegacyPiece::Name { .. }]);
    !value.is_empty() && !only_reference && !only_legacy
}

fn named(what: &str, names: Vec<&str>) -> Option<String> {
    let more = names.len().saturating_sub(NAMES_MAX);
    let listed = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("{what} {listed}{more}").trim_start().to_owned())
}

fn add_warning(metadata: &mut Map<String, Value>, warning: Option<String>) {
    let Some(warning) = warning else { return };
    let warnings = metadata.entry("warnings").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(lines) = warnings {
        lines.push(Value::String(warning));
    }
}
