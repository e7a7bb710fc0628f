//! Storing what containers write.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    CHANNEL,
    marks::{self, Mark},
};
use crate::{Connection, DbError};

/// A notification holds 8000 bytes; a uid is 32 of them and a comma.
const UIDS_PER_NOTIFICATION: usize = 200;

/// New bytes of one run and where to resume after them.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The pod.
    pub pod_uid: Uuid,
    /// The run.
    pub run_id: Uuid,
    /// The place of the first byte: the end of what is stored, or further when something was left out.
    pub offset: i64,
    /// What the container wrote.
    pub bytes: &'a [u8],
    /// Where lines begin in it, with their times.
    pub marks: &'a [Mark],
    /// Time stamp of the last line.
    pub resume_ts: DateTime<Utc>,
    /// How many lines with exactly that time stamp are stored, these included.
    pub resume_skip: i32,
}

/// The lease under which a write is made; a former holder's writes are refused.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Name of the lease.
    pub name: String,
    /// Its epoch when it was taken.
    pub epoch: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is stored, but for these runs: they are gone, or somebody else has written to them since.
    All {
        /// Runs of which nothing was stored.
        but: Vec<Uuid>,
    },
    /// The fence no longer holds; nothing was written.
    Fenced,
}

/// The runs move on first, so that nothing is stored for one that is not where the writer believes.
const STORE: &str = "\
WITH new AS ( \
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY \
        AS new (run_id, pod_uid, log_offset, content, marks, resume_ts, resume_skip, position) \
), moved AS ( \
    UPDATE pod_log_runs AS run \
    SET log_end = last.log_end, resume_ts = last.resume_ts, resume_skip = last.resume_skip \
    FROM (SELECT DISTINCT ON (run_id) run_id, log_offset + octet_length(content) AS log_end, resume_ts, resume_skip, \
              min(log_offset) OVER (PARTITION BY run_id) AS first \
          FROM new ORDER BY run_id, position DESC) AS last \
    WHERE run.run_id = last.run_id AND run.log_end <= last.first AND run.archive IS NULL \
    RETURNING run.run_id \
), stored AS ( \
    INSERT INTO pod_log_chunks (pod_uid, instance_id, log_offset, last_ts, marks, content) \
    SELECT pod_uid, run_id, log_offset, resume_ts, marks, content \
    FROM new JOIN moved USING (run_id) WHERE octet_length(content) > 0 ORDER BY position \
) \
SELECT run_id FROM moved";

/// Stores a batch in one statement, together with the places to resume at.
pub async fn append(
    conn: &mut Connection,
    fence: Option<&Fence>,
    batch: &[Append<'_>],
) -> Result<Stored, DbError> {
    conn.transaction(async |conn| {
        if let Some(fence) = fence
            && !holds(conn, fence).await?
        {
            return Ok(Stored::Fenced);
        }
        if batch.is_empty() {
            return Ok(Stored::All { but: Vec::new() });
        }
        let moved: HashSet<Uuid> = store(conn, batch).await?;
        let mut pods: Vec<Uuid> = batch
            .iter()
            .filter(|append| moved.contains(&append.run_id))
            .map(|append| append.pod_uid)
            .collect();
        pods.dedup();
        notify(conn, &pods).await?;
        let mut but: Vec<Uuid> =
            batch.iter().map(|append| append.run_id).filter(|run| !moved.contains(run)).collect();
        but.dedup();
        Ok(Stored::All { but })
    })
    .await
}

async fn store(conn: &mut Connection, batch: &[Append<'_>]) -> Result<HashSet<Uuid>, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Moved {
        #[diesel(sql_type = SqlUuid)]
        run_id: Uuid,
    }
    let runs: Vec<Uuid> = batch.iter().map(|append| append.run_id).collect();
    let pods: Vec<Uuid> = batch.iter().map(|append| append.pod_uid).collect();
    let offsets: Vec<i64> = batch.iter().map(|append| append.offset).collect();
    let contents: Vec<&[u8]> = batch.iter().map(|append| append.bytes).collect();
    let marks: Vec<Vec<u8>> = batch.iter().map(|append| marks::pack(append.marks)).collect();
    let times: Vec<DateTime<Utc>> = batch.iter().map(|append| append.resume_ts).collect();
    let skips: Vec<i32> = batch.iter().map(|append| append.resume_skip).collect();
    let moved: Vec<Moved> = diesel::sql_query(STORE)
        .bind::<Array<SqlUuid>, _>(runs)
        .bind::<Array<SqlUuid>, _>(pods)
        .bind::<Array<BigInt>, _>(offsets)
        .bind::<Array<Binary>, _>(contents)
        .bind::<Array<Binary>, _>(marks)
        .bind::<Array<Timestamptz>, _>(times)
        .bind::<Array<Integer>, _>(skips)
        .load(conn)
        .await?;
    Ok(moved.into_iter().map(|moved| moved.run_id).collect())
}

/// Wakes those who follow the logs of these pods, once the transaction is committed.
async fn notify(conn: &mut Connection, pods: &[Uuid]) -> Result<(), DbError> {
    for pods in pods.chunks(UIDS_PER_NOTIFICATION) {
        let uids: Vec<String> = pods.iter().map(|uid| uid.simple().to_string()).collect();
        diesel::sql_query("SELECT pg_notify($1, $2)")
            .bind::<Text, _>(CHANNEL)
            .bind::<Text, _>(uids.join(","))
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Whether the lease still has the epoch; the row stays locked until the transaction ends, so that nobody can take
/// it over in between.
async fn holds(conn: &mut Connection, fence: &Fence) -> Result<bool, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Epoch {
        #[diesel(sql_type = BigInt)]
        epoch: i64,
    }
    let found: Option<Epoch> = diesel::sql_query("SELECT epoch FROM leases WHERE name = $1 FOR SHARE")
        .bind::<Text, _>(&fence.name)
        .get_result(conn)
        .await
        .optional()?;
    Ok(found.is_some_and(|found| found.epoch == fence.epoch))
}
