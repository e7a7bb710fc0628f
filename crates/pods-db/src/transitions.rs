//! Status writes: [`pods_core::transition::next`], applied with compare-and-set in one transaction.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::{
    Status,
    reason::{Reason, StatusContainer},
    template::ChainError,
    transition::{Event, IllegalTransition, InstanceChange, next},
};

use crate::{
    Connection, DbError, action_logs,
    columns::{Json, Word},
    instances, logs, outbox,
    pods::PodRow,
    schema::pods,
    starts,
};

/// An event and what is to be written with it.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    event: Event,
    now: DateTime<Utc>,
    status_container: Option<StatusContainer>,
    log: Option<&'a str>,
    not_before: Option<DateTime<Utc>>,
    losses: Option<i32>,
    started_at: Option<DateTime<Utc>>,
}

impl<'a> Change<'a> {
    /// An event at `now`.
    pub fn new(event: Event, now: DateTime<Utc>) -> Self {
        Self {
            event,
            now,
            status_container: None,
            log: None,
            not_before: None,
            losses: None,
            started_at: None,
        }
    }

    /// Sets `status_container`; without it the column stays, or is cleared with the instance.
    #[must_use]
    pub fn because(mut self, status_container: StatusContainer) -> Self {
        self.status_container = Some(status_container);
        self
    }

    /// Adds a line to the action log (without date).
    #[must_use]
    pub fn log(mut self, text: &'a str) -> Self {
        self.log = Some(text);
        self
    }

    /// The spawner must not start the new instance before this time.
    #[must_use]
    pub fn not_before(mut self, at: DateTime<Utc>) -> Self {
        self.not_before = Some(at);
        self
    }

    /// How often in a row the pod was lost.
    #[must_use]
    pub fn losses(mut self, losses: i32) -> Self {
        self.losses = Some(losses);
        self
    }

    /// When the container began to run; `now` without it.
    #[must_use]
    pub fn started_at(mut self, at: DateTime<Utc>) -> Self {
        self.started_at = Some(at);
        self
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// Written; the row as it is now.
    Done(Box<PodRow>),
    /// The event does not fit the row's status; nothing was written.
    Illegal(IllegalTransition),
    /// Somebody else wrote first; read the row again and decide anew.
    Moved,
    /// The pod cannot be started because its templates cannot be merged; nothing was written.
    Underivable(ChainError),
}

/// Applies a change to `row`, if the row in the database is still the one that was read.
///
/// A new start freezes the definition merged with its templates. A pod whose templates cannot be merged is not
/// started: a user's request answers [`Applied::Underivable`]; a restart that was accepted earlier ends in ERROR.
///
/// # Errors
/// A database error; nothing was written then.
pub async fn apply(conn: &mut Connection, row: &PodRow, change: Change<'_>) -> Result<Applied, DbError> {
    if row.deleted_at.is_some() && change.event != Event::ObjectsGone {
        // A tombstone only waits for its objects to be gone.
        return Ok(Applied::Illegal(IllegalTransition { status: row.status, event: change.event }));
    }
    let transition = match next(row.status, row.status_requested, change.event) {
        Ok(transition) => transition,
        Err(illegal) => return Ok(Applied::Illegal(illegal)),
    };
    let now = change.now;
    let by_user = matches!(change.event, Event::Start | Event::Stop | Event::Restart | Event::Delete);
    let mut after = row.clone();
    after.status = transition.status;
    after.status_requested = transition.requested;
    after.revision += 1;
    if transition.status != row.status {
        after.status_changed_ts = now;
    }
    if by_user {
        after.update_ts = now;
    }
    if change.event == Event::Delete {
        after.deleted_at = Some(now);
    }
    if let Some(status_container) = change.status_container {
        after.status_container = status_container;
    }
    if let Some(losses) = change.losses {
        after.losses = losses;
    }
    set_instance(&mut after, transition.instance, change.not_before);
    if after == (PodRow { revision: after.revision, update_ts: after.update_ts, ..row.clone() })
        && !transition.wake
    {
        return Ok(Applied::Done(Box::new(row.clone())));
    }

    // Tags never change, so what is derived from them before the transaction holds in it.
    let mut snapshot = None;
    let mut refusal = None;
    match transition.instance {
        InstanceChange::NewStart | InstanceChange::Replace => {
            let lost = row.instance_id.filter(|_| transition.instance == InstanceChange::Replace);
            match starts::snapshot(conn, &after, lost).await? {
                Ok(effective) => snapshot = Some(effective),
                Err(error) if by_user => return Ok(Applied::Underivable(error)),
                Err(error) => refusal = Some(refuse(&mut after, &error)),
            }
        }
        InstanceChange::Keep if matches!(change.event, Event::Start | Event::Restart) => {
            // The container that runs now is not given up for one that cannot be started.
            if let Err(error) = starts::snapshot(conn, &after, None).await? {
                return Ok(Applied::Underivable(error));
            }
        }
        InstanceChange::Began => {
            let started_at = change.started_at.unwrap_or(now);
            after.start_instance_ts = Some(started_at);
            // A pod that was lost and came back keeps the deadline of the user's start.
            if after.losses == 0 || after.time_to_stop_ts.is_none() {
                after.time_to_stop_ts = starts::limits(conn, &after).await?.deadline(started_at);
            }
        }
        InstanceChange::Keep | InstanceChange::Clear => {}
    }

    conn.transaction(async |conn| {
        if !write(conn, row, &after).await? {
            return Ok(Applied::Moved);
        }
        // What belongs to the row travels together: one round trip instead of up to five.
        let conn = &*conn;
        let instance = async {
            match (&snapshot, after.instance_id) {
                (Some(effective), Some(new)) => instances::insert(conn, new, row.uid, effective, now).await,
                _ => Ok(()),
            }
        };
        let old_logs = async {
            let begins = change.event == Event::SpawnBegun || transition.instance == InstanceChange::Began;
            match after.instance_id {
                Some(current) if begins => logs::drop_others(conn, row.uid, current).await,
                _ => Ok(()),
            }
        };
        let wake = async {
            match transition.wake {
                true => outbox::insert(conn, row.uid, change.event.as_str()).await,
                false => Ok(()),
            }
        };
        let log = async {
            for text in change.log.into_iter().chain(refusal.as_deref()) {
                action_logs::insert(conn, row.uid, now, text).await?;
            }
            Ok(())
        };
        futures::try_join!(instance, old_logs, wake, log)?;
        Ok(Applied::Done(Box::new(after)))
    })
    .await
}

/// Turns a start that the service wanted by itself into ERROR; answers the line for the action log.
fn refuse(after: &mut PodRow, error: &ChainError) -> String {
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

async fn write(conn: &mut Connection, before: &PodRow, after: &PodRow) -> Result<bool, DbError> {
    let count = diesel::update(pods::table.find(before.uid).filter(pods::revision.eq(before.revision)))
        .set((
            pods::status.eq(Word(after.status)),
            pods::status_requested.eq(Word(after.status_requested)),
            pods::status_container.eq(Json(after.status_container.clone())),
            pods::status_changed_ts.eq(after.status_changed_ts),
            pods::revision.eq(after.revision),
            pods::instance_id.eq(after.instance_id),
            pods::losses.eq(after.losses),
            pods::not_before.eq(after.not_before),
            pods::update_ts.eq(after.update_ts),
            pods::start_instance_ts.eq(after.start_instance_ts),
            pods::time_to_stop_ts.eq(after.time_to_stop_ts),
            pods::time_to_stop_instance.eq(after.definition.time_to_stop_instance),
            pods::modified_fields.eq(Json(after.modified_fields.clone())),
            pods::deleted_at.eq(after.deleted_at),
        ))
        .execute(conn)
        .await?;
    Ok(count == 1)
}

/// Says why a pod waits, without a change of status. Writes nothing when it says the same already; `false` when
/// nothing was written.
pub async fn set_status_container(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
) -> Result<bool, DbError> {
    if row.status_container == *status_container {
        return Ok(false);
    }
    let count = diesel::update(pods::table.find(row.uid).filter(pods::revision.eq(row.revision)))
        .set((pods::status_container.eq(Json(status_container.clone())), pods::revision.eq(row.revision + 1)))
        .execute(conn)
        .await?;
    Ok(count == 1)
}

/// Notes on a tombstone that Kubernetes holds nothing of the pod any more; its id's successor may start.
///
/// A successor of the same tenant and id that waits is woken in the same transaction.
pub async fn mark_objects_gone(
    conn: &mut Connection,
    row: &PodRow,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    conn.transaction(async |conn| {
        let count = diesel::update(
            pods::table
                .find(row.uid)
                .filter(pods::revision.eq(row.revision))
                .filter(pods::deleted_at.is_not_null()),
        )
        .set((
            pods::objects_gone_ts.eq(now),
            pods::status.eq(Word(Status::Stopped)),
            pods::status_changed_ts.eq(now),
            pods::instance_id.eq(None::<Uuid>),
            pods::revision.eq(row.revision + 1),
        ))
        .execute(conn)
        .await?;
        if count == 0 {
            return Ok(false);
        }
        let successors: Vec<Uuid> = pods::table
            .filter(pods::tenant_id.eq(&row.tenant_id))
            .filter(pods::site_id.eq(&row.site_id))
            .filter(pods::pod_id.eq(&row.pod_id))
            .filter(pods::deleted_at.is_null())
            .filter(pods::status.eq(Word(Status::Requested)))
            .select(pods::uid)
            .load(conn)
            .await?;
        for successor in successors {
            outbox::add(conn, successor, "predecessor gone").await?;
        }
        Ok(true)
    })
    .await
}
