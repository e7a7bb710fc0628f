//! Status writes: [`pods_core::transition::next`], applied with compare-and-set in one transaction.

/// That the lease, if there is one, still has its epoch; part of the statement that writes, so that it costs no round
/// trip of its own.
macro_rules! still_held {
    ($fence:expr) => {{
        let (name, epoch) = $fence.map_or(("", 0), |fence: &Fence| (fence.name.as_str(), fence.epoch));
        let held = leases::table.filter(leases::name.eq(name)).filter(leases::epoch.eq(epoch));
        diesel::dsl::exists(held).or($fence.is_none().into_sql::<diesel::sql_types::Bool>())
    }};
}

mod change;
mod companions;
mod row;
mod said;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use pods_core::Status;

use crate::{
    Connection, DbError,
    columns::{Json, Word},
    logs::Fence,
    metrics, outbox,
    pods::PodRow,
    schema::{leases, pods},
};
pub use change::{Applied, Change};
use companions::{start_of, write_companions};
use row::{after, legal};
pub use said::{set_status_container, set_status_container_with};

/// Applies a change to `row`, if the row in the database is still the one that was read.
///
/// A new start freezes the definition merged with its templates. A pod whose templates cannot be merged is not
/// started: a user's request answers [`Applied::Underivable`]; a restart that was accepted earlier ends in ERROR.
///
/// # Errors
/// A database error; nothing was written then.
pub async fn apply(conn: &mut Connection, row: &PodRow, change: Change<'_>) -> Result<Applied, DbError> {
    let event = change.event;
    let span = tracing::debug_span!(
        "status write", pod.uid = %row.uid, event = event.as_str(), from = %row.status, to = Empty
    );
    let applied = compare_and_set(conn, row, change).instrument(span.clone()).await?;
    if let Applied::Done(after) = &applied {
        span.record("to", after.status.as_str());
    }
    metrics::status_write(row, event, &applied);
    Ok(applied)
}

async fn compare_and_set(
    conn: &mut Connection,
    row: &PodRow,
    change: Change<'_>,
) -> Result<Applied, DbError> {
    let transition = match legal(row, change.event) {
        Ok(transition) => transition,
        Err(illegal) => return Ok(Applied::Illegal(illegal)),
    };
    let mut after = after(row, transition, &change);
    if after == (PodRow { revision: after.revision, update_ts: after.update_ts, ..row.clone() })
        && !transition.wake
    {
        return Ok(Applied::Done(Box::new(row.clone())));
    }
    // Tags never change, so what is derived from them before the transaction holds in it.
    let start = match start_of(conn, row, &mut after, transition, &change).await? {
        Ok(start) => start,
        Err(error) => return Ok(Applied::Underivable(error)),
    };
    conn.transaction(async |conn| {
        if !write(conn, row, &after, change.fence.as_ref()).await? {
            return Ok(Applied::Moved);
        }
        write_companions(conn, row, &after, transition, &change, &start).await?;
        Ok(Applied::Done(Box::new(after)))
    })
    .await
}

async fn write(
    conn: &mut Connection,
    before: &PodRow,
    after: &PodRow,
    fence: Option<&Fence>,
) -> Result<bool, DbError> {
    let count = diesel::update(pods::table.find(before.uid))
        .filter(pods::revision.eq(before.revision))
        .filter(still_held!(fence))
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
