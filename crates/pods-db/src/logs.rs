//! The log of a pod's current or last container: a ring of [`RING_BYTES`], in chunks.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use crate::{
    Connection, DbError,
    schema::{pod_instances, pod_log_chunks},
};

/// How much of a log is kept, in bytes.
pub const RING_BYTES: usize = 10 * 1024 * 1024;
/// How many chunks a run may have before they are merged.
pub const CHUNKS_MAX: usize = 512;
/// Chunks of merged logs have about this size, in bytes, so that dropping the oldest stays cheap.
const MERGED_BYTES: usize = 256 * 1024;

/// New bytes of one container's log and where to resume after them.
#[derive(Debug, Clone)]
pub struct Append {
    /// The pod.
    pub pod_uid: Uuid,
    /// The start.
    pub instance_id: Uuid,
    /// Whole lines, as the container wrote them.
    pub bytes: Vec<u8>,
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

/// Stores a batch in one insert, together with the places to resume at. `false` when the fence no longer holds;
/// nothing was written then.
pub async fn append(conn: &mut Connection, fence: Option<&Fence>, batch: &[Append]) -> Result<bool, DbError> {
    conn.transaction(async |conn| {
        if let Some(fence) = fence
            && !holds(conn, fence).await?
        {
            return Ok(false);
        }
        let rows: Vec<_> = batch
            .iter()
            .filter(|append| !append.bytes.is_empty())
            .map(|append| {
                (
                    pod_log_chunks::pod_uid.eq(append.pod_uid),
                    pod_log_chunks::instance_id.eq(append.instance_id),
                    pod_log_chunks::content.eq(append.bytes.as_slice()),
                )
            })
            .collect();
        diesel::insert_into(pod_log_chunks::table).values(rows).execute(conn).await?;
        for append in batch {
            diesel::update(pod_instances::table.find(append.instance_id))
                .set((
                    pod_instances::log_resume_ts.eq(append.resume_ts),
                    pod_instances::log_resume_skip.eq(append.resume_skip),
                ))
                .execute(conn)
                .await?;
        }
        Ok(true)
    })
    .await
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

/// Merges small chunks and drops the oldest bytes beyond the ring, cut at a line. Call it now and then per run.
///
/// The merged chunks take the places of the oldest ones, so that what is appended meanwhile stays the newest.
pub async fn compact_and_trim(conn: &mut Connection, instance_id: Uuid) -> Result<(), DbError> {
    conn.transaction(async |conn| {
        let (ids, contents): (Vec<i64>, Vec<Vec<u8>>) = pod_log_chunks::table
            .filter(pod_log_chunks::instance_id.eq(instance_id))
            .order(pod_log_chunks::id)
            .select((pod_log_chunks::id, pod_log_chunks::content))
            .for_update()
            .load::<(i64, Vec<u8>)>(conn)
            .await?
            .into_iter()
            .unzip();
        if ids.is_empty() {
            return Ok(());
        }
        let all = contents.concat();
        let kept = newest_lines(&all, RING_BYTES);
        // Never more pieces than places.
        let size = kept.len().div_ceil(ids.len()).max(MERGED_BYTES);
        let mut places = ids.into_iter();
        for (piece, id) in kept.chunks(size).zip(&mut places) {
            diesel::update(pod_log_chunks::table.find(id))
                .set(pod_log_chunks::content.eq(piece))
                .execute(conn)
                .await?;
        }
        let left: Vec<i64> = places.collect();
        diesel::delete(pod_log_chunks::table.filter(pod_log_chunks::id.eq_any(left))).execute(conn).await?;
        Ok(())
    })
    .await
}

/// The log that users see: the newest [`RING_BYTES`] of the newest run that wrote anything, cut at a line.
pub async fn read(conn: &mut Connection, pod_uid: Uuid) -> Result<Vec<u8>, DbError> {
    let chunks: Vec<Vec<u8>> = pod_log_chunks::table
        .filter(pod_log_chunks::pod_uid.eq(pod_uid))
        .order(pod_log_chunks::id)
        .select(pod_log_chunks::content)
        .load(conn)
        .await?;
    let mut all = chunks.concat();
    let dropped = all.len() - newest_lines(&all, RING_BYTES).len();
    all.drain(..dropped);
    Ok(all)
}

/// Drops the logs of a pod's earlier runs, when a new one begins.
pub(crate) async fn drop_others(
    mut conn: &Connection,
    pod_uid: Uuid,
    instance_id: Uuid,
) -> Result<(), DbError> {
    diesel::delete(
        pod_log_chunks::table
            .filter(pod_log_chunks::pod_uid.eq(pod_uid))
            .filter(pod_log_chunks::instance_id.ne(instance_id)),
    )
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// The newest whole lines that fit in `limit` bytes; a single longer line keeps its end.
pub fn newest_lines(all: &[u8], limit: usize) -> &[u8] {
    if all.len() <= limit {
        return all;
    }
    let cut = all.len() - limit;
    // The byte before the cut may be the end of a line: then the cut is at a line already.
    match all[cut - 1..].iter().position(|byte| *byte == b'\n') {
        Some(at) if cut + at < all.len() => &all[cut + at..],
        _ => &all[cut..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_lines_are_kept() {
        assert_eq!(newest_lines(b"a\nb\nc\n", 10), b"a\nb\nc\n");
        assert_eq!(newest_lines(b"aa\nbb\ncc\n", 6), b"bb\ncc\n");
        assert_eq!(newest_lines(b"aa\nbb\ncc\n", 5), b"cc\n");
        assert_eq!(newest_lines(b"aaaaaaaa", 3), b"aaa");
        assert_eq!(newest_lines(b"aaaa\n", 3), b"aa\n");
    }
}
