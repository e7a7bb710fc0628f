//! In which case a pod is, by where it is and what is known of it.

use chrono::{DateTime, TimeDelta};

use super::{Facts, clock, cure::Call, moment};
use crate::{
    Status,
    phases::Phase,
    reason::{Actor, Reason},
};

/// A wake-up that is not with the broker for longer does not get there at present.
const PUBLISHED_WITHIN: TimeDelta = TimeDelta::seconds(2);
/// A start that nobody took for longer is not being taken at present.
const TAKEN_WITHIN: TimeDelta = TimeDelta::seconds(3);
/// Removing takes a grace period and the end of a log; beyond this somebody should look.
const REMOVED_WITHIN: TimeDelta = TimeDelta::minutes(3);

/// The case that a pod is in.
pub(super) struct Case {
    pub(super) code: Reason,
    /// Words of the row, where they are about this.
    pub(super) message: Option<String>,
    pub(super) waiting_for: Option<String>,
    pub(super) actor: Option<Actor>,
    pub(super) call: Option<Call>,
}

impl Case {
    /// The case of a pod.
    pub(super) fn of_a_pod(facts: &Facts<'_>) -> Self {
        match facts.status {
            Status::Requested => of_a_request(facts),
            Status::Spawning => of_a_start(facts),
            Status::Available => of_a_run(facts),
            Status::Restarting | Status::ShuttingDown => of_a_removal(facts),
            Status::Stopped => of_a_stop(facts),
            Status::Complete => of_completion(facts),
            Status::Error => of_an_error(facts),
        }
    }

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
            let reached = |phase| facts.phases.get(phase).is_some();
            let what = if !reached(Phase::Created) {
                "the objects in Kubernetes"
            } else if !reached(Phase::Scheduled) {
                "a node, the image and the container"
            } else if !reached(Phase::Pulled) {
                "the image and the container"
            } else {
                "the container"
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
