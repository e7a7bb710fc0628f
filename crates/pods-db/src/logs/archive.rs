//! Older runs, compressed: one row each instead of hundreds of chunks.
//!
//! [`load`], [`compress`] and [`store`] are apart because compressing takes the processor for a while and belongs on a
//! thread of its own.

use std::io::{self, Read, Write};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use uuid::Uuid;

use super::{
    RING_BYTES, Wanted, last_lines,
    marks::{self, Mark},
    read, runs,
};
use crate::{Connection, DbError};

/// Archived runs of a pod that are kept beside those in chunks.
pub const ARCHIVES_MAX: i64 = 10;

/// The log of a run on its way into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Vec<u8>,
    /// Relative to the first byte.
    marks: Vec<Mark>,
    last_ts: Option<DateTime<Utc>>,
    /// The offset behind the last byte of the run when it was read.
    log_end: i64,
}

/// A compressed log.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Archive {
    #[diesel(sql_type = Binary)]
    archive: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    archive_bytes: i64,
    #[diesel(sql_type = Binary)]
    archive_marks: Vec<u8>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    archive_last: Option<DateTime<Utc>>,
    #[diesel(sql_type = BigInt)]
    log_end: i64,
}

#[derive(diesel::QueryableByName)]
struct RunId {
    #[diesel(sql_type = SqlUuid)]
    run_id: Uuid,
}

/// Runs, of one pod or of all, that `keep` newer ones have made old enough to be archived; the oldest first.
pub async fn due(
    conn: &mut Connection,
    pod_uid: Option<Uuid>,
    keep: i64,
    limit: i64,
) -> Result<Vec<Uuid>, DbError> {
    let found: Vec<RunId> = diesel::sql_query(
        "SELECT run_id FROM pod_log_runs AS run WHERE superseded AND archive IS NULL \
         AND ($1 IS NULL OR pod_uid = $1) AND (SELECT count(*) FROM pod_log_runs AS newer \
             WHERE newer.pod_uid = run.pod_uid AND newer.run_index > run.run_index) >= $2 \
         ORDER BY run_index LIMIT $3",
    )
    .bind::<Nullable<SqlUuid>, _>(pod_uid)
    .bind::<BigInt, _>(keep)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(found.into_iter().map(|run| run.run_id).collect())
}

/// Drops runs, of one pod or of all, that more than `keep` and [`ARCHIVES_MAX`] newer ones have made too many; at most
/// `limit`, since their logs go with them. Answers how many.
pub async fn drop_oldest(
    conn: &mut Connection,
    pod_uid: Option<Uuid>,
    keep: i64,
    limit: i64,
) -> Result<usize, DbError> {
    diesel::sql_query(
        "DELETE FROM pod_log_runs WHERE run_id IN (\
             SELECT run_id FROM pod_log_runs AS run WHERE superseded AND ($1 IS NULL OR pod_uid = $1) \
             AND (SELECT count(*) FROM pod_log_runs AS newer \
                 WHERE newer.pod_uid = run.pod_uid AND newer.run_index > run.run_index) >= $2 LIMIT $3)",
    )
    .bind::<Nullable<SqlUuid>, _>(pod_uid)
    .bind::<BigInt, _>(keep + ARCHIVES_MAX)
    .bind::<BigInt, _>(limit)
    .execute(conn)
    .await
}

/// The whole log of a run in chunks.
pub async fn load(conn: &mut Connection, run_id: Uuid) -> Result<Content, DbError> {
    // First, so that what is appended meanwhile is missed here and not there.
    let log_end = runs::place(conn, run_id).await?.map_or(0, |place| place.log_end);
    #[derive(diesel::QueryableByName)]
    struct Times {
        #[diesel(sql_type = Binary)]
        marks: Vec<u8>,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        last_ts: Option<DateTime<Utc>>,
    }
    let start = read::start(conn, run_id, Wanted::default()).await?;
    let bytes = read::read(conn, run_id, Wanted::default()).await?;
    let times: Vec<Times> = diesel::sql_query(
        "SELECT marks, last_ts FROM pod_log_chunks WHERE instance_id = $1 ORDER BY log_offset",
    )
    .bind::<SqlUuid, _>(run_id)
    .load(conn)
    .await?;
    let last_ts = times.iter().filter_map(|times| times.last_ts).max();
    let within =
        times.iter().flat_map(|times| marks::unpack(&times.marks)).filter(|mark| mark.offset >= start);
    let marks = marks::merge(within.map(|mark| Mark { offset: mark.offset - start, ..mark }));
    Ok(Content { bytes, marks, last_ts, log_end })
}

/// Compresses a log.
///
/// # Errors
/// Never in practice: it writes to memory.
pub fn compress(content: &Content) -> io::Result<Archive> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&content.bytes)?;
    Ok(Archive {
        archive: encoder.finish()?,
        archive_bytes: i64::try_from(content.bytes.len()).unwrap_or(i64::MAX),
        archive_marks: marks::pack(&content.marks),
        archive_last: content.last_ts,
        log_end: content.log_end,
    })
}

/// Puts the archive in the place of the chunks; `false` when something was appended since they were read, or the run is
/// gone: then nothing happens.
pub async fn store(conn: &mut Connection, run_id: Uuid, archive: &Archive) -> Result<bool, DbError> {
    conn.transaction(async |conn| {
        let stored = diesel::sql_query(
            "UPDATE pod_log_runs SET archive = $2, archive_bytes = $3, archive_marks = $4, archive_last = $5 \
             WHERE run_id = $1 AND superseded AND archive IS NULL AND log_end = $6",
        )
        .bind::<SqlUuid, _>(run_id)
        .bind::<Binary, _>(&archive.archive)
        .bind::<BigInt, _>(archive.archive_bytes)
        .bind::<Binary, _>(&archive.archive_marks)
        .bind::<Nullable<Timestamptz>, _>(archive.archive_last)
        .bind::<BigInt, _>(archive.log_end)
        .execute(conn)
        .await?;
        if stored == 1 {
            diesel::sql_query("DELETE FROM pod_log_chunks WHERE instance_id = $1")
                .bind::<SqlUuid, _>(run_id)
                .execute(conn)
                .await?;
        }
        Ok(stored == 1)
    })
    .await
}

/// The archive of a run; `None` when it has none, or is gone.
pub async fn get(conn: &mut Connection, run_id: Uuid) -> Result<Option<Archive>, DbError> {
    diesel::sql_query(
        "SELECT archive, archive_bytes, coalesce(archive_marks, '') AS archive_marks, archive_last, log_end \
         FROM pod_log_runs WHERE run_id = $1 AND archive IS NOT NULL",
    )
    .bind::<SqlUuid, _>(run_id)
    .get_result(conn)
    .await
    .optional()
}

impl Archive {
    /// What is wanted of it. Takes the processor for a while.
    ///
    /// # Errors
    /// An archive that is damaged.
    pub fn read(&self, wanted: Wanted) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        GzDecoder::new(self.archive.as_slice()).take(RING_BYTES as u64).read_to_end(&mut all)?;
        let mut start = 0;
        if let Some(since) = wanted.since {
            start = match self.archive_last {
                Some(last) if last < since => all.len(),
                _ => {
                    usize::try_from(marks::start(0, &marks::unpack(&self.archive_marks), since)).unwrap_or(0)
                }
            };
        }
        let kept = &all[start.min(all.len())..];
        let start = wanted.tail.and_then(|lines| last_lines(kept, lines).ok()).unwrap_or(0);
        Ok(kept[start..].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_gives_back_what_went_in() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let content = Content {
            bytes: b"one\ntwo \xff\0\nthree\n".to_vec(),
            marks: vec![Mark { offset: 0, at: at(1) }, Mark { offset: 11, at: at(3) }],
            last_ts: Some(at(3)),
            log_end: 20,
        };
        let archive = compress(&content).unwrap();
        let read = |tail, since| archive.read(Wanted { tail, since }).unwrap();
        assert_eq!(read(None, None), content.bytes);
        assert_eq!(read(Some(1), None), b"three\n");
        assert_eq!(read(Some(9), None), content.bytes);
        assert_eq!(read(None, Some(at(3))), b"three\n");
        assert_eq!(read(None, Some(at(4))), b"");
        let empty = compress(&Content { bytes: Vec::new(), marks: Vec::new(), last_ts: None, log_end: 0 });
        let empty = empty.unwrap();
        assert_eq!(empty.read(Wanted::default()).unwrap(), b"");
    }
}
