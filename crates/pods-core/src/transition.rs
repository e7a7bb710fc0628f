//! Which status follows which: the one table that the API, the spawner and health obey.
//!
//! Every status write of the product is the outcome of [`next`], applied with compare-and-set on the row's
//! revision. The table is written out in `docs/lifecycle.md`, which a snapshot test keeps equal to this code.

use InstanceChange as I;
use Status as S;
use StatusRequested as R;

use crate::{Status, StatusRequested, status::text_enum};

text_enum! {
    /// What happened to a pod.
    Event {
        /// A user asks for a start.
        Start => "start",
        /// A user asks for a stop.
        Stop => "stop",
        /// A user asks for a restart.
        Restart => "restart",
        /// A user deletes the pod.
        Delete => "delete",
        /// The spawner holds the pod's lock and begins to create objects.
        SpawnBegun => "spawn begun",
        /// Kubernetes or our own checks refuse the pod for good.
        Refused => "refused",
        /// The registry says no, or pull, mount or placement kept failing for too long.
        GaveUp => "gave up",
        /// The container of the current instance runs.
        Running => "running",
        /// The container ended by itself with exit code 0.
        Succeeded => "ended 0",
        /// The container ended by itself with another exit code or was killed for its own limits.
        Failed => "ended other",
        /// The Pod of the current instance was taken away: deleted by hand, evicted, preempted, node lost.
        Lost => "lost",
        /// As `Lost`, but it happened too often.
        LostTooOften => "lost too often",
        /// `time_to_stop_ts` has passed.
        Expired => "expired",
        /// Under the pod's lock every object of its uid answered 404.
        ObjectsGone => "objects gone",
    }
}

/// The columns that a transition sets together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The new status.
    pub status: Status,
    /// The new intent.
    pub requested: StatusRequested,
    /// What happens to the instance.
    pub instance: InstanceChange,
    /// Whether the spawner must look: an outbox row is written in the same transaction.
    pub wake: bool,
}

/// What a transition does to the instance of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceChange {
    /// The instance stays as it is.
    Keep,
    /// A new instance with a fresh snapshot of the definition; the user's deadline starts anew.
    NewStart,
    /// A new instance with the snapshot and the deadline of the one that was lost.
    Replace,
    /// The container runs: its start time and deadline are set.
    Began,
    /// No instance any more: start time, deadline, `time_to_stop_instance` and `status_container` are cleared.
    Clear,
}

/// An event that does not fit the pod's status; nothing may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pod that is {status} cannot take the event \"{event}\"")]
pub struct IllegalTransition {
    /// The status that the pod has.
    pub status: Status,
    /// The event that did not fit.
    pub event: Event,
}

/// The transition for an event, or why there is none.
///
/// # Errors
/// [`IllegalTransition`] when the event does not apply to the status: a stale observation, or a user's request
/// that is answered with 409.
pub fn next(
    status: Status,
    requested: StatusRequested,
    event: Event,
) -> Result<Transition, IllegalTransition> {
    let transition = match event {
        Event::Start => start(status),
        Event::Stop => stop(status),
        Event::Restart => restart(status),
        Event::Delete => delete(status),
        Event::SpawnBegun => spawn_begun(status, requested),
        Event::Refused => refused(status, requested),
        Event::GaveUp => gave_up(status, requested),
        Event::Running => running(status, requested),
        Event::Succeeded => succeeded(status, requested),
        Event::Failed | Event::LostTooOften => failed(status, requested),
        Event::Lost => lost(status, requested),
        Event::Expired => expired(status),
        Event::ObjectsGone => objects_gone(status),
    };
    transition.ok_or(IllegalTransition { status, event })
}

fn to(status: S, requested: R, instance: I, wake: bool) -> Option<Transition> {
    Some(Transition { status, requested, instance, wake })
}

fn start(status: S) -> Option<Transition> {
    match status {
        S::Stopped => to(S::Requested, R::On, I::NewStart, true),
        S::Complete | S::Error => to(S::Restarting, R::Restart, I::Keep, true),
        S::Requested | S::Spawning | S::Available | S::Restarting | S::ShuttingDown => None,
    }
}

fn stop(status: S) -> Option<Transition> {
    match status {
        S::Stopped => to(S::Stopped, R::Off, I::Keep, false),
        S::Requested
        | S::Spawning
        | S::Available
        | S::Restarting
        | S::ShuttingDown
        | S::Complete
        | S::Error => to(S::ShuttingDown, R::Off, I::Keep, true),
    }
}

fn restart(status: S) -> Option<Transition> {
    match status {
        S::Requested
        | S::Spawning
        | S::Available
        | S::Stopped
        | S::Restarting
        | S::ShuttingDown
        | S::Complete
        | S::Error => to(S::Restarting, R::Restart, I::Keep, true),
    }
}

fn delete(status: S) -> Option<Transition> {
    match status {
        S::Requested
        | S::Spawning
        | S::Available
        | S::Stopped
        | S::Restarting
        | S::ShuttingDown
        | S::Complete
        | S::Error => to(S::ShuttingDown, R::Off, I::Keep, true),
    }
}

fn spawn_begun(status: S, requested: R) -> Option<Transition> {
    match status {
        S::Requested => to(S::Spawning, requested, I::Keep, false),
        S::Spawning
        | S::Available
        | S::Stopped
        | S::Restarting
        | S::ShuttingDown
        | S::Complete
        | S::Error => None,
    }
}

fn refused(status: S, requested: R) -> Option<Transition> {
    match status {
        S::Requested | S::Spawning => to(S::Error, requested, I::Keep, true),
        S::Available | S::Stopped | S::Restarting | S::ShuttingDown | S::Complete | S::Error => None,
    }
}

fn gave_up(status: S, requested: R) -> Option<Transition> {
    match status {
        S::Spawning => to(S::Error, requested, I::Keep, true),
        S::Requested
        | S::Available
        | S::Stopped
        | S::Restarting
        | S::ShuttingDown
        | S::Complete
        | S::Error => None,
    }
}

fn running(status: S, requested: R) -> Option<Transition> {
    match status {
        // REQUESTED too: the spawner creates the Pod before it writes SPAWNING only if it was killed in
        // between, and the observation is true all the same.
        S::Requested | S::Spawning => to(S::Available, requested, I::Began, false),
        S::Available | S::Stopped | S::Restarting | S::ShuttingDown | S::Complete | S::Error => None,
    }
}

fn succeeded(status: S, requested: R) -> Option<Transition> {
    match status {
        S::Requested | S::Spawning | S::Available => to(S::Complete, requested, I::Keep, true),
        S::Stopped | S::Restarting | S::ShuttingDown | S::Complete | S::Error => None,
    }
}

fn failed(status: S, requested: R) -> Option<Transition> {
    match status {
        S::Requested | S::Spawning | S::Available => to(S::Error, requested, I::Keep, true),
        S::Stopped | S::Restarting | S::ShuttingDown | S::Complete | S::Error => None,
    }
}

fn lost(status: S, requested: R) -> Option<Transition> {
    match (status, requested) {
        (S::Spawning | S::Available, R::On) => to(S::Requested, R::On, I::Replace, true),
        (S::Spawning | S::Available, R::Off | R::Restart)
        | (
            S::Requested | S::Stopped | S::Restarting | S::ShuttingDown | S::Complete | S::Error,
            R::On | R::Off | R::Restart,
        ) => None,
    }
}

fn expired(status: S) -> Option<Transition> {
    match status {
        S::Available | S::Complete | S::Error => to(S::ShuttingDown, R::Off, I::Keep, true),
        S::Requested | S::Spawning | S::Stopped | S::Restarting | S::ShuttingDown => None,
    }
}

fn objects_gone(status: S) -> Option<Transition> {
    match status {
        S::ShuttingDown => to(S::Stopped, R::Off, I::Clear, false),
        S::Restarting => to(S::Requested, R::On, I::NewStart, true),
        S::Requested | S::Spawning | S::Available | S::Stopped | S::Complete | S::Error => None,
    }
}

/// The table of all legal transitions as Markdown, for the documentation and its snapshot.
pub fn table() -> String {
    let mut text = String::from(
        "| Event | From | To | status_requested | Instance | Wakes the spawner |\n|---|---|---|---|---|---|\n",
    );
    for event in Event::ALL {
        for status in Status::ALL {
            if let Ok(t) = next(*status, StatusRequested::On, *event) {
                let instance = match t.instance {
                    InstanceChange::Keep => "",
                    InstanceChange::NewStart => "new, fresh snapshot",
                    InstanceChange::Replace => "new, same snapshot and deadline",
                    InstanceChange::Began => "start time and deadline set",
                    InstanceChange::Clear => "cleared",
                };
                let wake = if t.wake { "yes" } else { "" };
                let requested = t.requested;
                text +=
                    &format!("| {event} | {status} | {} | {requested} | {instance} | {wake} |\n", t.status);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documentation_shows_this_table() {
        let page = include_str!("../../../docs/lifecycle.md");
        assert!(page.contains(&table()), "docs/lifecycle.md must contain:\n{}", table());
    }

    #[test]
    fn every_status_can_be_deleted_and_stopped() {
        for status in Status::ALL {
            assert_eq!(
                next(*status, StatusRequested::On, Event::Delete).map(|t| t.status),
                Ok(Status::ShuttingDown)
            );
            assert!(next(*status, StatusRequested::On, Event::Stop).is_ok());
        }
    }

    #[test]
    fn start_is_refused_while_something_is_under_way() {
        for status in
            [Status::Requested, Status::Spawning, Status::Available, Status::Restarting, Status::ShuttingDown]
        {
            assert!(next(status, StatusRequested::On, Event::Start).is_err(), "{status}");
        }
    }

    /// A model of one pod: what the row says and whether objects exist.
    #[derive(Debug, Clone)]
    struct Model {
        status: Status,
        requested: StatusRequested,
        objects: bool,
    }

    fn apply(model: &mut Model, event: Event) {
        // What the world allows: objects are gone only when they are, a container runs only when it exists.
        match event {
            Event::Running | Event::Succeeded | Event::Failed | Event::GaveUp if !model.objects => return,
            Event::ObjectsGone => model.objects = false,
            _ => {}
        }
        if event == Event::ObjectsGone && model.status.wants_objects() {
            return;
        }
        if let Ok(t) = next(model.status, model.requested, event) {
            model.status = t.status;
            model.requested = t.requested;
            match event {
                Event::SpawnBegun => model.objects = true,
                Event::Lost => model.objects = false,
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn stopped_never_has_objects_and_every_state_has_an_exit(
            events in prop::collection::vec(prop::sample::select(Event::ALL), 0..60)
        ) {
            let mut model = Model { status: Status::Stopped, requested: StatusRequested::Off, objects: false };
            for event in events {
                apply(&mut model, event);
                if model.status == Status::Stopped {
                    prop_assert!(!model.objects, "STOPPED with objects after {event}");
                }
                if model.status == Status::ShuttingDown {
                    prop_assert_eq!(model.requested, StatusRequested::Off);
                }
            }
            // From anywhere: stop, then the spawner finds nothing left.
            apply(&mut model, Event::Stop);
            if model.status == Status::ShuttingDown {
                apply(&mut model, Event::ObjectsGone);
            }
            prop_assert_eq!(model.status, Status::Stopped);
            // And it can be started again.
            apply(&mut model, Event::Start);
            prop_assert_eq!(model.status, Status::Requested);
        }
    }
}
