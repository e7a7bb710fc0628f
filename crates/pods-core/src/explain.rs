//! Why a pod is where it is, what it waits for, who can do something about it, and what to call next.
//!
//! Pure: everything that it looks at is a parameter, and all of it comes from the database, so that the answer is
//! there while Kubernetes, the broker or the other processes are not.

mod cure;
mod hints;
mod network;
mod words;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Status, StatusRequested,
    phases::{Phase, Phases, Reached},
    reason::{Actor, Reason, StatusContainer},
    status::text_enum,
};
use cure::{Call, cure};
pub use network::{EntryNote, Network};

/// A wake-up that is not with the broker for longer does not get there at present.
const PUBLISHED_WITHIN: TimeDelta = TimeDelta::seconds(2);
/// A start that nobody took for longer is not being taken at present.
const TAKEN_WITHIN: TimeDelta = TimeDelta::seconds(3);
/// Removing takes a grace period and the end of a log; beyond this somebody should look.
const REMOVED_WITHIN: TimeDelta = TimeDelta::minutes(3);

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

/// The case that a pod is in.
struct Case {
    code: Reason,
    /// Words of the row, where they are about this.
    message: Option<String>,
    waiting_for: Option<String>,
    actor: Option<Actor>,
    call: Option<Call>,
}

impl Case {
    fn of(code: Reason) -> Self {
        Self { code, message: None, waiting_for: None, actor: None, call: None }
    }

    /// What the row says counts.
    fn said(facts: &Facts<'_>, code: Reason) -> Self {
        let same = facts.said.code == Some(code);
        Self {
            message: facts.said.message.clone().filter(|_| same),
            actor: facts.said.actor.filter(|_| same),
            ..Self::of(code)
        }
    }

    fn waits(mut self, what: impl Into<String>) -> Self {
        self.waiting_for = Some(what.into());
        self
    }
}

/// Explains a pod.
pub fn explain(facts: &Facts<'_>) -> Explanation {
    let case = match facts.status {
        Status::Requested => of_a_request(facts),
        Status::Spawning => of_a_start(facts),
        Status::Available => of_a_run(facts),
        Status::Restarting | Status::ShuttingDown => of_a_removal(facts),
        Status::Stopped => of_a_stop(facts),
        Status::Complete => of_completion(facts),
        Status::Error => of_an_error(facts),
    };
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

/// The service's own parts, where they keep the pod waiting.
fn of_the_service(facts: &Facts<'_>) -> Option<Case> {
    if facts.unpublished_since.is_some_and(|since| facts.now - since > PUBLISHED_WITHIN) {
        return Some(Case::of(Reason::BrokerUnreachable).waits("the message broker"));
    }
    let code = facts.said.code?;
    let what = match code {
        Reason::KubernetesUnreachable => "Kubernetes",
        Reason::KubernetesDenied => "an operator to give this service its rights in Kubernetes",
        Reason::KeysUnavailable => "an operator to give this service its key",
        Reason::NameTaken => "the end of what has the same name",
        _ => return None,
    };
    Some(Case::said(facts, code).waits(what))
}

fn of_a_request(facts: &Facts<'_>) -> Case {
    let lost = facts.said.code.filter(|code| code.is_loss());
    if let Some(at) = facts.not_before.filter(|at| *at > facts.now) {
        let case = lost.map_or(Case::of(Reason::Queued), |code| Case::said(facts, code));
        return case.waits(format!("the next attempt at {}", clock(at)));
    }
    if let Some(case) = of_the_service(facts) {
        return case;
    }
    if facts.predecessors > 0 {
        return Case::of(Reason::NameTaken).waits("the end of the deleted pod of the same id");
    }
    let asked = facts.phases.get(Phase::Accepted).into_iter().chain(facts.not_before);
    let asked = asked.fold(facts.status_since, DateTime::max);
    if facts.now - asked > TAKEN_WITHIN {
        return Case::of(Reason::NoSpawner).waits("a spawner to take up the start");
    }
    lost.map_or(Case::of(Reason::Queued), |code| Case::said(facts, code))
        .waits("a spawner to take up the start")
}

fn of_a_start(facts: &Facts<'_>) -> Case {
    if let Some(case) = of_the_service(facts) {
        return case;
    }
    let code = facts.said.code.unwrap_or(Reason::Starting);
    match code {
        Reason::Unschedulable => Case::said(facts, code).waits("a node that takes the pod"),
        Reason::ImageNotFound
        | Reason::ImageDenied
        | Reason::ImageInvalid
        | Reason::ImagePlatform
        | Reason::ImagePull
        | Reason::ImagePullSecret => Case::said(facts, code).waits("the image"),
        Reason::Mount => Case::said(facts, code).waits("a volume to be mounted"),
        Reason::Sandbox | Reason::ContainerConfig | Reason::ContainerStart => {
            Case::said(facts, code).waits("the container to be set up")
        }
        Reason::NodeLost => Case::said(facts, code).waits("the node, or a new start on another one"),
        _ if !facts.observed => Case::of(Reason::NoObserver).waits("somebody who sees the container run"),
        _ => {
            let what = match () {
                () if facts.phases.get(Phase::Created).is_none() => "the objects in Kubernetes",
                () if facts.phases.get(Phase::Scheduled).is_none() => "a node, the image and the container",
                () if facts.phases.get(Phase::Pulled).is_none() => "the image and the container",
                () => "the container",
            };
            Case::said(facts, Reason::Starting).waits(what)
        }
    }
}

fn of_a_run(facts: &Facts<'_>) -> Case {
    let code = facts.said.code.unwrap_or(Reason::Running);
    if facts.deadline.is_some_and(|at| at <= facts.now) {
        let case = Case { actor: Some(Actor::Nobody), call: Some(Call::None), ..Case::of(Reason::Expired) };
        return case.waits("the pod to be stopped");
    }
    match code {
        Reason::NotReady => Case::said(facts, code).waits("the container to pass its probes"),
        Reason::NodeLost => Case::said(facts, code).waits("the node, or a new start on another one"),
        // Its container ends because something takes the pod away.
        code if code.is_loss() => Case::said(facts, code).waits("the end of the container, then a new start"),
        _ => Case::said(facts, Reason::Running),
    }
}

fn of_a_removal(facts: &Facts<'_>) -> Case {
    if let Some(case) = of_the_service(facts) {
        return case;
    }
    let code = match facts.said.code {
        Some(Reason::Expired) => Reason::Expired,
        _ => Reason::Stopping,
    };
    let overdue = facts.now - facts.status_since > REMOVED_WITHIN;
    Case {
        actor: Some(if overdue { Actor::Operator } else { Actor::Nobody }),
        call: Some(Call::None),
        ..Case::said(facts, code)
    }
    .waits("everything of the pod in Kubernetes to be gone")
}

fn of_a_stop(facts: &Facts<'_>) -> Case {
    let Some(end) = &facts.last_end else {
        let message = Some("The pod has not been started.".to_owned());
        return Case { message, ..Case::of(Reason::Stopped) };
    };
    let code = if end.code == Some(Reason::Expired) { Reason::Expired } else { Reason::Stopped };
    let message = match end.message.trim() {
        "" => "The pod is stopped.".to_owned(),
        message => format!("The pod is stopped. Its last start ended at {}: {message}", moment(end.at)),
    };
    Case { message: Some(message), ..Case::of(code) }
}

fn of_completion(facts: &Facts<'_>) -> Case {
    let mut case = Case::said(facts, Reason::ExitCode);
    case.message.get_or_insert_with(|| "The container ended by itself with exit code 0.".to_owned());
    case.actor = Some(Actor::Owner);
    case.call =
        Some(Call::Start("to run it once more; set a command that goes on if it should not have ended"));
    case
}

fn of_an_error(facts: &Facts<'_>) -> Case {
    match facts.said.code {
        Some(code) if !is_of_the_way(code) => Case::said(facts, code),
        _ => Case {
            message: Some("The pod could not run; its action log says more.".to_owned()),
            call: Some(Call::Logs("the action log says what happened")),
            ..Case::of(Reason::Refused)
        },
    }
}

/// What is said of a pod on its way, and never why it failed.
fn is_of_the_way(code: Reason) -> bool {
    matches!(
        code,
        Reason::Queued
            | Reason::Starting
            | Reason::Running
            | Reason::NotReady
            | Reason::Stopping
            | Reason::Stopped
            | Reason::NameTaken
            | Reason::BrokerUnreachable
            | Reason::NoSpawner
            | Reason::NoObserver
    )
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S UTC").to_string()
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
