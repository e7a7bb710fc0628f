//! The log of a pod's current or last container: a ring of [`RING_BYTES`], in chunks.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures::TryStreamExt;
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

/// Merges small chunks and drops the oldest ones that lie outside of the ring. Call it now and then per run.
///
/// Postgres does the work: no log travels. A merged chunk takes the place of its oldest part, so that what is
/// appended meanwhile stays the newest.
pub async fn compact_and_trim(conn: &mut Connection, instance_id: Uuid) -> Result<(), DbError> {
    conn.transaction(async |conn| {
        let chunks: Vec<Chunk> = diesel::sql_query(
            "SELECT id, octet_length(content) AS bytes FROM pod_log_chunks \
             WHERE instance_id = $1 ORDER BY id FOR UPDATE",
        )
        .bind::<SqlUuid, _>(instance_id)
        .load(conn)
        .await?;
        let plan = plan(&chunks);
        let mut gone = plan.outside;
        for group in plan.groups {
            let (first, rest) = group.split_first().expect("a group has at least two members");
            diesel::sql_query(
                "UPDATE pod_log_chunks SET content = (SELECT string_agg(part.content, ''::bytea ORDER BY part.id) \
                 FROM pod_log_chunks AS part WHERE part.id = ANY ($2)) WHERE id = $1",
            )
            .bind::<BigInt, _>(first)
            .bind::<Array<BigInt>, _>(&group)
            .execute(conn)
            .await?;
            gone.extend(rest);
        }
        diesel::delete(pod_log_chunks::table.filter(pod_log_chunks::id.eq_any(gone))).execute(conn).await?;
        Ok(())
    })
    .await
}

#[derive(diesel::QueryableByName)]
struct Chunk {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Integer)]
    bytes: i32,
}

impl Chunk {
    fn size(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or_default()
    }
}

/// What a run of the compaction does.
struct Plan {
    /// Chunks of which no byte is within the ring.
    outside: Vec<i64>,
    /// Neighbours that become one chunk.
    groups: Vec<Vec<i64>>,
}

fn plan(chunks: &[Chunk]) -> Plan {
    let mut newer = chunks.iter().map(Chunk::size).sum::<usize>();
    let (mut outside, mut groups) = (Vec::new(), Vec::new());
    let (mut group, mut group_bytes) = (Vec::new(), 0);
    for chunk in chunks {
        newer -= chunk.size();
        if newer > RING_BYTES {
            outside.push(chunk.id);
            continue;
        }
        if group_bytes + chunk.size() > MERGED_BYTES {
            groups.push(std::mem::take(&mut group));
            group_bytes = 0;
        }
        group.push(chunk.id);
        group_bytes += chunk.size();
    }
    groups.push(group);
    groups.retain(|group| group.len() > 1);
    Plan { outside, groups }
}

/// The log that users see: the newest [`RING_BYTES`] of the newest run that wrote anything, cut at a line.
pub async fn read(conn: &mut Connection, pod_uid: Uuid) -> Result<Vec<u8>, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Piece {
        #[diesel(sql_type = Binary)]
        content: Vec<u8>,
    }
    // A chunk counts while the ones after it leave room in the ring.
    let mut pieces = diesel::sql_query(
        "SELECT content FROM (SELECT id, content, sum(octet_length(content)) \
           OVER (ORDER BY id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer \
           FROM pod_log_chunks WHERE pod_uid = $1) AS sized \
         WHERE coalesce(newer, 0) <= $2 ORDER BY id",
    )
    .bind::<SqlUuid, _>(pod_uid)
    .bind::<BigInt, _>(RING_BYTES as i64)
    .load_stream::<Piece>(conn)
    .await?;
    let mut all = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece.content);
    }
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
    fn compaction_merges_neighbours_and_drops_what_is_outside_of_the_ring() {
        let chunks = |sizes: &[usize]| -> Vec<Chunk> {
            let size = |(id, bytes): (usize, &usize)| Chunk { id: id as i64, bytes: *bytes as i32 };
            sizes.iter().enumerate().map(size).collect()
        };
        let done = plan(&chunks(&[10, 20, MERGED_BYTES, 5, 6, 7]));
        assert_eq!((done.outside, done.groups), (vec![], vec![vec![0, 1], vec![3, 4, 5]]));
        let done = plan(&chunks(&[9, 1, RING_BYTES, 1]));
        assert_eq!(
            (done.outside, done.groups),
            (vec![0, 1], vec![]),
            "the chunk that crosses the edge stays"
        );
        let done = plan(&[]);
        assert!(done.outside.is_empty() && done.groups.is_empty());
    }

    #[test]
    fn the_newest_whole_lines_are_kept() {
        assert_eq!(newest_lines(b"a\nb\nc\n", 10), b"a\nb\nc\n");
        assert_eq!(newest_lines(b"aa\nbb\ncc\n", 6), b"bb\ncc\n");
        assert_eq!(newest_lines(b"aa\nbb\ncc\n", 5), b"cc\n");
        assert_eq!(newest_lines(b"aaaaaaaa", 3), b"aaa");
        assert_eq!(newest_lines(b"aaaa\n", 3), b"aa\n");
    }
}
