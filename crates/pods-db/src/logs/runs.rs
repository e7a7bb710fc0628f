//! The runs of a pod.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{CHANNEL, RING_BYTES};
use crate::{Connection, DbError};

/// A start whose container ran.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Run {
    /// The instance of the start.
    #[diesel(sql_type = SqlUuid)]
    pub run_id: Uuid,
    /// Counts from 1 for each pod.
    #[diesel(sql_type = Integer)]
    pub run_index: i32,
    /// When its container began to run.
    #[diesel(sql_type = Timestamptz)]
    pub started_at: DateTime<Utc>,
    /// When its end was seen; `None` while it runs.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub stopped_at: Option<DateTime<Utc>>,
    /// How much of its log is kept, in bytes.
    #[diesel(sql_type = BigInt)]
    pub log_size_bytes: i64,
    /// The offset behind the last byte.
    #[diesel(sql_type = BigInt)]
    pub log_end: i64,
    /// Whether its log is compressed.
    #[diesel(sql_type = Bool)]
    pub is_archived: bool,
}

/// Where the log of a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The offset behind the last byte.
    pub log_end: i64,
    /// Time stamp of the last line; `None` before the first.
    pub resume_ts: Option<DateTime<Utc>>,
    /// How many lines with exactly that time stamp are stored.
    pub resume_skip: i32,
    /// How many chunks there are.
    pub chunks: usize,
}

fn query(condition: &str) -> String {
    format!(
        "SELECT run_id, run_index, started_at, stopped_at, log_end, archive IS NOT NULL AS is_archived, \
         CASE WHEN archive IS NOT NULL THEN archive_bytes ELSE least({RING_BYTES}, coalesce((\
         SELECT sum(octet_length(content)) FROM pod_log_chunks WHERE instance_id = run_id), 0)) END AS log_size_bytes \
         FROM pod_log_runs WHERE pod_uid = $1 AND {condition}"
    )
}

/// The runs of a pod that are kept, newest first.
pub async fn list(conn: &mut Connection, pod_uid: Uuid) -> Result<Vec<Run>, DbError> {
    diesel::sql_query(query("true ORDER BY run_index DESC")).bind::<SqlUuid, _>(pod_uid).load(conn).await
}

/// One run of a pod.
pub async fn get(conn: &mut Connection, pod_uid: Uuid, run_index: i32) -> Result<Option<Run>, DbError> {
    diesel::sql_query(query("run_index = $2"))
        .bind::<SqlUuid, _>(pod_uid)
        .bind::<Integer, _>(run_index)
        .get_result(conn)
        .await
        .optional()
}

/// The run of a start of the pod.
pub async fn find(conn: &mut Connection, pod_uid: Uuid, run_id: Uuid) -> Result<Option<Run>, DbError> {
    diesel::sql_query(query("run_id = $2"))
        .bind::<SqlUuid, _>(pod_uid)
        .bind::<SqlUuid, _>(run_id)
        .get_result(conn)
        .await
        .optional()
}

/// The current run, or the last one until another start begins.
pub async fn latest(conn: &mut Connection, pod_uid: Uuid) -> Result<Option<Run>, DbError> {
    diesel::sql_query(query("NOT superseded ORDER BY run_index DESC LIMIT 1"))
        .bind::<SqlUuid, _>(pod_uid)
        .get_result(conn)
        .await
        .optional()
}

/// The oldest run after another one.
pub async fn after(conn: &mut Connection, pod_uid: Uuid, run_index: i32) -> Result<Option<Run>, DbError> {
    diesel::sql_query(query("run_index > $2 ORDER BY run_index LIMIT 1"))
        .bind::<SqlUuid, _>(pod_uid)
        .bind::<Integer, _>(run_index)
        .get_result(conn)
        .await
        .optional()
}

/// Notes that the container of a start runs; once is enough, more does no harm.
pub async fn begin(
    mut conn: &Connection,
    pod_uid: Uuid,
    run_id: Uuid,
    started_at: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::sql_query(
        "WITH begun AS (\
             INSERT INTO pod_log_runs (run_id, pod_uid, run_index, started_at) \
             SELECT $1, $2, coalesce(max(run_index), 0) + 1, $3 FROM pod_log_runs WHERE pod_uid = $2 \
             ON CONFLICT (run_id) DO NOTHING RETURNING pod_uid) \
         SELECT pg_notify($4, replace(pod_uid::text, '-', '')) FROM begun",
    )
    .bind::<SqlUuid, _>(run_id)
    .bind::<SqlUuid, _>(pod_uid)
    .bind::<Timestamptz, _>(started_at)
    .bind::<Text, _>(CHANNEL)
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Where the log of a run stands; `None` when the run is not there.
pub async fn place(conn: &mut Connection, run_id: Uuid) -> Result<Option<Place>, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        log_end: i64,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        resume_ts: Option<DateTime<Utc>>,
        #[diesel(sql_type = Integer)]
        resume_skip: i32,
        #[diesel(sql_type = BigInt)]
        chunks: i64,
    }
    let row: Option<Row> = diesel::sql_query(
        "SELECT log_end, resume_ts, resume_skip, \
         (SELECT count(*) FROM pod_log_chunks WHERE instance_id = run_id) AS chunks \
         FROM pod_log_runs WHERE run_id = $1",
    )
    .bind::<SqlUuid, _>(run_id)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|Row { log_end, resume_ts, resume_skip, chunks }| Place {
        log_end,
        resume_ts,
        resume_skip,
        chunks: usize::try_from(chunks).unwrap_or(usize::MAX),
    }))
}

/// Notes that a run is over; the first time counts.
pub(crate) async fn finish(mut conn: &Connection, run_id: Uuid, at: DateTime<Utc>) -> Result<(), DbError> {
    diesel::sql_query(
        "UPDATE pod_log_runs SET stopped_at = greatest($2, started_at) WHERE run_id = $1 AND stopped_at IS NULL",
    )
    .bind::<SqlUuid, _>(run_id)
    .bind::<Timestamptz, _>(at)
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Notes that a start has begun: no earlier run is the last one any more.
pub(crate) async fn supersede(
    mut conn: &Connection,
    pod_uid: Uuid,
    run_id: Uuid,
    at: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::sql_query(
        "UPDATE pod_log_runs SET superseded = true, stopped_at = coalesce(stopped_at, greatest($3, started_at)) \
         WHERE pod_uid = $1 AND run_id <> $2 AND NOT superseded",
    )
    .bind::<SqlUuid, _>(pod_uid)
    .bind::<SqlUuid, _>(run_id)
    .bind::<Timestamptz, _>(at)
    .execute(&mut conn)
    .await?;
    Ok(())
}
