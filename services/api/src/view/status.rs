//! `status_container`.

use chrono::{DateTime, Utc};
use pods_core::reason::{Reason, StatusContainer};
use serde::Serialize;
use utoipa::ToSchema;

use super::optional_timestamp;

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
        #[schema(required = true)]
        phase: Option<String>,
        /// When the container began to run.
        #[serde(serialize_with = "optional_timestamp")]
        #[schema(required = true)]
        start_time: Option<DateTime<Utc>>,
        /// What happened, in plain words.
        #[schema(required = true)]
        message: Option<String>,
        /// The stable code of the cause.
        #[schema(required = true)]
        code: Option<&'static str>,
        /// The exit code of an ended container.
        #[schema(required = true)]
        exit_code: Option<i32>,
        /// Whether the container passes its probes; null for pods without probes.
        #[schema(required = true)]
        ready: Option<bool>,
        /// How often Kubernetes started the container again within this run; null for pods without probes.
        #[schema(required = true)]
        restart_count: Option<i32>,
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
            code: status.code.map(Reason::as_str),
            exit_code: status.exit_code,
            ready: status.ready,
            restart_count: status.restart_count,
        }
    }
}
