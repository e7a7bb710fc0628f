//! Few chunks per run, however slowly it writes, and not more than the ring, however fast.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    RING_BYTES,
    marks::{self, Mark},
};
use crate::{Connection, DbError, schema::pod_log_chunks};

/// Chunks of merged logs have about this size, in bytes, so that dropping the oldest stays cheap.
const MERGED_BYTES: usize = 256 * 1024;

#[derive(diesel::QueryableByName)]
struct Chunk {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    log_offset: i64,
    #[diesel(sql_type = Integer)]
    bytes: i32,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    last_ts: Option<DateTime<Utc>>,
    #[diesel(sql_type = Binary)]
    marks: Vec<u8>,
}

/// Merges small chunks and drops the oldest ones that lie outside of the ring. Call it now and then per run.
///
/// Postgres does the work: no log travels. A merged chunk takes the place of its oldest part, so every byte keeps its
/// offset, and what is appended meanwhile stays the newest. Answers how many bytes were dropped.
pub async fn compact_and_trim(conn: &mut Connection, run_id: Uuid) -> Result<usize, DbError> {
    conn.transaction(async |conn| {
        let chunks: Vec<Chunk> = diesel::sql_query(
            "SELECT id, log_offset, octet_length(content) AS bytes, last_ts, marks FROM pod_log_chunks \
             WHERE instance_id = $1 ORDER BY log_offset FOR UPDATE",
        )
        .bind::<SqlUuid, _>(run_id)
        .load(conn)
        .await?;
        let plan = plan(&chunks);
        let mut gone: Vec<i64> = plan.outside.iter().map(|chunk| chunk.id).collect();
        let dropped = plan.outside.iter().map(|chunk| chunk.size()).sum();
        for group in plan.groups {
            let ids: Vec<i64> = group.iter().map(|chunk| chunk.id).collect();
            let marks: Vec<Mark> = marks::merge(group.iter().flat_map(|chunk| marks::unpack(&chunk.marks)));
            diesel::sql_query(
                "UPDATE pod_log_chunks SET marks = $3, last_ts = $4, content = (\
                 SELECT string_agg(part.content, ''::bytea ORDER BY part.log_offset) \
                 FROM pod_log_chunks AS part WHERE part.id = ANY ($2)) WHERE id = $1",
            )
            .bind::<BigInt, _>(ids[0])
            .bind::<Array<BigInt>, _>(&ids)
            .bind::<Binary, _>(marks::pack(&marks))
            .bind::<Nullable<Timestamptz>, _>(group.iter().filter_map(|chunk| chunk.last_ts).max())
            .execute(conn)
            .await?;
            gone.extend(&ids[1..]);
        }
        diesel::delete(pod_log_chunks::table.filter(pod_log_chunks::id.eq_any(gone))).execute(conn).await?;
        Ok(dropped)
    })
    .await
}

impl Chunk {
    fn size(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or_default()
    }

    fn end(&self) -> i64 {
        self.log_offset + i64::from(self.bytes)
    }
}

/// What a run of the compaction does.
struct Plan<'a> {
    /// Chunks of which no byte is within the ring.
    outside: Vec<&'a Chunk>,
    /// Neighbours that become one chunk.
    groups: Vec<Vec<&'a Chunk>>,
}

fn plan(chunks: &[Chunk]) -> Plan<'_> {
    let mut newer = chunks.iter().map(Chunk::size).sum::<usize>();
    let (mut outside, mut groups) = (Vec::new(), Vec::new());
    let mut group: Vec<&Chunk> = Vec::new();
    for chunk in chunks {
        newer -= chunk.size();
        if newer > RING_BYTES {
            outside.push(chunk);
            continue;
        }
        let full = group.iter().map(|part| part.size()).sum::<usize>() + chunk.size() > MERGED_BYTES;
        // Where something was left out, a merged chunk would hide it.
        let apart = group.last().is_some_and(|last| last.end() != chunk.log_offset);
        if full || apart {
            groups.push(std::mem::take(&mut group));
        }
        group.push(chunk);
    }
    groups.push(group);
    groups.retain(|group| group.len() > 1);
    Plan { outside, groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(sizes: &[usize]) -> Vec<Chunk> {
        let mut offset = 0;
        let chunk = |(id, bytes): (usize, &usize)| {
            let chunk = Chunk {
                id: id as i64,
                log_offset: offset,
                bytes: *bytes as i32,
                last_ts: None,
                marks: Vec::new(),
            };
            offset += *bytes as i64;
            chunk
        };
        sizes.iter().enumerate().map(chunk).collect()
    }

    fn planned(chunks: &[Chunk]) -> (Vec<i64>, Vec<Vec<i64>>) {
        let ids = |chunks: &[&Chunk]| chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>();
        let plan = plan(chunks);
        (ids(&plan.outside), plan.groups.iter().map(|group| ids(group)).collect())
    }

    #[test]
    fn neighbours_are_merged_and_what_is_outside_of_the_ring_is_dropped() {
        assert_eq!(
            planned(&chunks(&[10, 20, MERGED_BYTES, 5, 6, 7])),
            (vec![], vec![vec![0, 1], vec![3, 4, 5]])
        );
        let edge = planned(&chunks(&[9, 1, RING_BYTES, 1]));
        assert_eq!(edge, (vec![0, 1], vec![]), "the chunk that crosses the edge stays");
        assert_eq!(planned(&[]), (vec![], vec![]));
    }

    #[test]
    fn what_is_not_next_to_each_other_is_not_merged() {
        let mut apart = chunks(&[5, 5, 5, 5]);
        apart[2].log_offset += 1;
        apart[3].log_offset += 1;
        assert_eq!(planned(&apart), (vec![], vec![vec![0, 1], vec![2, 3]]));
    }
}
