//! Stops pods whose time has passed.

use chrono::{DateTime, Utc};
use pods_db::{
    Connection, DbError,
    pods::PodRow,
    transitions::{self, Change},
};

use crate::{
    decide::{self, Step},
    shards::Shards,
};

/// Stops those of our shares, each under its share's lease: of two replicas one does. A deadline that a user moves at
/// this moment wins: the write is compare-and-set.
pub async fn pass(
    conn: &mut Connection,
    site_id: &str,
    shards: &Shards,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let uids = PodRow::expired(conn, site_id, now).await?;
    for uid in uids {
        let Some(fence) = shards.fence(uid) else { continue };
        let Step::Record(record) = decide::expired() else { continue };
        // One at a time: a thousand definitions at once could be more than fits into memory.
        let Some(row) = PodRow::by_uid(conn, uid).await? else { continue };
        if row.time_to_stop_ts.is_none_or(|at| at > now) {
            continue;
        }
        let change =
            Change::new(record.event, now).because(record.because.clone()).log(&record.log).under(fence);
        let outcome = transitions::apply(conn, &row, change).await?;
        tracing::info!(pod.uid = %row.uid, pod.id = row.pod_id, outcome = outcome.label(), "time to stop has passed");
    }
    Ok(())
}
