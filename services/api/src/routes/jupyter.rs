//! `GET /pods/jupyter/ensure`: a notebook for a user who wants one and does not care which.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use pods_core::{
    Level, PodDefinition, PodPatch, StatusRequested,
    ids::{DNS_LABEL_MAX, k8_name},
    input::Field,
    permission::administers,
    template::TemplateReference,
};
use pods_db::{Connection, derived, pods::PodRow};
use uuid::Uuid;

use super::pods::{NewPodParts, TRIES, busy, store};
use crate::{
    caller::Caller, envelope::success, error::ApiError, openapi::Envelope, state::AppState, view::JupyterView,
};

/// A running JupyterLab pod of the caller; one is created when there is none.
///
/// Only pods of the configured template count of which the caller is ADMIN. READ on that template is needed for a new
/// one.
#[utoipa::path(get, path = "/v3/pods/jupyter/ensure", tag = "jupyter",
    responses((status = 200, description = "The pod", body = Envelope<JupyterView>),
        (status = 400, description = "The installation has no JupyterLab template"),
        (status = 409, description = "Others changed the same pods at the same time; try again")))]
pub async fn ensure_jupyter_pod(app: Data<AppState>, caller: Caller) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let (message, pod) = ensure(&app, &mut conn, &caller).await?;
    // A pod that lost its template has at least what is stored.
    let definition = match derived::derive_one(&mut conn, &pod).await {
        Ok(derived) => derived.definition,
        Err(derived::DeriveError::Chain(_)) => pod.definition.clone(),
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
    let is_own = |(pod, level): &(PodRow, Level)| {
        let template = pod.definition.template.strip_prefix(template_id.as_str());
        administers(*level) && template.is_some_and(|tag| tag.starts_with(':'))
    };
    for _ in 0..TRIES {
        let mut own = PodRow::list_readable(conn, &caller.tenant, &caller.username).await?;
        own.retain(is_own);
        let wanted = own.iter().position(|(pod, _)| pod.status_requested == StatusRequested::On);
        if let Some(at) = wanted {
            return Ok(("Jupyter pod retrieved successfully.", own.swap_remove(at).0));
        }
        let Some(pod_id) = free_id(conn, caller, &own, is_own).await? else { continue };
        let patch = PodPatch { template: Field::Set(app.jupyter_template.clone()), ..PodPatch::default() };
        match store(app, conn, caller, NewPodParts { pod_id: &pod_id, patch: &patch }).await {
            // Another request was faster, perhaps one of the same user: look again.
            Err(ApiError::Conflict(_)) => {}
            created => return Ok(("Jupyter pod created successfully.", created?.0)),
        }
    }
    Err(busy())
}

/// The first id for another pod of the user that nobody in the tenant has; `None` when a pod of the user's own came up
/// since `own` was read.
async fn free_id(
    conn: &mut Connection,
    caller: &Caller,
    own: &[(PodRow, Level)],
    is_own: impl Fn(&(PodRow, Level)) -> bool,
) -> Result<Option<String>, ApiError> {
    let stem = stem(caller);
    for number in 1..=999 {
        let pod_id = format!("{stem}{number:03}");
        if own.iter().any(|(pod, _)| pod.pod_id == pod_id) {
            continue;
        }
        match PodRow::find(conn, &caller.tenant, &pod_id, &caller.username).await? {
            None => return Ok(Some(pod_id)),
            Some(found) if is_own(&found) => return Ok(None),
            Some(_) => {}
        }
    }
    Err(ApiError::BadRequest(
        "Every id for another JupyterLab pod of yours is taken; delete some.".to_owned(),
    ))
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
