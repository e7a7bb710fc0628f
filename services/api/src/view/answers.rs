//! Smaller results.

use std::collections::BTreeMap;

use pods_core::{Level, Networking, credentials::Credentials};
use serde::Serialize;
use utoipa::ToSchema;

use super::schemas;

/// The result of `GET /pods/{pod_id}/logs`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodLogs)]
pub struct LogsView {
    /// The newest 10 MiB of stdout and stderr of the current or last run.
    pub logs: String,
    /// Who did what and what happened, oldest first, each as `YY/MM/DD HH:MM: text` in UTC.
    pub action_logs: Vec<String>,
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
