//! A pod in an answer.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use pods_core::{Healthchecks, Networking, PodDefinition, Resources, TemplateOverrides, VolumeMount, mount};
use pods_db::pods::PodRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::{StatusContainerView, optional_timestamp, schemas, timestamp};

/// A pod as the API shows it. Everything that can be unset is null, nothing is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pod)]
pub struct PodView {
    /// The id of the pod, unique among the pods of its tenant.
    #[schema(example = "docpod")]
    pub pod_id: String,
    /// The container image as given; empty when the template's image is used.
    #[schema(example = "postgres:16")]
    pub image: String,
    /// The template that the pod builds on, pinned to one tag as `template_id:tag@YYYY-MM-DD-HH:MM:SS`; empty without
    /// a template.
    #[schema(example = "postgres:16@2026-07-01-10:00:00")]
    pub template: String,
    /// What the pod is for.
    pub description: String,
    /// Replaces the image's entrypoint; null keeps it.
    #[schema(required = true)]
    pub command: Option<Vec<String>>,
    /// Replaces the image's command; null keeps it.
    #[schema(required = true)]
    pub arguments: Option<Vec<String>>,
    /// Environment of the container. `${pods:secrets:KEY}` stands for a value of `secret_map`, `<<tapissecret_x>>` for
    /// a credential of the pod.
    pub environment_variables: BTreeMap<String, String>,
    /// Named values, references to secrets and placeholders, as stored; never the values of secrets.
    pub secret_map: BTreeMap<String, String>,
    /// What the user wants: ON, OFF or RESTART.
    #[schema(value_type = schemas::StatusRequested)]
    pub status_requested: &'static str,
    /// Mounts by absolute path.
    #[schema(value_type = BTreeMap<String, schemas::VolumeMount>)]
    pub volume_mounts: BTreeMap<String, VolumeMount>,
    /// Seconds that each run may last; -1 is unlimited.
    pub time_to_stop_default: i32,
    /// The same for the current run only, in seconds; null uses the default.
    #[schema(required = true)]
    pub time_to_stop_instance: Option<i32>,
    /// Networking entries by name; `default` is reached at `<pod_id>.pods.<tenant>`, others at
    /// `<pod_id>-<name>.pods.<tenant>`.
    #[schema(value_type = BTreeMap<String, schemas::Networking>)]
    pub networking: BTreeMap<String, Networking>,
    /// CPU in millicores, memory and ephemeral storage in MiB, whole GPUs.
    #[schema(value_type = schemas::Resources)]
    pub resources: Resources,
    /// The compute queue that the pod runs in.
    #[schema(example = "default")]
    pub compute_queue: String,
    /// Parts of the template's mounts and secret map that the pod replaces; null when there are none.
    #[schema(value_type = Option<schemas::TemplateOverrides>, required = true)]
    pub template_overrides: Option<TemplateOverrides>,
    /// Probes of the container; null when there are none.
    #[schema(value_type = Option<schemas::PodHealthchecks>, required = true)]
    pub healthchecks: Option<Healthchecks>,
    /// When the current run is stopped by itself; null means never.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub time_to_stop_ts: Option<DateTime<Utc>>,
    /// Where the pod is in its life.
    #[schema(value_type = schemas::Status)]
    pub status: &'static str,
    /// What Kubernetes says about the container and why; empty when the pod is stopped.
    pub status_container: StatusContainerView,
    /// Whether visitors are led to the container at present, through any of the networking entries; `explain` says it of
    /// each. An entry that is `local_only`, or that cannot be routed, leads nobody there.
    pub networking_live: bool,
    /// When the pod was created.
    #[serde(serialize_with = "timestamp")]
    pub creation_ts: DateTime<Utc>,
    /// When a user last changed the pod.
    #[serde(serialize_with = "timestamp")]
    pub update_ts: DateTime<Utc>,
    /// When the service last saw the status change; null before the first time.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub last_status_check_ts: Option<DateTime<Utc>>,
    /// When the container of the current run began to run.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub start_instance_ts: Option<DateTime<Utc>>,
    /// The fields that the user set; they win over the template's.
    pub modified_fields: BTreeSet<String>,
}

/// Whether the contents of configuration files are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Configs {
    /// As stored.
    Shown,
    /// Their length only.
    Redacted,
}

impl PodView {
    /// The pod as its users stored it. `live` is [`PodRow::networking_live`], which the stored entries alone do not say.
    pub fn stored(row: PodRow, live: bool, configs: Configs) -> Self {
        let definition = row.definition.clone();
        Self::new(row, definition, live, configs)
    }

    /// The pod with `definition` in place of the stored one, usually because templates were merged into it.
    pub fn new(row: PodRow, definition: PodDefinition, live: bool, configs: Configs) -> Self {
        let status_changed = (row.status_changed_ts > row.creation_ts).then_some(row.status_changed_ts);
        Self {
            pod_id: row.pod_id,
            image: definition.image,
            template: definition.template,
            description: definition.description,
            command: definition.command,
            arguments: definition.arguments,
            environment_variables: definition.environment_variables,
            secret_map: definition.secret_map,
            status_requested: row.status_requested.as_str(),
            volume_mounts: mounts(definition.volume_mounts, configs),
            time_to_stop_default: definition.time_to_stop_default,
            time_to_stop_instance: definition.time_to_stop_instance,
            networking: definition.networking,
            resources: definition.resources,
            compute_queue: definition.compute_queue,
            template_overrides: definition.template_overrides.map(|overrides| shown(overrides, configs)),
            healthchecks: definition.healthchecks,
            time_to_stop_ts: row.time_to_stop_ts,
            status: row.status.as_str(),
            networking_live: live,
            status_container: row.status_container.into(),
            creation_ts: row.creation_ts,
            update_ts: row.update_ts,
            last_status_check_ts: status_changed,
            start_instance_ts: row.start_instance_ts,
            modified_fields: row.modified_fields,
        }
    }
}

/// A remembered removal has nothing to show, and clients fail on a mount that is null.
fn mounts(mounts: BTreeMap<String, Option<VolumeMount>>, configs: Configs) -> BTreeMap<String, VolumeMount> {
    mounts
        .into_iter()
        .filter_map(|(path, mount)| Some((path, mount?)))
        .map(|(path, mount)| match configs {
            Configs::Shown => (path, mount),
            Configs::Redacted => (path, mount::redacted(&mount)),
        })
        .collect()
}

fn shown(overrides: TemplateOverrides, configs: Configs) -> TemplateOverrides {
    let mut overrides = overrides.without_owners();
    if configs == Configs::Redacted {
        for content in overrides.volume_mounts.values_mut().filter_map(|mount| mount.config_content.as_mut())
        {
            *content = mount::redaction(content);
        }
    }
    overrides
}
