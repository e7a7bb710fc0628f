//! `GET /pods/jupyter/ensure`: a notebook for a user who wants one and does not care which.

use std::collections::BTreeSet;

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use diesel::{ExpressionMethods, QueryDsl, TextExpressionMethods, sql_types::Text};
use diesel_async::{AsyncConnection, RunQueryDsl};
use pods_core::{
    Level, PodDefinition, PodPatch, StatusRequested,
    ids::{DNS_LABEL_MAX, k8_name},
    input::Field,
    permission::administers,
    template::TemplateReference,
};
use pods_db::{Connection, derived, pods::PodRow, schema::pods};
use uuid::Uuid;

use super::pods::{NewPodParts, Stored, TRIES, busy, store};
use crate::{
    caller::Caller, envelope::success, error::ApiError, openapi::Envelope, state::AppState, view::JupyterView,
};

/// A running JupyterLab pod of the caller; one is created when there is none.
///
/// Only pods of the configured template count that the caller created and is ADMIN of. READ on that template is needed
/// for a new one.
#[utoipa::path(get, path = "/v3/pods/jupyter/ensure", tag = "jupyter",
    responses((status = 200, description = "The pod", body = Envelope<JupyterView>),
        (status = 400, description = "The installation has no JupyterLab template"),
        (status = 409, description = "Others changed the same pods at the same time; try again")))]
pub async fn ensure_jupyter_pod(app: Data<AppState>, caller: Caller) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let (message, pod) = conn.transaction(async |conn| ensure(&app, conn, &caller).await).await?;
    // A pod that lost its template has at least what is stored.
    let definition = match derived::derive_one(&mut conn, &pod).await {
        Ok(derived) => derived.definition,
        Err(derived::DeriveError::Chain(error)) => {
            tracing::warn!(pod.id = %pod.pod_id, error = %error, "a pod cannot be merged with its templates");
            pod.definition.clone()
        }
        Err(error) => return Err(error.into()),
    };
    let mut answer = success(message, view(&pod, definition));
    // The request may create something, although it is a GET.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

fn view(pod: &PodRow, definition: PodDefinition) -> JupyterView {
    let entry = definition.networking.get("default").or_else(|| definition.networking.values().next());
    let url = entry.map(|entry| format!("https://{}", entry.url)).unwrap_or_default();
    JupyterView {
        pod_id: pod.pod_id.clone(),
        status: pod.status.as_str(),
        networking: definition.networking,
        url,
    }
}

async fn ensure(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
) -> Result<(&'static str, PodRow), ApiError> {
    let template_id = TemplateReference::parse(&app.jupyter_template)
        .map_err(|error| ApiError::BadRequest(format!("No JupyterLab template is configured: {error}")))?
        .template_id;
    one_at_a_time(conn, caller).await?;
    // Levels are given unasked: only what the caller created is the caller's.
    let is_own = |(pod, level): &(PodRow, Level)| {
        let template = pod.definition.template.strip_prefix(template_id.as_str());
        pod.created_by == caller.username
            && administers(*level)
            && template.is_some_and(|tag| tag.starts_with(':'))
    };
    for _ in 0..TRIES {
        let mut own = PodRow::list_readable(conn, &caller.tenant, &caller.username).await?;
        own.retain(is_own);
        let wanted = own.iter().position(|(pod, _)| pod.status_requested == StatusRequested::On);
        if let Some(at) = wanted {
            return Ok(("Jupyter pod retrieved successfully.", own.swap_remove(at).0));
        }
        let pod_id = free_id(conn, caller, &stem(caller)).await?;
        let patch = PodPatch { template: Field::Set(app.jupyter_template.clone()), ..PodPatch::default() };
        match store(app, conn, caller, NewPodParts { pod_id: &pod_id, patch: &patch }).await? {
            Stored::New(pod, _) => return Ok(("Jupyter pod created successfully.", *pod)),
            // Somebody else took the id in between.
            Stored::IdTaken => {}
        }
    }
    Err(busy())
}

/// Requests of one user wait for each other until the transaction ends, so that they do not create a pod each.
async fn one_at_a_time(conn: &mut Connection, caller: &Caller) -> Result<(), ApiError> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('jupyter'), hashtext($1))")
        .bind::<Text, _>(format!("{}/{}", caller.tenant.tenant_id, caller.username))
        .execute(conn)
        .await?;
    Ok(())
}

/// The first id for another pod of the user that nobody in the tenant has.
async fn free_id(conn: &mut Connection, caller: &Caller, stem: &str) -> Result<String, ApiError> {
    // Neither a stem nor a pod id holds a character that LIKE reads as something else.
    let taken: Vec<String> = pods::table
        .filter(pods::tenant_id.eq(&caller.tenant.tenant_id))
        .filter(pods::site_id.eq(&caller.tenant.site_id))
        .filter(pods::deleted_at.is_null())
        .filter(pods::pod_id.like(format!("{stem}___")))
        .select(pods::pod_id)
        .load(conn)
        .await?;
    let taken: BTreeSet<u16> = taken.iter().filter_map(|pod_id| number(stem, pod_id)).collect();
    let free = (1..=999).find(|number| !taken.contains(number)).ok_or_else(|| {
        ApiError::BadRequest("Every id for another JupyterLab pod of yours is taken; delete some.".to_owned())
    })?;
    Ok(format!("{stem}{free:03}"))
}

/// The three digits behind the stem.
fn number(stem: &str, pod_id: &str) -> Option<u16> {
    let digits = pod_id.strip_prefix(stem).filter(|digits| digits.len() == 3)?;
    digits.parse().ok()
}

/// `tapistempjupyter<username>`, of the characters that a pod id can have, cut so that three digits and Kubernetes'
/// limit of names fit.
fn stem(caller: &Caller) -> String {
    let username: String = caller
        .username
        .to_ascii_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        .collect();
    let mut stem = format!("tapistempjupyter{username}");
    let others = k8_name(&caller.tenant, "000", Uuid::nil()).len();
    stem.truncate(DNS_LABEL_MAX.saturating_sub(others));
    stem
}
