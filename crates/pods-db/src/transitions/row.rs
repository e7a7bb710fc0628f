//! The row as a change leaves it. Pure, but for the ids of new starts.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use pods_core::{
    Status,
    reason::{Reason, StatusContainer},
    template::ChainError,
    transition::{Event, IllegalTransition, InstanceChange, Transition, next},
};

use super::change::Change;
use crate::pods::PodRow;

/// The transition that an event is for a row.
pub(super) fn legal(row: &PodRow, event: Event) -> Result<Transition, IllegalTransition> {
    if row.deleted_at.is_some() && event != Event::ObjectsGone {
        // A tombstone only waits for its objects to be gone.
        return Err(IllegalTransition { status: row.status, event });
    }
    next(row.status, row.status_requested, event)
}

/// The row as the change leaves it, but for what only the database knows.
pub(super) fn after(row: &PodRow, transition: Transition, change: &Change<'_>) -> PodRow {
    let mut after = row.clone();
    after.status = transition.status;
    after.status_requested = transition.requested;
    after.revision += 1;
    if transition.status != row.status {
        after.status_changed_ts = change.now;
    }
    if change.by_user() {
        after.update_ts = change.now;
    }
    if change.event == Event::Delete {
        after.deleted_at = Some(change.now);
    }
    match &change.status_container {
        Some(because) => after.status_container = because.clone(),
        None if change.by_user() && transition.wake => {
            after.status_container = removal(&row.status_container, change.event);
        }
        None => {}
    }
    if let Some(losses) = change.losses {
        after.losses = losses;
    }
    set_instance(&mut after, transition.instance, change.not_before);
    after
}

/// What a pod says from a user's request on until nothing of it is left.
fn removal(said: &StatusContainer, event: Event) -> StatusContainer {
    let message = match event {
        Event::Start | Event::Restart => {
            "What is left of the last run is removed, then the pod starts again."
        }
        _ => "The pod is being stopped.",
    };
    StatusContainer {
        phase: said.phase.clone(),
        start_time: said.start_time,
        ..StatusContainer::because(Reason::Stopping, message)
    }
}

/// Whether a change is the end of the start that the row had.
pub(super) fn is_over(row: &PodRow, after: &PodRow) -> bool {
    row.status.wants_objects()
        && (!after.status.wants_objects()
            || after.instance_id != row.instance_id
            || after.deleted_at.is_some())
}

/// Why a start is over, for its ledger.
pub(super) fn cause_of_end(change: &Change<'_>) -> StatusContainer {
    match &change.status_container {
        Some(because) => because.clone(),
        None if change.event == Event::Restart => {
            StatusContainer::because(Reason::Stopped, "A user restarted the pod.")
        }
        None => StatusContainer::because(Reason::Stopped, "A user stopped the pod."),
    }
}

/// Turns a start that the service wanted by itself into ERROR; answers the line for the action log.
pub(super) fn refuse(after: &mut PodRow, error: &ChainError) -> String {
    let message = format!("{error}; give the pod another template, then start it");
    after.status = Status::Error;
    after.instance_id = None;
    after.not_before = None;
    after.status_container = StatusContainer::because(Reason::TemplateUnavailable, &message);
    format!("could not be started: {message}")
}

fn set_instance(after: &mut PodRow, instance: InstanceChange, not_before: Option<DateTime<Utc>>) {
    match instance {
        InstanceChange::Keep | InstanceChange::Began => {}
        InstanceChange::NewStart => {
            if after.instance_id.is_some() {
                end_run_limit(after);
            }
            after.instance_id = Some(Uuid::new_v4());
            after.status_container = StatusContainer::default();
            after.start_instance_ts = None;
            after.time_to_stop_ts = None;
            after.losses = 0;
            after.not_before = not_before;
        }
        InstanceChange::Replace => {
            after.instance_id = Some(Uuid::new_v4());
            after.start_instance_ts = None;
            after.not_before = not_before;
        }
        InstanceChange::Clear => {
            after.instance_id = None;
            after.status_container = StatusContainer::default();
            after.start_instance_ts = None;
            after.time_to_stop_ts = None;
            after.losses = 0;
            after.not_before = None;
            end_run_limit(after);
        }
    }
}

/// The user's limit was for the run that is over; the next one is the template's to limit again.
fn end_run_limit(after: &mut PodRow) {
    if after.definition.time_to_stop_instance.take().is_some() {
        after.modified_fields.remove("time_to_stop_instance");
    }
}
