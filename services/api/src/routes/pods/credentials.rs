//! The credentials of a pod: sealed at rest, shown to USER and above.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web::Data,
};
use pods_core::{credentials::Credentials, permission::Action};
use pods_db::{
    Connection,
    credentials::{self, SealedCredentials},
    instances,
    pods::PodRow,
};
use pods_secrets::{Sealed, credentials as sealing};
use uuid::Uuid;

use super::load;
use crate::{
    caller::Caller, envelope::success, error::ApiError, openapi::Envelope, paths::PodIdPath, state::AppState,
    view::CredentialsView,
};

/// The user name and password that the service generated for the pod.
///
/// A start puts them in the place of `<<tapissecret_user_username>>` and `<<tapissecret_user_password>>`. USER is
/// needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/credentials", tag = "pods",
    responses((status = 200, description = "The credentials", body = Envelope<CredentialsView>)))]
pub async fn get_pod_credentials(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodCredentials).await?;
    let credentials = of_pod(&app, &mut conn, &pod).await?;
    let mut answer = success("Pod credentials retrieved successfully.", CredentialsView::from(credentials));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// New credentials for a new pod, with a value for each `${pods:random:N}` of its merged `secret_map`.
pub(super) fn generate(
    app: &AppState,
    uid: Uuid,
    pod_id: &str,
    secret_map: &BTreeMap<String, String>,
) -> Result<SealedCredentials, ApiError> {
    let mut credentials = sealing::generate(pod_id)?;
    sealing::ensure_random(&mut credentials, secret_map)?;
    seal(app, uid, &credentials)
}

/// The credentials of a pod; a pod that was created before there were any gets them now.
pub(super) async fn of_pod(
    app: &AppState,
    conn: &mut Connection,
    pod: &PodRow,
) -> Result<Credentials, ApiError> {
    if let Some(sealed) = credentials::get(conn, pod.uid).await? {
        return open(app, pod.uid, &sealed);
    }
    let new = generate(app, pod.uid, &pod.pod_id, &BTreeMap::new())?;
    credentials::replace(conn, pod.uid, None, &new).await?;
    // Whoever came first has stored the ones that count.
    let sealed = credentials::get(conn, pod.uid).await?.ok_or_else(|| ApiError::no_pod(&pod.pod_id))?;
    open(app, pod.uid, &sealed)
}

/// Opens stored credentials.
pub(super) fn open(app: &AppState, uid: Uuid, sealed: &SealedCredentials) -> Result<Credentials, ApiError> {
    Ok(sealing::open(&app.keys, uid, &sealed.key_id, &sealed.sealed)?)
}

/// Adds values for the `${pods:random:N}` of a merged `secret_map` that have none yet. `false`: somebody else wrote
/// in between.
pub(super) async fn add_random(
    app: &AppState,
    conn: &mut Connection,
    pod: &PodRow,
    secret_map: &BTreeMap<String, String>,
) -> Result<bool, ApiError> {
    if pods_core::placeholder::random_keys(secret_map).is_empty() {
        return Ok(true);
    }
    let old = credentials::get(conn, pod.uid).await?;
    let mut present = match &old {
        Some(sealed) => open(app, pod.uid, sealed)?,
        None => sealing::generate(&pod.pod_id)?,
    };
    if !sealing::ensure_random(&mut present, secret_map)? {
        return Ok(true);
    }
    if sealing::has_too_many(&present) {
        // The last start may be repeated, when its pod is lost, and then needs the values that it had.
        let last = match pod.instance_id {
            Some(instance_id) => instances::get(conn, instance_id).await?,
            None => None,
        };
        let last = last.map(|start| start.effective.definition.secret_map).unwrap_or_default();
        sealing::drop_unused_random(&mut present, [secret_map, &last]);
    }
    let new = seal(app, pod.uid, &present)?;
    Ok(credentials::replace(conn, pod.uid, old.as_ref(), &new).await?)
}

fn seal(app: &AppState, uid: Uuid, credentials: &Credentials) -> Result<SealedCredentials, ApiError> {
    let Sealed { key_id, bytes } = sealing::seal(&app.keys, uid, credentials)?;
    Ok(SealedCredentials { key_id, sealed: bytes })
}
