//! `GET /pods/{pod_id}/events`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{optional_timestamp, schemas};

/// What Kubernetes tells about a pod.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PodEvents)]
pub struct PodEventsView {
    /// The id of the pod.
    #[schema(example = "docpod")]
    pub pod_id: String,
    /// The name of the pod's objects in Kubernetes.
    pub k8_name: String,
    /// Where the pod is in its life.
    #[schema(value_type = schemas::Status)]
    pub status: &'static str,
    /// Events of the present start and of the one before it, the newest first. Kubernetes forgets them after an hour;
    /// while it does not answer there are none.
    pub events: Vec<KubeEventView>,
    /// The configuration files of the pod, which Kubernetes keeps for its present start.
    pub ephemeral_configmaps: Vec<EphemeralFileView>,
}

/// An event of Kubernetes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KubernetesEvent)]
pub struct KubeEventView {
    /// `Normal` or `Warning`.
    #[schema(example = "Warning")]
    pub r#type: String,
    /// What kind of event it is.
    #[schema(example = "FailedScheduling")]
    pub reason: String,
    /// What happened.
    pub message: String,
    /// How often.
    #[schema(example = 1)]
    pub count: i32,
    /// When it happened first.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub first_time: Option<DateTime<Utc>>,
    /// When it happened last.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub last_time: Option<DateTime<Utc>>,
    /// The part of Kubernetes that tells it.
    #[schema(example = "kubelet")]
    pub source: String,
}

/// A configuration file of an `ephemeral` mount.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EphemeralFile)]
pub struct EphemeralFileView {
    /// Where it appears in the container.
    pub mount_path: String,
    /// The object in Kubernetes that holds it, which is a Secret of the present start; empty when nothing runs.
    pub configmap_name: String,
    /// Whether that is there: it comes and goes with the Pod of the start.
    pub exists_in_k8s: bool,
    /// The length of the content as it is defined.
    pub config_content_bytes: i32,
}
