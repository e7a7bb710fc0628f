//! `GET /pods/{pod_id}/explain`.

use chrono::{DateTime, Utc};
use pods_core::{
    domains::Note,
    explain::{EntryNote, Explanation, NextCall, Past},
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
    /// How each networking entry is reached.
    pub networking: Vec<EntryView>,
    /// What else is worth knowing.
    pub hints: Vec<String>,
}

/// How a networking entry is reached.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkingExplanation)]
pub struct EntryView {
    /// The entry's name.
    #[schema(example = "default")]
    pub name: String,
    /// How it is spoken to.
    #[schema(example = "http")]
    pub protocol: &'static str,
    /// Its host; null when it has no address outside of the cluster.
    #[schema(required = true, example = "docpod.pods.tacc.tapis.io")]
    pub url: Option<String>,
    /// Whether requests and connections reach the container at present.
    pub live: bool,
    /// What is the case, in plain words.
    pub message: String,
    /// Its own domain; null when it names none.
    #[schema(required = true)]
    pub custom_domain: Option<DomainView>,
}

/// A custom domain and the DNS record that proves it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomDomainExplanation)]
pub struct DomainView {
    /// The domain.
    #[schema(example = "shop.example.org")]
    pub domain: String,
    /// Whether it leads to the pod.
    pub verified: bool,
    /// What is the case and what to do, in plain words.
    pub message: String,
    /// Name of the TXT record that proves it.
    #[schema(example = "_tapis-pods.shop.example.org")]
    pub record_name: String,
    /// What the record must say.
    #[schema(example = "pod-uid=3f2b8c1e-5d41-4c7a-9a53-0e6f1d2c4b5a")]
    pub record_text: String,
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
            networking: explanation.networking.into_iter().map(EntryView::from).collect(),
            hints: explanation.hints,
        }
    }
}

impl From<EntryNote> for EntryView {
    fn from(note: EntryNote) -> Self {
        Self {
            name: note.name,
            protocol: note.protocol.as_str(),
            url: note.url,
            live: note.live,
            message: note.message,
            custom_domain: note.custom_domain.map(DomainView::from),
        }
    }
}

impl From<Note> for DomainView {
    fn from(note: Note) -> Self {
        Self {
            domain: note.domain,
            verified: note.verified,
            message: note.message,
            record_name: note.record_name,
            record_text: note.record_text,
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
