//! What answers look like.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use pods_core::{Level, Networking, Resources, reason::StatusContainer};
use pods_db::pods::PodRow;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// A pod as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pod)]
pub struct PodView {
    /// The id of the pod, unique among the pods of its tenant.
    pub pod_id: String,
    /// The container image as given.
    pub image: String,
    /// What the pod is for.
    pub description: String,
    /// Replaces the image's entrypoint; null keeps it.
    pub command: Option<Vec<String>>,
    /// Replaces the image's command; null keeps it.
    pub arguments: Option<Vec<String>>,
    /// Environment of the container.
    pub environment_variables: BTreeMap<String, String>,
    /// What the user wants: ON, OFF or RESTART.
    #[schema(value_type = String, example = "ON")]
    pub status_requested: &'static str,
    /// Seconds that each run may last; -1 is unlimited.
    pub time_to_stop_default: i32,
    /// The same for the current run only; null uses the default.
    pub time_to_stop_instance: Option<i32>,
    /// Networking entries by name.
    #[schema(value_type = Object)]
    pub networking: BTreeMap<String, Networking>,
    /// CPU in millicores, memory and ephemeral storage in MiB, whole GPUs.
    #[schema(value_type = Object)]
    pub resources: Resources,
    /// The compute queue that the pod runs in.
    pub compute_queue: String,
    /// When the current run is stopped by itself; null means never.
    #[serde(serialize_with = "optional_timestamp")]
    pub time_to_stop_ts: Option<DateTime<Utc>>,
    /// REQUESTED, SPAWNING, AVAILABLE, STOPPED, RESTARTING, SHUTTING_DOWN, COMPLETE or ERROR.
    #[schema(value_type = String, example = "AVAILABLE")]
    pub status: &'static str,
    /// What Kubernetes says about the container and why; empty when the pod is stopped.
    pub status_container: StatusContainerView,
    /// When the pod was created.
    #[serde(serialize_with = "timestamp")]
    pub creation_ts: DateTime<Utc>,
    /// When a user last changed the pod.
    #[serde(serialize_with = "timestamp")]
    pub update_ts: DateTime<Utc>,
    /// When the container of the current run began to run.
    #[serde(serialize_with = "optional_timestamp")]
    pub start_instance_ts: Option<DateTime<Utc>>,
    /// The fields that the user set.
    pub modified_fields: BTreeSet<String>,
}

impl From<PodRow> for PodView {
    fn from(row: PodRow) -> Self {
        let definition = row.definition;
        Self {
            pod_id: row.pod_id,
            image: definition.image,
            description: definition.description,
            command: definition.command,
            arguments: definition.arguments,
            environment_variables: definition.environment_variables,
            status_requested: row.status_requested.as_str(),
            time_to_stop_default: definition.time_to_stop_default,
            time_to_stop_instance: definition.time_to_stop_instance,
            networking: definition.networking,
            resources: definition.resources,
            compute_queue: definition.compute_queue,
            time_to_stop_ts: row.time_to_stop_ts,
            status: row.status.as_str(),
            status_container: row.status_container.into(),
            creation_ts: row.creation_ts,
            update_ts: row.update_ts,
            start_instance_ts: row.start_instance_ts,
            modified_fields: row.modified_fields,
        }
    }
}

/// `status_container`: `{}` while there is nothing to say, else all keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusContainer)]
#[serde(untagged)]
pub enum StatusContainerView {
    /// Nothing to say.
    Empty {},
    /// What Kubernetes says.
    Known {
        /// Phase of the Kubernetes Pod: Pending, Running, Succeeded, Failed.
        phase: Option<String>,
        /// When the container began to run.
        #[serde(serialize_with = "optional_timestamp")]
        start_time: Option<DateTime<Utc>>,
        /// What happened, in plain words.
        message: Option<String>,
        /// The stable code of the cause.
        code: Option<&'static str>,
        /// The exit code of an ended container.
        exit_code: Option<i32>,
    },
}

impl From<StatusContainer> for StatusContainerView {
    fn from(status: StatusContainer) -> Self {
        if status == StatusContainer::default() {
            return Self::Empty {};
        }
        Self::Known {
            phase: status.phase,
            start_time: status.start_time,
            message: status.message,
            code: status.code.map(pods_core::reason::Reason::as_str),
            exit_code: status.exit_code,
        }
    }
}

/// The result of `GET /pods/{pod_id}/logs`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodLogs)]
pub struct LogsView {
    /// The newest 10 MiB of stdout and stderr of the current or last run.
    pub logs: String,
    /// Who did what and what happened, oldest first.
    pub action_logs: Vec<String>,
}

/// The result of the permission operations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodPermissions)]
pub struct PermissionsView {
    /// `user:LEVEL`, in the order in which they were first granted.
    pub permissions: Vec<String>,
}

impl From<Vec<(String, Level)>> for PermissionsView {
    fn from(grants: Vec<(String, Level)>) -> Self {
        Self { permissions: grants.into_iter().map(|(user, level)| format!("{user}:{level}")).collect() }
    }
}

/// RFC 3339 in UTC with microseconds and `Z`.
fn timestamp<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn optional_timestamp<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => timestamp(at, serializer),
        None => serializer.serialize_none(),
    }
}
