//! What a change of a status brings with it in other tables.

use pods_core::{
    definition::EffectivePod,
    phases::Phase,
    template::ChainError,
    transition::{Event, InstanceChange, Transition},
};

use super::{
    change::Change,
    row::{cause_of_end, is_over, refuse},
};
use crate::{Connection, DbError, action_logs, instances, logs::runs, outbox, pods::PodRow, starts};

/// What a new start is made of.
#[derive(Default)]
pub(super) struct Start {
    snapshot: Option<EffectivePod>,
    /// The line of the action log about a start that the service wanted and that cannot be.
    refusal: Option<String>,
}

/// Freezes the definition for a new start and sets the deadline of one that begins to run.
pub(super) async fn start_of(
    conn: &mut Connection,
    row: &PodRow,
    after: &mut PodRow,
    transition: Transition,
    change: &Change<'_>,
) -> Result<Result<Start, ChainError>, DbError> {
    let mut start = Start::default();
    match transition.instance {
        InstanceChange::NewStart | InstanceChange::Replace => {
            let lost = row.instance_id.filter(|_| transition.instance == InstanceChange::Replace);
            match starts::snapshot(conn, after, lost).await? {
                Ok(effective) => start.snapshot = Some(effective),
                Err(error) if change.by_user() => return Ok(Err(error)),
                Err(error) => start.refusal = Some(refuse(after, &error)),
            }
        }
        InstanceChange::Keep if matches!(change.event, Event::Start | Event::Restart) => {
            // The container that runs now is not given up for one that cannot be started.
            if let Err(error) = starts::snapshot(conn, after, None).await? {
                return Ok(Err(error));
            }
        }
        InstanceChange::Began => {
            let started_at = change.started_at.unwrap_or(change.now);
            after.start_instance_ts = Some(started_at);
            // A pod that was lost and came back keeps the deadline of the user's start.
            if after.losses == 0 || after.time_to_stop_ts.is_none() {
                after.time_to_stop_ts = starts::limits(conn, after).await?.deadline(started_at);
            }
        }
        InstanceChange::Keep | InstanceChange::Clear => {}
    }
    Ok(Ok(start))
}

/// What is written beside the row. It travels together: one round trip instead of up to seven.
pub(super) async fn write_companions(
    conn: &Connection,
    row: &PodRow,
    after: &PodRow,
    transition: Transition,
    change: &Change<'_>,
    start: &Start,
) -> Result<(), DbError> {
    let now = change.now;
    let instance = async {
        match (&start.snapshot, after.instance_id) {
            (Some(effective), Some(new)) => instances::insert(conn, new, row.uid, effective, now).await,
            _ => Ok(()),
        }
    };
    let phases = async {
        let mut phases = change.phases;
        if change.event == Event::SpawnBegun {
            phases.note(Phase::Taken, Some(now));
        }
        match row.instance_id.filter(|_| !phases.is_empty()) {
            Some(instance) => instances::note(conn, instance, &phases).await.map(drop),
            None => Ok(()),
        }
    };
    let end = async {
        match row.instance_id.filter(|_| is_over(row, after)) {
            Some(instance) => instances::note_end(conn, instance, now, &cause_of_end(change)).await,
            None => Ok(()),
        }
    };
    let runs = run_of(conn, row, after, transition, change);
    let wake = async {
        match transition.wake {
            true => outbox::insert(conn, row.uid, change.event.as_str()).await,
            false => Ok(()),
        }
    };
    let log = async {
        for text in change.log.into_iter().chain(start.refusal.as_deref()) {
            action_logs::insert(conn, row.uid, now, text).await?;
        }
        Ok(())
    };
    futures::try_join!(instance, phases, end, runs, wake, log)?;
    Ok(())
}

/// What a change means for the runs whose logs are kept: they begin when the container does, and are over when its end
/// or the end of its objects is seen. A run that a user ends is over when its log is.
async fn run_of(
    conn: &Connection,
    row: &PodRow,
    after: &PodRow,
    transition: Transition,
    change: &Change<'_>,
) -> Result<(), DbError> {
    let began = transition.instance == InstanceChange::Began;
    if let Some(current) = after.instance_id
        && (began || change.event == Event::SpawnBegun)
    {
        runs::supersede(conn, row.uid, current, change.now).await?;
        if began {
            runs::begin(conn, row.uid, current, change.started_at.unwrap_or(change.now)).await?;
        }
    }
    let asked_to_end = change.by_user() || change.event == Event::Expired;
    match row.instance_id {
        Some(last) if change.event == Event::ObjectsGone || (is_over(row, after) && !asked_to_end) => {
            runs::finish(conn, last, change.now).await
        }
        _ => Ok(()),
    }
}
