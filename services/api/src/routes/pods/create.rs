//! `POST /pods`.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{NewPod, PodDefinition, PodPatch, StatusRequested, definition::EffectivePod, patch::Apply};
use pods_db::{
    Connection,
    pods::{CreateError, NewPodRow, PodRow},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    check::{Proposal, plan},
    credentials, home, metadata, pin,
};
use crate::{
    body::JsonBody,
    caller::Caller,
    envelope::success_with,
    error::ApiError,
    openapi::{Envelope, bodies},
    state::AppState,
    view::{Configs, PodView},
};

/// Creates a pod and, unless `status_requested` is `OFF`, starts it.
///
/// The template, if one is named, is pinned to one of its tags; READ on it is needed. All rules are checked on the
/// result of merging it. The caller becomes ADMIN of the pod.
#[utoipa::path(post, path = "/v3/pods", tag = "pods", request_body = bodies::NewPod,
    responses((status = 200, description = "The new pod", body = Envelope<PodView>),
        (status = 409, description = "The tenant has a pod with this id")))]
pub async fn create_pod(
    app: Data<AppState>,
    caller: Caller,
    body: JsonBody,
) -> Result<HttpResponse, ApiError> {
    let NewPod { pod_id, patch } = NewPod::read(body.value()?)?;
    let mut conn = app.db.get().await?;
    let parts = NewPodParts { pod_id: pod_id.as_str(), patch: &patch };
    match store(&app, &mut conn, &caller, parts).await? {
        Stored::New(pod, metadata) => {
            let view = PodView::stored(*pod, false, Configs::Redacted);
            Ok(success_with("Pod created successfully.", metadata, view))
        }
        Stored::IdTaken => Err(CreateError::Exists.into()),
    }
}

/// What a create starts from.
#[derive(Debug, Clone, Copy)]
pub(in crate::routes) struct NewPodParts<'a> {
    /// The id, checked.
    pub(in crate::routes) pod_id: &'a str,
    /// The fields.
    pub(in crate::routes) patch: &'a PodPatch,
}

/// What became of a create.
#[derive(Debug)]
pub(in crate::routes) enum Stored {
    /// The new pod, and what its creator should know.
    New(Box<PodRow>, Map<String, Value>),
    /// The tenant has a pod with this id.
    IdTaken,
}

/// Checks and stores a new pod with its credentials, and asks for its start, in one transaction.
pub(in crate::routes) async fn store(
    app: &AppState,
    conn: &mut Connection,
    caller: &Caller,
    new: NewPodParts<'_>,
) -> Result<Stored, ApiError> {
    let NewPodParts { pod_id, patch } = new;
    let home = home(caller, pod_id);
    let template = match patch.template_reference() {
        Some(reference) => Some(pin(conn, caller, reference).await?),
        None => None,
    };
    let defaults = app.policy.resources.defaults();
    let definition = patch.apply(
        &PodDefinition::with_resources(defaults.clone()),
        Apply {
            home,
            defaults: &defaults,
            actor: &caller.username,
            template: template.as_ref().map(|template| template.reference.as_str()),
        },
    );
    let mut modified_fields: BTreeSet<String> = patch.ledger_names();
    modified_fields.insert("pod_id".to_owned());
    let proposal = Proposal {
        home,
        definition: &definition,
        ledger: &modified_fields,
        image_touched: true,
        old_template: "",
    };
    let plan = plan(app, conn, proposal).await?;
    let uid = Uuid::new_v4();
    let metadata = metadata::about(&plan, template.map(|template| template.warnings).unwrap_or_default());
    let row = NewPodRow {
        uid,
        tenant: &caller.tenant,
        tenant_host: &caller.tenant_host,
        pod_id,
        definition,
        credentials: credentials::generate(app, uid, pod_id, &plan.derived.secret_map)?,
        effective: EffectivePod { definition: plan.derived },
        modified_fields,
        start: patch.status_requested.value() != Some(&StatusRequested::Off),
        creator: &caller.username,
        label: &caller.label(),
        now: Utc::now(),
    };
    match PodRow::create(conn, row).await {
        Ok(pod) => Ok(Stored::New(Box::new(pod), metadata)),
        Err(CreateError::Exists) => Ok(Stored::IdTaken),
        Err(error) => Err(error.into()),
    }
}
