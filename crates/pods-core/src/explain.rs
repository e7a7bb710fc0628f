//! Why a pod is where it is, what it waits for, who can do something about it, and what to call next.
//!
//! Pure: everything that it looks at is a parameter, and all of it comes from the database, so that the answer is
//! there while Kubernetes, the broker or the other processes are not.

mod case;
mod cure;
mod words;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Status, StatusRequested,
    lost::MAX_LOSSES,
    phases::{Phase, Phases, Reached},
    reason::{Actor, Reason, StatusContainer},
    status::text_enum,
};
use case::Case;
use cure::cure;

/// The proxy asks for its routes every second or two.
const ROUTED_WITHIN: TimeDelta = TimeDelta::seconds(15);
/// An end that is nearer is worth a hint.
const ENDS_SOON: TimeDelta = TimeDelta::minutes(15);

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
    /// Whether it has entries that the proxy leads to.
    pub has_routes: bool,
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
        hints: hints(facts),
    }
}

fn hints(facts: &Facts<'_>) -> Vec<String> {
    let mut hints = Vec::new();
    if facts.losses > 0 && facts.status.wants_objects() {
        let times =
            if facts.losses == 1 { "once".to_owned() } else { format!("{} times in a row", facts.losses) };
        hints.push(format!(
            "The pod was lost {times} and started again; after {MAX_LOSSES} losses in a row it ends in ERROR."
        ));
    }
    if facts.status == Status::Available {
        if !facts.observed {
            hints.push(
                "Nobody watches the containers at the moment; what happened lately may be missing."
                    .to_owned(),
            );
        }
        let running = facts.phases.get(Phase::Started).map(|at| facts.now - at);
        if facts.has_routes
            && facts.phases.get(Phase::Routed).is_none()
            && running.is_some_and(|time| time > ROUTED_WITHIN)
        {
            hints.push("That the proxy leads to the pod is not confirmed; if its address does not work, tell an operator.".to_owned());
        }
        if let Some(at) = facts.deadline.filter(|at| *at - facts.now < ENDS_SOON) {
            hints.push(format!("The run ends at {}; a larger time_to_stop_instance moves that.", moment(at)));
        }
    }
    hints
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S UTC").to_string()
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
