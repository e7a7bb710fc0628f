//! `GET /pods/{pod_id}/explain`.

use chrono::{DateTime, Utc};
use pods_core::{
    explain::{Explanation, NextCall, Past},
    phases::Reached,
    reason::Reason,
};
use pods_db::pods::PodRow;
use serde::Serialize;
use utoipa::ToSchema;

use super::{optional_timestamp, schemas, timestamp};

/// Why a pod is where it is, and what can be done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationView {
    /// The id of the pod.
    #[schema(example = "docpod")]
    pub pod_id: String,
    /// Where the pod is in its life.
    #[schema(value_type = schemas::Status)]
    pub status: &'static str,
    /// What the user wants: ON, OFF or RESTART.
    #[schema(value_type = schemas::StatusRequested)]
    pub status_requested: &'static str,
    /// The stable code of the cause.
    #[schema(example = "image_not_found")]
    pub code: &'static str,
    /// What is the case, in plain words.
    pub message: String,
    /// What has to happen next; null when nothing has to.
    #[schema(required = true)]
    pub waiting_for: Option<String>,
    /// Who can do something about it: `you`, `owner` (a user with ADMIN on the pod), `operator` (of the service or the
    /// cluster), or `nobody`, when it goes on by itself or is as it shall be.
    #[schema(example = "you")]
    pub who_can_act: &'static str,
    /// The next call to make, if the caller may make it.
    #[schema(required = true)]
    pub next_call: Option<NextCallView>,
    /// Since when the pod has this status.
    #[serde(serialize_with = "timestamp")]
    pub since: DateTime<Utc>,
    /// When the status or a phase changed the last time.
    #[serde(serialize_with = "timestamp")]
    pub last_progress: DateTime<Utc>,
    /// The phases that the present or last start has reached, in their order.
    pub phases: Vec<PhaseView>,
    /// The newest loss: what took the pod away so that it was started again.
    #[schema(required = true)]
    pub last_loss: Option<LossView>,
    /// When the present run is stopped by itself; null means never.
    #[serde(serialize_with = "optional_timestamp")]
    #[schema(required = true)]
    pub deadline: Option<DateTime<Utc>>,
    /// What else is worth knowing.
    pub hints: Vec<String>,
}

/// A call of the API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextCall)]
pub struct NextCallView {
    /// The method.
    #[schema(example = "PUT")]
    pub method: &'static str,
    /// The path below the base URL.
    #[schema(example = "/v3/pods/docpod")]
    pub path: String,
    /// What it is good for.
    pub why: String,
}

/// A phase that a start has reached.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Phase)]
pub struct PhaseView {
    /// `accepted`, `taken`, `created`, `scheduled`, `pulled`, `started`, `ready` or `routed`.
    #[schema(example = "started")]
    pub name: &'static str,
    /// When.
    #[serde(serialize_with = "timestamp")]
    pub at: DateTime<Utc>,
    /// How long after the phase before it; null for the first.
    #[schema(required = true)]
    pub seconds_since_previous: Option<f64>,
}

/// A loss.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Loss)]
pub struct LossView {
    /// When it was noticed.
    #[serde(serialize_with = "timestamp")]
    pub at: DateTime<Utc>,
    /// The stable code of the cause.
    #[schema(required = true, example = "node_lost")]
    pub code: Option<&'static str>,
    /// The cause in plain words.
    pub message: String,
}

impl ExplanationView {
    /// The explanation of a pod.
    pub fn new(pod: &PodRow, explanation: Explanation) -> Self {
        Self {
            pod_id: pod.pod_id.clone(),
            status: pod.status.as_str(),
            status_requested: pod.status_requested.as_str(),
            code: explanation.code.as_str(),
            message: explanation.message,
            waiting_for: explanation.waiting_for,
            who_can_act: explanation.who_can_act.as_str(),
            next_call: explanation.next_call.map(NextCallView::from),
            since: pod.status_changed_ts,
            last_progress: explanation.last_progress,
            phases: explanation.phases.into_iter().map(PhaseView::from).collect(),
            last_loss: explanation.last_loss.map(LossView::from),
            deadline: explanation.deadline,
            hints: explanation.hints,
        }
    }
}

impl From<NextCall> for NextCallView {
    fn from(call: NextCall) -> Self {
        Self { method: call.method, path: call.path, why: call.why }
    }
}

impl From<Reached> for PhaseView {
    fn from(reached: Reached) -> Self {
        let seconds = reached.since_previous.map(|time| time.as_seconds_f64());
        Self { name: reached.phase.as_str(), at: reached.at, seconds_since_previous: seconds }
    }
}

impl From<Past> for LossView {
    fn from(past: Past) -> Self {
        Self { at: past.at, code: past.code.map(Reason::as_str), message: past.message }
    }
}
