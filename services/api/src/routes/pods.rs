//! Pods: create, list, get, update, delete, logs.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{
    NewPod, PodDefinition, PodPatch, StatusRequested, action_log,
    patch::Home,
    permission::{self, Action},
    transition::Event,
};
use pods_db::{
    Connection, DbError, action_logs, logs,
    pods::{NewPodRow, PodRow},
    transitions::{Applied, Change, apply},
};
use serde_json::{Map, Value, json};

use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::{success, success_with, unchanged},
    error::ApiError,
    paths::PodIdPath,
    state::AppState,
    view::{LogsView, PodView},
};

/// How often a write is tried again when somebody else wrote to the same pod in between.
pub(super) const TRIES: usize = 8;

/// The pod, if the caller may do `action` with it.
pub(super) async fn load(
    conn: &mut Connection,
    caller: &Caller,
    pod_id: &str,
    action: Action,
) -> Result<PodRow, ApiError> {
    let (pod, level) = PodRow::find(conn, &caller.tenant, pod_id, &caller.username)
        .await?
        .ok_or_else(|| ApiError::no_pod(pod_id))?;
    permission::decide(caller.rights(), level, action)?;
    Ok(pod)
}

/// Somebody else kept writing to the pod.
pub(super) fn busy() -> ApiError {
    ApiError::Conflict("The pod was changed by others at the same time; try again.".to_owned())
}

/// The pods that the caller may read, by id. Administrators with `X-Pods-Admin: true` see all of the tenant.
#[utoipa::path(get, path = "/v3/pods", operation_id = "list_pods", tag = "pods",
    responses((status = 200, description = "The pods", body = [PodView]), (status = 401), (status = 503)))]
pub async fn list_pods(app: Data<AppState>, caller: Caller) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let readable = PodRow::list_readable(&mut conn, &caller.tenant, &caller.username).await?;
    let mut metadata = Map::new();
    let pods = if caller.admin_mode {
        let ids: Vec<&str> = readable.iter().map(|pod| pod.pod_id.as_str()).collect();
        let context = json!({
            "admin_mode": true, "user_accessible_ids": ids, "msg": "All pods of the tenant, as administrator."
        });
        metadata.insert("admin_context".to_owned(), context);
        PodRow::list_all(&mut conn, &caller.tenant).await?
    } else {
        readable
    };
    drop(conn);
    let pods: Vec<PodView> = pods.into_iter().map(PodView::from).collect();
    Ok(success_with("Pods retrieved successfully.", metadata, pods))
}

/// Creates a pod and, unless `status_requested` is `OFF`, starts it.
#[utoipa::path(post, path = "/v3/pods", operation_id = "create_pod", tag = "pods",
    request_body = crate::openapi::NewPodBody,
    responses((status = 200, description = "The new pod", body = PodView), (status = 400), (status = 401),
        (status = 409, description = "The tenant has a pod with this id"), (status = 413), (status = 503)))]
pub async fn create_pod(
    app: Data<AppState>,
    caller: Caller,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let NewPod { pod_id, patch } = NewPod::read(body.value()?)?;
    let defaults = PodDefinition::with_resources(app.policy.resources.defaults());
    let definition = patch.apply(&defaults, home(&caller, pod_id.as_str()), &app.policy)?;
    let mut modified_fields = patch.ledger_names();
    modified_fields.insert("pod_id".to_owned());
    let new = NewPodRow {
        tenant: &caller.tenant,
        pod_id: pod_id.as_str(),
        definition,
        modified_fields,
        start: patch.status_requested.value() != Some(&StatusRequested::Off),
        creator: &caller.username,
        now: Utc::now(),
    };
    let mut conn = app.db.get().await?;
    let pod = PodRow::create(&mut conn, new).await?;
    Ok(success("Pod created successfully.", PodView::from(pod)))
}

/// A pod.
#[utoipa::path(get, path = "/v3/pods/{pod_id}", operation_id = "get_pod", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "The pod", body = PodView), (status = 401), (status = 403),
        (status = 404), (status = 503)))]
pub async fn get_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPod).await?;
    Ok(success("Pod retrieved successfully.", PodView::from(pod)))
}

/// Changes the fields that the body names, each as a whole. The running container is not touched; a restart
/// applies the changes.
#[utoipa::path(put, path = "/v3/pods/{pod_id}", operation_id = "update_pod", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    request_body = crate::openapi::UpdatePodBody,
    responses((status = 200, description = "The pod after the change", body = PodView), (status = 400),
        (status = 401), (status = 403), (status = 404),
        (status = 409, description = "The pod's status does not allow the wanted status_requested"), (status = 503)))]
pub async fn update_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    // Permission first: a stranger learns nothing from the checks of a body.
    load(&mut conn, &caller, &pod_id, Action::UpdatePod).await?;
    let patch = PodPatch::read(body.value()?)?;
    for _ in 0..TRIES {
        let pod = load(&mut conn, &caller, &pod_id, Action::UpdatePod).await?;
        let wanted = patch.status_requested.value().copied().filter(|wanted| *wanted != pod.status_requested);
        if wanted.is_some() {
            load(&mut conn, &caller, &pod_id, Action::ChangeStatusRequested).await?;
        }
        // What is not touched is not checked: a stop must work even when the image is no longer allowed.
        let definition = match patch.touches_definition() {
            true => patch.apply(&pod.definition, home(&caller, &pod_id), &app.policy)?,
            false => pod.definition.clone(),
        };
        if definition == pod.definition && wanted.is_none() {
            return Ok(unchanged("The request changes nothing.", PodView::from(pod)));
        }
        match update(&mut conn, &caller, &pod, &patch, definition, wanted).await {
            Ok(Some(pod)) => {
                let note = json!([
                    "Changes were stored; the running container keeps what it was started with.",
                    "Restart the pod to apply command, arguments, environment_variables, image, resources or networking ports."
                ]);
                let metadata = Map::from_iter([("note".to_owned(), note)]);
                return Ok(success_with("Pod updated successfully.", metadata, PodView::from(pod)));
            }
            Ok(None) => {}
            Err(error) => return Err(error.into_api()),
        }
    }
    Err(busy())
}

/// Fields and status change together or not at all.
async fn update(
    conn: &mut Connection,
    caller: &Caller,
    pod: &PodRow,
    patch: &PodPatch,
    definition: PodDefinition,
    wanted: Option<StatusRequested>,
) -> Result<Option<PodRow>, UpdateError> {
    use diesel_async::AsyncConnection;
    let now = Utc::now();
    let label = caller.label();
    conn.transaction(async |conn| {
        let mut pod = pod.clone();
        if definition != pod.definition {
            let text =
                format!("'{label}' updated pod: {}", action_log::changes(&pod.definition, &definition));
            let ledger = ledger(&pod, patch, &definition);
            match PodRow::update_definition(conn, &pod, definition, ledger, now).await? {
                Some(after) => pod = after,
                None => return Err(UpdateError::Moved),
            }
            action_logs::add(conn, pod.uid, now, &text).await?;
        }
        if let Some(wanted) = wanted {
            let event = match wanted {
                StatusRequested::On => Event::Start,
                StatusRequested::Off => Event::Stop,
                StatusRequested::Restart => Event::Restart,
            };
            let text = format!("'{label}' set status_requested to {wanted}");
            match apply(conn, &pod, Change::new(event, now).log(&text)).await? {
                Applied::Done(after) => pod = *after,
                Applied::Illegal(illegal) => return Err(UpdateError::Api(ApiError::wrong_state(illegal))),
                Applied::Moved => return Err(UpdateError::Moved),
            }
        }
        Ok(Some(pod))
    })
    .await
    .or_else(|error| match error {
        UpdateError::Moved => Ok(None),
        other => Err(other),
    })
}

/// Rolls the transaction of an update back.
enum UpdateError {
    Moved,
    Api(ApiError),
    Db(DbError),
}

impl UpdateError {
    fn into_api(self) -> ApiError {
        match self {
            UpdateError::Moved => busy(),
            UpdateError::Api(error) => error,
            UpdateError::Db(error) => error.into(),
        }
    }
}

impl From<DbError> for UpdateError {
    fn from(error: DbError) -> Self {
        UpdateError::Db(error)
    }
}

/// The ledger after an update: what really changed is added, what was reset leaves.
fn ledger(pod: &PodRow, patch: &PodPatch, after: &PodDefinition) -> BTreeSet<String> {
    let as_json = |definition: &PodDefinition| serde_json::to_value(definition).unwrap_or(Value::Null);
    let (old, new) = (as_json(&pod.definition), as_json(after));
    let changed = |name: &str| {
        let field = name.split('.').next().unwrap_or(name);
        old.get(field) != new.get(field)
    };
    let mut ledger = pod.modified_fields.clone();
    ledger.extend(patch.ledger_names().into_iter().filter(|name| changed(name)));
    for reset in patch.reset_names() {
        ledger.retain(|name| name != reset && name.split('.').next() != Some(reset));
    }
    ledger
}

/// Deletes a pod. It is unknown from now on; its container is stopped and removed.
#[utoipa::path(delete, path = "/v3/pods/{pod_id}", operation_id = "delete_pod", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "An empty text", body = String), (status = 401), (status = 403),
        (status = 404), (status = 503)))]
pub async fn delete_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    for _ in 0..TRIES {
        let pod = load(&mut conn, &caller, &pod_id, Action::DeletePod).await?;
        let text = format!("'{}' deleted pod", caller.label());
        match apply(&mut conn, &pod, Change::new(Event::Delete, Utc::now()).log(&text)).await? {
            Applied::Done(_) => return Ok(success("Pod deleted successfully.", "")),
            Applied::Illegal(illegal) => return Err(ApiError::wrong_state(illegal)),
            Applied::Moved => {}
        }
    }
    Err(busy())
}

/// The newest 10 MiB of the container's log, and the action log.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/logs", operation_id = "get_pod_logs", tag = "pods",
    params(("pod_id" = String, Path, description = "Id of the pod")),
    responses((status = 200, description = "The logs", body = LogsView), (status = 401), (status = 403),
        (status = 404), (status = 503)))]
pub async fn get_pod_logs(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodLogs).await?;
    let bytes = logs::read(&mut conn, pod.uid).await?;
    let action_logs = action_logs::list(&mut conn, pod.uid).await?;
    drop(conn);
    let logs = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(success("Pod logs retrieved successfully.", LogsView { logs, action_logs }))
}

fn home<'a>(caller: &'a Caller, pod_id: &'a str) -> Home<'a> {
    Home { tenant: &caller.tenant, tenant_host: &caller.tenant_host, pod_id }
}
