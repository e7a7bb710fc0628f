//! Why a pod is where it is, what it waits for, who can do something about it, and what to call next.
//!
//! Pure: everything that it looks at is a parameter, and all of it comes from the database, so that the answer is
//! there while Kubernetes, the broker or the other processes are not.

mod case;
mod cure;
mod hints;
mod network;
mod words;

use chrono::{DateTime, Utc};

use crate::{
    Status, StatusRequested,
    phases::{Phases, Reached},
    reason::{Actor, Reason, StatusContainer},
    status::text_enum,
};
use case::Case;
use cure::cure;
pub use network::{EntryNote, Network};

text_enum! {
    /// Who can do something, as the caller sees it.
    Who {
        /// The caller.
        You => "you",
        /// A user who administers the pod; the caller does not.
        Owner => "owner",
        /// Who runs the service or the cluster.
        Operator => "operator",
        /// Nobody has to: it goes on by itself, or is as it shall be.
        Nobody => "nobody",
    }
}

/// What the caller may do with the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Change its definition.
    pub update: bool,
    /// Start, stop and restart it.
    pub run: bool,
}

/// Everything that an explanation depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The pod.
    pub pod_id: &'a str,
    /// Where it is.
    pub status: Status,
    /// What its users want.
    pub requested: StatusRequested,
    /// Since when it is there.
    pub status_since: DateTime<Utc>,
    /// What its row says.
    pub said: &'a StatusContainer,
    /// What the caller may do.
    pub rights: Rights,
    /// The image of the current or last start.
    pub image: &'a str,
    /// The template of the pod, if it has one.
    pub template: Option<&'a str>,
    /// Whether the image is the template's.
    pub image_of_template: bool,
    /// What it offers to visitors now.
    pub network: Network<'a>,
    /// The phases of the current or last start.
    pub phases: Phases,
    /// How the last start ended, if it is over.
    pub last_end: Option<Past>,
    /// The newest loss among the starts that are remembered.
    pub last_loss: Option<Past>,
    /// Losses in a row.
    pub losses: i32,
    /// The earliest time of the next attempt.
    pub not_before: Option<DateTime<Utc>>,
    /// When the current run ends.
    pub deadline: Option<DateTime<Utc>>,
    /// Since when a wake-up of the pod waits for the broker.
    pub unpublished_since: Option<DateTime<Utc>>,
    /// Deleted pods of the same id that still hold objects.
    pub predecessors: i64,
    /// Whether anybody watches the containers.
    pub observed: bool,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Something that happened to an earlier start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at: DateTime<Utc>,
    /// The cause.
    pub code: Option<Reason>,
    /// The cause in words.
    pub message: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The stable code of the cause.
    pub code: Reason,
    /// What is the case, in plain words.
    pub message: String,
    /// What has to happen next, while something has to.
    pub waiting_for: Option<String>,
    /// Who can do something about it.
    pub who_can_act: Who,
    /// The next call to make, if the caller may make it.
    pub next_call: Option<NextCall>,
    /// The phases that the current or last start has reached.
    pub phases: Vec<Reached>,
    /// When something moved the last time.
    pub last_progress: DateTime<Utc>,
    /// The newest loss.
    pub last_loss: Option<Past>,
    /// When the current run ends.
    pub deadline: Option<DateTime<Utc>>,
    /// How each networking entry is reached.
    pub networking: Vec<EntryNote>,
    /// What else is worth knowing.
    pub hints: Vec<String>,
}

/// A call of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextCall {
    /// GET or PUT.
    pub method: &'static str,
    /// The path below the base URL.
    pub path: String,
    /// What it is good for.
    pub why: String,
}

/// Explains a pod.
pub fn explain(facts: &Facts<'_>) -> Explanation {
    let case = Case::of_a_pod(facts);
    let cure = cure(case.code, facts.status);
    let actor = case.actor.unwrap_or(cure.actor);
    let call = case.call.unwrap_or(cure.call);
    let message = words::complete(case.message.unwrap_or_else(|| words::of(case.code)), case.code, facts);
    let networking = network::notes(facts);
    let newest = facts.phases.newest().filter(|_| facts.status != Status::Stopped);
    Explanation {
        code: case.code,
        message,
        waiting_for: case.waiting_for,
        who_can_act: match actor {
            Actor::Owner if facts.rights.update && facts.rights.run => Who::You,
            Actor::Owner => Who::Owner,
            Actor::Operator => Who::Operator,
            Actor::Nobody => Who::Nobody,
        },
        next_call: call.for_the(facts),
        phases: facts.phases.reached(),
        last_progress: newest.map_or(facts.status_since, |newest| newest.max(facts.status_since)),
        last_loss: facts.last_loss.clone(),
        deadline: facts.deadline,
        hints: hints::of(facts).into_iter().chain(network::hints(facts, &networking)).collect(),
        networking,
    }
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S UTC").to_string()
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
