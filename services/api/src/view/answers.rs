//! Smaller results.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pods_core::{Level, Networking, credentials::Credentials};
use pods_db::logs::runs::Run;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{optional_timestamp, schemas, timestamp};

/// The result of `GET /pods/{pod_id}/logs`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodLogs)]
pub struct LogsView {
    /// The newest 10 MiB of stdout and stderr of the current or last run.
    pub logs: String,
    /// Who did what and what happened, oldest first, each as `YY/MM/DD HH:MM: text` in UTC.
    pub action_logs: Vec<String>,
}

/// A start whose container ran, and how much of its log is kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogRun)]
pub struct LogRunView {
    /// Identifies the run.
    pub id: Uuid,
    /// The pod.
    #[schema(example = "docpod")]
    pub pod_id: String,
    /// Counts from 1 for each pod; a number is never used again.
    #[schema(minimum = 1)]
    pub run_index: i32,
    /// When the container began to run.
    #[serde(serialize_with = "timestamp")]
    pub started_at: DateTime<Utc>,
    /// When its end was seen; null while it runs.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub stopped_at: Option<DateTime<Utc>>,
    /// Bytes of the log that are kept, at most 10 MiB.
    #[schema(minimum = 0)]
    pub log_size_bytes: i64,
    /// Whether it is still running.
    pub is_active: bool,
    /// Whether the log is kept compressed.
    pub is_archived: bool,
    /// Always null.
    #[schema(required = true)]
    pub archive_path: Option<String>,
}

impl LogRunView {
    /// A run of a pod.
    pub fn new(pod_id: &str, run: &Run) -> Self {
        Self {
            id: run.run_id,
            pod_id: pod_id.to_owned(),
            run_index: run.run_index,
            started_at: run.started_at,
            stopped_at: run.stopped_at,
            log_size_bytes: run.log_size_bytes,
            is_active: run.stopped_at.is_none(),
            is_archived: run.is_archived,
            archive_path: None,
        }
    }
}

/// The result of `GET /pods/{pod_id}/log-runs/{run_index}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogRunWithLogs)]
pub struct LogRunWithLogs {
    /// The run.
    #[serde(flatten)]
    pub run: LogRunView,
    /// What its container wrote to stdout and stderr, or the part that was asked for.
    pub logs: String,
}

/// The data of the event `run` of a log stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogRunEvent)]
pub struct LogRunBegun {
    /// Identifies the run.
    pub id: Uuid,
    /// Its number.
    #[schema(minimum = 1)]
    pub run_index: i32,
    /// When the container began to run.
    #[serde(serialize_with = "timestamp")]
    pub started_at: DateTime<Utc>,
}

/// The result of the permission operations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Permissions)]
pub struct PermissionsView {
    /// `user:LEVEL`, in the order in which they were first granted.
    #[schema(example = json!(["ann:ADMIN", "bob:READ"]))]
    pub permissions: Vec<String>,
}

impl From<Vec<(String, Level)>> for PermissionsView {
    fn from(grants: Vec<(String, Level)>) -> Self {
        Self { permissions: grants.into_iter().map(|(user, level)| format!("{user}:{level}")).collect() }
    }
}

/// The result of `GET /pods/{pod_id}/credentials`: what a start puts in the place of `<<tapissecret_user_username>>`
/// and `<<tapissecret_user_password>>`.
#[derive(Serialize, ToSchema)]
#[schema(as = PodCredentials)]
pub struct CredentialsView {
    /// The generated user name, which is the id of the pod.
    #[schema(example = "docpod")]
    pub user_username: String,
    /// The generated password: 30 letters and digits.
    pub user_password: String,
}

impl From<Credentials> for CredentialsView {
    fn from(credentials: Credentials) -> Self {
        Self { user_username: credentials.user_username, user_password: credentials.user_password }
    }
}

/// The result of `GET /pods/jupyter/ensure`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JupyterPod)]
pub struct JupyterView {
    /// The id of the pod.
    pub pod_id: String,
    /// Where the pod is in its life.
    #[schema(value_type = schemas::Status)]
    pub status: &'static str,
    /// Its networking entries, the template's included.
    #[schema(value_type = BTreeMap<String, schemas::Networking>)]
    pub networking: BTreeMap<String, Networking>,
    /// The address to open, with scheme.
    #[schema(example = "https://tapistempjupyterann001.pods.tacc.tapis.io")]
    pub url: String,
}
