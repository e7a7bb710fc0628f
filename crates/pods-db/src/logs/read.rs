//! Reading what containers wrote.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::TryStreamExt;
use uuid::Uuid;

use super::{RING_BYTES, last_lines, marks, newest_lines, runs};
use crate::{Connection, DbError};

/// Chunks that are read at once while lines are counted from the end.
const PAGE: i64 = 4;

/// Which part of a log to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only lines of this time and later; a few earlier ones may come with them.
    pub since: Option<DateTime<Utc>>,
}

/// Some bytes of a run.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Piece {
    /// The place of the first byte.
    #[diesel(sql_type = BigInt)]
    pub offset: i64,
    /// What the container wrote.
    #[diesel(sql_type = Binary)]
    pub bytes: Vec<u8>,
}

/// Where the wanted part of a run begins. The run must not be archived.
pub async fn start(conn: &mut Connection, run_id: Uuid, wanted: Wanted) -> Result<i64, DbError> {
    let mut start = ring(conn, run_id).await?;
    if let Some(since) = wanted.since {
        start = start.max(since_start(conn, run_id, since).await?);
    }
    if let Some(lines) = wanted.tail {
        start = start.max(tail_start(conn, run_id, start, lines).await?);
    }
    Ok(start)
}

/// What is wanted of a run. The run must not be archived.
pub async fn read(conn: &mut Connection, run_id: Uuid, wanted: Wanted) -> Result<Vec<u8>, DbError> {
    let start = start(conn, run_id, wanted).await?;
    let mut pieces = pieces(run_id, start, i64::MAX, i32::MAX).load_stream::<Piece>(conn).await?;
    let mut all = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece.bytes);
    }
    Ok(all)
}

/// The log of the newest run, until another start begins.
pub async fn of_latest(conn: &mut Connection, pod_uid: Uuid) -> Result<Vec<u8>, DbError> {
    match runs::latest(conn, pod_uid).await? {
        Some(run) => read(conn, run.run_id, Wanted::default()).await,
        None => Ok(Vec::new()),
    }
}

/// The next bytes of a run from a place on, at most `limit`. Their place is a later one when something is missing.
pub async fn next(
    conn: &mut Connection,
    run_id: Uuid,
    from: i64,
    limit: i32,
) -> Result<Option<Piece>, DbError> {
    pieces(run_id, from, 1, limit).get_result(conn).await.optional()
}

type Pieces = diesel::query_builder::BoxedSqlQuery<'static, diesel::pg::Pg, diesel::query_builder::SqlQuery>;

/// At most `rows` pieces of at most `limit` bytes. The inner query finds the chunk that the place lies in.
fn pieces(run_id: Uuid, from: i64, rows: i64, limit: i32) -> Pieces {
    diesel::sql_query(
        "SELECT greatest(log_offset, $2) AS offset, \
             substring(content FROM greatest($2 - log_offset, 0)::integer + 1 FOR $4) AS bytes \
         FROM pod_log_chunks WHERE instance_id = $1 \
           AND log_offset >= coalesce((SELECT max(log_offset) FROM pod_log_chunks \
               WHERE instance_id = $1 AND log_offset <= $2), 0) \
           AND log_offset + octet_length(content) > $2 \
         ORDER BY log_offset LIMIT $3",
    )
    .into_boxed::<diesel::pg::Pg>()
    .bind::<SqlUuid, _>(run_id)
    .bind::<BigInt, _>(from)
    .bind::<BigInt, _>(rows)
    .bind::<Integer, _>(limit)
}

#[derive(diesel::QueryableByName)]
struct Chunk {
    #[diesel(sql_type = BigInt)]
    log_offset: i64,
    #[diesel(sql_type = Binary)]
    content: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> i64 {
        self.log_offset + i64::try_from(self.content.len()).unwrap_or(i64::MAX)
    }
}

/// Where the ring begins: at a line, once something lies outside of it.
async fn ring(conn: &mut Connection, run_id: Uuid) -> Result<i64, DbError> {
    // The chunk in which the byte lies that is just outside, if there is one.
    let edge: Option<Chunk> = diesel::sql_query(
        "SELECT log_offset, content FROM (\
           SELECT id, log_offset, octet_length(content) AS bytes, sum(octet_length(content)) \
             OVER (ORDER BY log_offset DESC) AS newest FROM pod_log_chunks WHERE instance_id = $1) AS sized \
         JOIN pod_log_chunks USING (id, log_offset) WHERE newest > $2 ORDER BY log_offset DESC LIMIT 1",
    )
    .bind::<SqlUuid, _>(run_id)
    .bind::<BigInt, _>(RING_BYTES as i64)
    .get_result(conn)
    .await
    .optional()?;
    let Some(edge) = edge else { return Ok(0) };
    let end = edge.end();
    let newer: i64 = bytes_after(conn, run_id, end).await?;
    let room = RING_BYTES.saturating_sub(usize::try_from(newer).unwrap_or(usize::MAX));
    let kept = newest_lines(&edge.content, room).len();
    Ok(end - i64::try_from(kept).unwrap_or(0))
}

async fn bytes_after(conn: &mut Connection, run_id: Uuid, offset: i64) -> Result<i64, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Sum {
        #[diesel(sql_type = BigInt)]
        bytes: i64,
    }
    let sum: Sum = diesel::sql_query(
        "SELECT coalesce(sum(octet_length(content)), 0)::bigint AS bytes FROM pod_log_chunks \
         WHERE instance_id = $1 AND log_offset >= $2",
    )
    .bind::<SqlUuid, _>(run_id)
    .bind::<BigInt, _>(offset)
    .get_result(conn)
    .await?;
    Ok(sum.bytes)
}

async fn since_start(conn: &mut Connection, run_id: Uuid, since: DateTime<Utc>) -> Result<i64, DbError> {
    #[derive(diesel::QueryableByName)]
    struct First {
        #[diesel(sql_type = BigInt)]
        log_offset: i64,
        #[diesel(sql_type = Binary)]
        marks: Vec<u8>,
    }
    let first: Option<First> = diesel::sql_query(
        "SELECT log_offset, marks FROM pod_log_chunks WHERE instance_id = $1 AND (last_ts >= $2 OR last_ts IS NULL) \
         ORDER BY log_offset LIMIT 1",
    )
    .bind::<SqlUuid, _>(run_id)
    .bind::<Timestamptz, _>(since)
    .get_result(conn)
    .await
    .optional()?;
    Ok(first.map_or(i64::MAX, |first| marks::start(first.log_offset, &marks::unpack(&first.marks), since)))
}

/// Reads chunks from the end until there are enough lines.
async fn tail_start(conn: &mut Connection, run_id: Uuid, from: i64, lines: u64) -> Result<i64, DbError> {
    let (mut left, mut before, mut start) = (lines, i64::MAX, i64::MAX);
    loop {
        let page: Vec<Chunk> = diesel::sql_query(
            "SELECT log_offset, content FROM pod_log_chunks WHERE instance_id = $1 AND log_offset < $2 \
             AND log_offset + octet_length(content) > $3 ORDER BY log_offset DESC LIMIT $4",
        )
        .bind::<SqlUuid, _>(run_id)
        .bind::<BigInt, _>(before)
        .bind::<BigInt, _>(from)
        .bind::<BigInt, _>(PAGE)
        .load(conn)
        .await?;
        if page.is_empty() {
            return Ok(start);
        }
        for chunk in page {
            // The line feed at the end of an older chunk separates its last line from the next one.
            let separates = start != i64::MAX && chunk.content.last() == Some(&b'\n');
            if separates {
                left -= 1;
                if left == 0 {
                    return Ok(start);
                }
            }
            match last_lines(&chunk.content, left) {
                Ok(at) => return Ok(chunk.log_offset + i64::try_from(at).unwrap_or(0)),
                Err(rest) => left = rest,
            }
            (before, start) = (chunk.log_offset, chunk.log_offset);
        }
    }
}
