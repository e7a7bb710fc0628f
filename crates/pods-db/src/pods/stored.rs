//! A row of `pods` as diesel reads and writes it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use pods_core::{
    Healthchecks, Networking, PodDefinition, Resources, Status, StatusRequested, TemplateOverrides,
    mount::Mounts, reason::StatusContainer,
};

use super::PodRow;
use crate::{
    columns::{Json, Word},
    schema::pods,
};

/// The row.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = pods, check_for_backend(diesel::pg::Pg))]
pub(super) struct StoredPod {
    uid: Uuid,
    site_id: String,
    tenant_id: String,
    pod_id: String,
    k8_name: String,
    #[diesel(embed)]
    definition: StoredDefinition,
    modified_fields: Json<BTreeSet<String>>,
    status_requested: Word<StatusRequested>,
    status: Word<Status>,
    status_container: Json<StatusContainer>,
    status_changed_ts: DateTime<Utc>,
    revision: i64,
    instance_id: Option<Uuid>,
    losses: i32,
    not_before: Option<DateTime<Utc>>,
    creation_ts: DateTime<Utc>,
    update_ts: DateTime<Utc>,
    start_instance_ts: Option<DateTime<Utc>>,
    time_to_stop_ts: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    objects_gone_ts: Option<DateTime<Utc>>,
    tenant_host: String,
    created_by: String,
}

/// The columns of what the user defines.
#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = pods, check_for_backend(diesel::pg::Pg), treat_none_as_null = true)]
pub(super) struct StoredDefinition {
    image: String,
    template: Option<String>,
    description: String,
    command: Option<Json<Vec<String>>>,
    arguments: Option<Json<Vec<String>>>,
    environment_variables: Json<BTreeMap<String, String>>,
    secret_map: Json<BTreeMap<String, String>>,
    volume_mounts: Json<Mounts>,
    template_overrides: Option<Json<TemplateOverrides>>,
    healthchecks: Option<Json<Healthchecks>>,
    networking: Json<BTreeMap<String, Networking>>,
    resources: Json<Resources>,
    compute_queue: String,
    time_to_stop_default: i32,
    time_to_stop_instance: Option<i32>,
}

impl From<StoredPod> for PodRow {
    fn from(s: StoredPod) -> Self {
        Self {
            uid: s.uid,
            site_id: s.site_id,
            tenant_id: s.tenant_id,
            pod_id: s.pod_id,
            k8_name: s.k8_name,
            definition: s.definition.into(),
            modified_fields: s.modified_fields.0,
            status_requested: s.status_requested.0,
            status: s.status.0,
            status_container: s.status_container.0,
            status_changed_ts: s.status_changed_ts,
            revision: s.revision,
            instance_id: s.instance_id,
            losses: s.losses,
            not_before: s.not_before,
            creation_ts: s.creation_ts,
            update_ts: s.update_ts,
            start_instance_ts: s.start_instance_ts,
            time_to_stop_ts: s.time_to_stop_ts,
            deleted_at: s.deleted_at,
            objects_gone_ts: s.objects_gone_ts,
            tenant_host: s.tenant_host,
            created_by: s.created_by,
        }
    }
}

impl From<PodRow> for StoredPod {
    fn from(r: PodRow) -> Self {
        Self {
            uid: r.uid,
            site_id: r.site_id,
            tenant_id: r.tenant_id,
            pod_id: r.pod_id,
            k8_name: r.k8_name,
            definition: r.definition.into(),
            modified_fields: Json(r.modified_fields),
            status_requested: Word(r.status_requested),
            status: Word(r.status),
            status_container: Json(r.status_container),
            status_changed_ts: r.status_changed_ts,
            revision: r.revision,
            instance_id: r.instance_id,
            losses: r.losses,
            not_before: r.not_before,
            creation_ts: r.creation_ts,
            update_ts: r.update_ts,
            start_instance_ts: r.start_instance_ts,
            time_to_stop_ts: r.time_to_stop_ts,
            deleted_at: r.deleted_at,
            objects_gone_ts: r.objects_gone_ts,
            tenant_host: r.tenant_host,
            created_by: r.created_by,
        }
    }
}

impl From<StoredDefinition> for PodDefinition {
    fn from(s: StoredDefinition) -> Self {
        Self {
            image: s.image,
            template: s.template.unwrap_or_default(),
            description: s.description,
            command: s.command.map(|json| json.0),
            arguments: s.arguments.map(|json| json.0),
            environment_variables: s.environment_variables.0,
            secret_map: s.secret_map.0,
            volume_mounts: s.volume_mounts.0,
            template_overrides: s.template_overrides.map(|json| json.0),
            healthchecks: s.healthchecks.map(|json| json.0),
            networking: s.networking.0,
            resources: s.resources.0,
            compute_queue: s.compute_queue,
            time_to_stop_default: s.time_to_stop_default,
            time_to_stop_instance: s.time_to_stop_instance,
        }
    }
}

impl From<PodDefinition> for StoredDefinition {
    fn from(d: PodDefinition) -> Self {
        Self {
            image: d.image,
            template: Some(d.template).filter(|reference| !reference.is_empty()),
            description: d.description,
            command: d.command.map(Json),
            arguments: d.arguments.map(Json),
            environment_variables: Json(d.environment_variables),
            secret_map: Json(d.secret_map),
            volume_mounts: Json(d.volume_mounts),
            template_overrides: d.template_overrides.map(Json),
            healthchecks: d.healthchecks.map(Json),
            networking: Json(d.networking),
            resources: Json(d.resources),
            compute_queue: d.compute_queue,
            time_to_stop_default: d.time_to_stop_default,
            time_to_stop_instance: d.time_to_stop_instance,
        }
    }
}
