//! Where the fields of a pod come from, and how to give them back to the template.

use actix_web::{HttpResponse, web::Data};
use pods_core::{
    PodDefinition, Resources, TemplateDefinition,
    input::{Field, Reader, Violations},
    permission::Action,
    template::{
        self,
        provenance::{self, Origin},
        reset_fields,
    },
};
use pods_db::{Connection, derived, pods::PodRow};
use serde_json::Value;

use super::{
    TRIES, busy, home, load, metadata,
    update::changed,
    write::{NewState, Write, Written, write},
};
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::{success, unchanged},
    error::ApiError,
    openapi::{Envelope, bodies},
    paths::PodIdPath,
    state::AppState,
    view::{Configs, PodView, schemas},
};

/// The fields that the user set, with their stored values.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/overrides", tag = "pods",
    responses((status = 200, description = "The fields and their values", body = Envelope<schemas::PodOverrides>)))]
pub async fn get_pod_overrides(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodOverrides).await?;
    drop(conn);
    // What the user set needs no template, so a pod that lost its template can still be looked at.
    let defaults = app.policy.resources.defaults();
    let result = provenance::overrides(&origin(&pod, &[], &pod.definition, &defaults));
    Ok(success("Pod overrides retrieved successfully.", result))
}

/// Where the value of each field comes from: the pod, its template, or the service's defaults.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/provenance", tag = "pods",
    responses((status = 200, description = "Each field with its source", body = Envelope<schemas::PodProvenance>),
        (status = 409, description = "A template of the pod does not exist any more")))]
pub async fn get_pod_provenance(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodProvenance).await?;
    let tags = derived::tags(&mut conn, &pod.site_id, [pod.definition.template.as_str()]).await?;
    drop(conn);
    let chain = template::chain(&pod.definition.template, &tags)?;
    let derived = pod.derived(&tags)?.definition;
    let defaults = app.policy.resources.defaults();
    let result = provenance::provenance(&origin(&pod, &chain, &derived, &defaults));
    Ok(success("Pod provenance retrieved successfully.", result))
}

fn origin<'a>(
    pod: &'a PodRow,
    chain: &'a [&'a TemplateDefinition],
    derived: &'a PodDefinition,
    defaults: &'a Resources,
) -> Origin<'a> {
    Origin {
        pod_id: &pod.pod_id,
        status: pod.status,
        status_requested: pod.status_requested,
        definition: &pod.definition,
        ledger: &pod.modified_fields,
        chain,
        derived,
        defaults,
    }
}

/// Gives fields back to the template: they leave `modified_fields` and take the template's values.
///
/// Only for pods with a template. ADMIN is needed; a restart applies the change.
#[utoipa::path(post, path = "/v3/pods/{pod_id}/reset_field", tag = "pods", request_body = bodies::ResetFields,
    responses((status = 200, description = "The pod after the change", body = Envelope<PodView>),
        (status = 409, description = "A template of the pod does not exist any more")))]
pub async fn reset_pod_field(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    load(&mut conn, &caller, &pod_id, Action::ResetPodField).await?;
    let fields = read(body.value()?)?;
    for _ in 0..TRIES {
        let pod = load(&mut conn, &caller, &pod_id, Action::ResetPodField).await?;
        let state = without(&app, &mut conn, &caller, &pod, &fields).await?;
        if state == NewState::of(&pod) {
            let live = derived::networking_live(&mut conn, &pod).await?;
            let view = PodView::stored(pod, live, Configs::Redacted);
            return Ok(unchanged("The reset changes nothing: none of the fields was set by the pod.", view));
        }
        let plan = state.plan(&app, &mut conn, &caller, &pod, fields.iter().any(|f| f == "image")).await?;
        let what = format!("{} gave {} back to the template", caller.label(), fields.join(", "));
        let request = Write { state: Some(&state), plan: Some((&plan, &what)), event: None };
        if let Written::Done(after) = write(&app, &mut conn, &caller, &pod, request).await? {
            let metadata = metadata::about(&plan, Vec::new());
            return changed(&mut conn, "Pod fields reset successfully.", metadata, *after).await;
        }
    }
    Err(busy())
}

/// The pod as it would be without its own values of `fields`.
async fn without(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pod: &PodRow,
    fields: &[String],
) -> Result<NewState, ApiError> {
    let tags = derived::tags(conn, &pod.site_id, [pod.definition.template.as_str()]).await?;
    let chain = template::chain(&pod.definition.template, &tags)?;
    let defaults = app.policy.resources.defaults();
    let home = home(caller, &pod.pod_id);
    let (definition, modified_fields) =
        reset_fields(&pod.definition, &pod.modified_fields, fields, &chain, home, &defaults)
            .map_err(|error| ApiError::BadRequest(error.to_string()))?;
    Ok(NewState { definition, modified_fields })
}

fn read(body: Value) -> Result<Vec<String>, Violations> {
    let mut violations = Violations::default();
    let named = body.get("fields").is_some();
    let mut reader = Reader::new(&["body"], body, &mut violations);
    let fields = match reader.strings("fields") {
        Field::Set(fields) => fields,
        Field::Null => {
            reader.push("fields", "Input should be a valid list of strings");
            Vec::new()
        }
        Field::Absent => {
            // A value of another type was reported already.
            if !named {
                reader.push("fields", "Field required");
            }
            Vec::new()
        }
    };
    reader.finish();
    violations.or(fields)
}
