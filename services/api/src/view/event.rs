//! Pods in the stream of events.

use chrono::{DateTime, Utc};
use pods_db::summaries::Summary;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{StatusContainerView, optional_timestamp, schemas, timestamp};

/// The data of the event `pod`: where a pod is in its life. The names are those of `GET /pods/{pod_id}`, which has the
/// rest.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodEvent)]
pub struct PodEventView {
    /// The id of the pod.
    #[schema(example = "docpod")]
    pub pod_id: String,
    /// Tells this pod from an earlier one of the same id that was deleted.
    pub uid: Uuid,
    /// Grows with each change of this `uid`; an event whose revision you have seen already is a repetition.
    #[schema(example = 7)]
    pub revision: i32,
    /// What the user wants: ON, OFF or RESTART.
    #[schema(value_type = schemas::StatusRequested)]
    pub status_requested: &'static str,
    /// Where the pod is in its life.
    #[schema(value_type = schemas::Status)]
    pub status: &'static str,
    /// What Kubernetes says about the container and why; empty when the pod is stopped.
    pub status_container: StatusContainerView,
    /// Whether visitors are led to the container at present, through any of the networking entries.
    pub networking_live: bool,
    /// The present start; null when the pod is stopped.
    #[schema(required = true)]
    pub instance_id: Option<Uuid>,
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
    /// When the current run is stopped by itself; null means never.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub time_to_stop_ts: Option<DateTime<Utc>>,
}

impl From<Summary> for PodEventView {
    fn from(pod: Summary) -> Self {
        Self {
            pod_id: pod.pod_id,
            uid: pod.uid,
            // Numbers of answers have 32 bits; a pod that changes each second reaches the last one in 68 years.
            revision: i32::try_from(pod.revision).unwrap_or(i32::MAX),
            status_requested: pod.status_requested.as_str(),
            status: pod.status.as_str(),
            networking_live: pod.networking_live,
            status_container: pod.status_container.into(),
            instance_id: pod.instance_id,
            creation_ts: pod.creation_ts,
            update_ts: pod.update_ts,
            last_status_check_ts: (pod.status_changed_ts > pod.creation_ts).then_some(pod.status_changed_ts),
            start_instance_ts: pod.start_instance_ts,
            time_to_stop_ts: pod.time_to_stop_ts,
        }
    }
}

/// The data of the events `pod_deleted` and `pod_hidden`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodGoneEvent)]
pub struct PodGoneView {
    /// The id of the pod.
    #[schema(example = "docpod")]
    pub pod_id: String,
    /// The pod that is meant; you may know a younger one of the same id already.
    pub uid: Uuid,
}
