//! `PUT /pods/{pod_id}`, and `POST /pods/{pod_id}/volumes`, which merges mounts.

use actix_web::{HttpResponse, web::Data};
use pods_core::{
    Level, PodPatch, StatusRequested, mount,
    patch::Apply,
    permission::{self, Action},
    template::unset_to_defaults,
    transition::Event,
};
use pods_db::{Connection, derived, pods::PodRow};
use serde_json::{Map, Value, json};

use super::{
    TRIES, busy,
    check::Plan,
    home, load, load_with_level, metadata, pin, pin_newest,
    write::{NewState, Write, Written, write},
};
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::{success_with, unchanged},
    error::ApiError,
    openapi::{Envelope, bodies},
    paths::PodIdPath,
    state::AppState,
    view::{Configs, PodView},
};

/// Changes the fields that the body names, each as a whole.
///
/// The running container is not touched: networking counts at once, a restart applies the other changes. USER is
/// needed, and ADMIN for a `status_requested` that differs, which is the same as start, stop or restart after the other
/// changes. A request that changes nothing is answered with HTTP 200, `status: "error"` and the pod.
#[utoipa::path(put, path = "/v3/pods/{pod_id}", tag = "pods", request_body = bodies::UpdatePod,
    responses((status = 200, description = "The pod after the change", body = Envelope<PodView>),
        (status = 409, description = "The pod's status does not allow the wanted status_requested, or its \
            template does not exist any more")))]
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
    update(&app, &mut conn, &caller, &pod_id, (Action::UpdatePod, &patch)).await
}

/// Adds mounts to a pod, by path; the other mounts stay, and null removes one.
///
/// As `PUT /pods/{pod_id}` otherwise. USER is needed.
#[utoipa::path(post, path = "/v3/pods/{pod_id}/volumes", tag = "pods", request_body = bodies::AttachVolumeMounts,
    responses((status = 200, description = "The pod after the change", body = Envelope<PodView>),
        (status = 409, description = "The pod's template does not exist any more")))]
pub async fn attach_volume_mounts(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    load(&mut conn, &caller, &pod_id, Action::AttachVolumeMounts).await?;
    let patch = PodPatch::read_volumes(body.value()?)?;
    update(&app, &mut conn, &caller, &pod_id, (Action::AttachVolumeMounts, &patch)).await
}

async fn update(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pod_id: &str,
    (action, patch): (Action, &PodPatch),
) -> Result<HttpResponse, ApiError> {
    let label = caller.label();
    for _ in 0..TRIES {
        let (pod, level) = load_with_level(conn, caller, pod_id, action).await?;
        let wanted = patch.status_requested.value().copied().filter(|wanted| *wanted != pod.status_requested);
        if wanted.is_some() {
            permission::decide(caller.rights(), level, Action::ChangeStatusRequested)?;
        }
        let (state, warnings) = proposed(app, conn, caller, &pod, patch, wanted.is_some()).await?;
        let same = state == NewState::of(&pod);
        if same && wanted.is_none() {
            let live = derived::networking_live(conn, &pod).await?;
            let view = PodView::stored(pod, live, Configs::Redacted);
            return Ok(unchanged("The request changes nothing.", view));
        }
        // What is not touched is not checked: a stop must work even when the template is gone.
        let plan = match patch.touches_definition() && !same {
            true => Some(state.plan(app, conn, caller, &pod, patch.touches_image()).await?),
            false => None,
        };
        if let Some(plan) = &plan {
            may_change_mounts(caller, level, &pod, plan)?;
        }
        let what = format!("{label} updated pod");
        let event =
            wanted.map(|wanted| (event_of(wanted), format!("{label} set status_requested to {wanted}")));
        let request = Write {
            state: (!same).then_some(&state),
            plan: plan.as_ref().map(|plan| (plan, what.as_str())),
            event: event.as_ref().map(|(event, text)| (*event, text.as_str())),
        };
        if let Written::Done(after) = write(app, conn, caller, &pod, request).await? {
            let metadata = plan.as_ref().map(|plan| metadata::about(plan, warnings));
            return changed(conn, "Pod updated successfully.", metadata.unwrap_or_default(), *after).await;
        }
    }
    Err(busy())
}

/// Mounts of other users are the ADMINs' business, whether they stand in `volume_mounts`, in `template_overrides` or come
/// with a template.
fn may_change_mounts(caller: &Caller, level: Level, pod: &PodRow, plan: &Plan) -> Result<(), ApiError> {
    let (before, after) = (plan.before(pod).volume_mounts, &plan.derived.volume_mounts);
    let foreign = mount::foreign_changes(&before, after, &caller.username);
    if foreign.is_empty() || permission::decide(caller.rights(), level, Action::ChangeForeignMounts).is_ok() {
        return Ok(());
    }
    Err(ApiError::Forbidden(format!(
        "Only ADMINs can remove mounts of other users or change what they mount: {}.",
        foreign.join(", ")
    )))
}

/// What the body makes of the pod, before any rule is checked, and what the owners of a newly named template say.
async fn proposed(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pod: &PodRow,
    patch: &PodPatch,
    status_changes: bool,
) -> Result<(NewState, Vec<String>), ApiError> {
    let mut state = NewState::of(pod);
    let stored = pod.definition.template.as_str();
    // Sending back what an answer showed asks for no other tag, so it needs no right on the template either.
    let template = match patch.template_reference() {
        Some(reference) if reference != stored => Some(pin(conn, caller, reference).await?),
        _ => None,
    };
    let pinned = template.as_ref().map_or(stored, |template| template.reference.as_str());
    let defaults = app.policy.resources.defaults();
    if patch.touches_definition() {
        let input = Apply {
            home: home(caller, &pod.pod_id),
            defaults: &defaults,
            actor: &caller.username,
            template: Some(pinned).filter(|pinned| !pinned.is_empty()),
        };
        state.definition = patch.apply(&pod.definition, input);
    }
    state.modified_fields =
        patch.ledger_after(&pod.modified_fields, &pod.definition, &state.definition, status_changes);
    if state.definition.template != stored {
        unset_to_defaults(&mut state.definition, &state.modified_fields, &defaults);
    }
    Ok((state, template.map(|template| template.warnings).unwrap_or_default()))
}

/// The pod on the newest tag of the same name, checked; `None` when it is there already or has no template.
pub(in crate::routes) async fn to_newest_tag(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    pod: &PodRow,
) -> Result<Option<(NewState, Plan)>, ApiError> {
    if pod.definition.template.is_empty() {
        return Ok(None);
    }
    let newest = pin_newest(conn, caller, &pod.definition.template).await?;
    if newest.reference == pod.definition.template {
        return Ok(None);
    }
    let mut state = NewState::of(pod);
    state.definition.template = newest.reference;
    let defaults = app.policy.resources.defaults();
    unset_to_defaults(&mut state.definition, &state.modified_fields, &defaults);
    let plan = state.plan(app, conn, caller, pod, true).await?;
    Ok(Some((state, plan)))
}

fn event_of(wanted: StatusRequested) -> Event {
    match wanted {
        StatusRequested::On => Event::Start,
        StatusRequested::Off => Event::Stop,
        StatusRequested::Restart => Event::Restart,
    }
}

/// The answer to a change. `metadata.note` is two texts, as clients of the service know it.
pub(super) async fn changed(
    conn: &mut Connection,
    text: &str,
    mut metadata: Map<String, Value>,
    after: PodRow,
) -> Result<HttpResponse, ApiError> {
    let note = json!([
        "Changes were stored. Networking counts at once, as far as the container listens on its ports; in everything else \
         the running container keeps what it was started with.",
        "Restart the pod to apply image, command, arguments, environment_variables, secret_map, volume_mounts, \
         healthchecks or resources."
    ]);
    metadata.insert("note".to_owned(), note);
    let live = derived::networking_live(conn, &after).await?;
    Ok(success_with(text, metadata, PodView::stored(after, live, Configs::Redacted)))
}
