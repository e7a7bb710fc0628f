//! The feed for whoever keeps a copy of all pods: what is committed, at once.
//!
//! [`super::read`] goes by a cursor, so that it has to wait for the oldest transaction that still runs. Whoever only wants
//! to know which pods to read again needs no order: a look remembers its snapshot, and the next one finds what that
//! snapshot did not see. Two readers that look at the same moment know the same, whatever else runs on the server.

use diesel::sql_types::{Array, BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{ChangesError, Cursor, PRUNED};
use crate::{Connection, DbError};

/// Which transactions a look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    text: String,
    xmin: i64,
    xmax: i64,
}

/// Which changes a copy of the pods holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    /// All before this place.
    pub cursor: Cursor,
    /// None of this transaction or a later one; of those in between it may hold some. [`UNKNOWN`] when nobody knows.
    pub below: i64,
}

/// An extent without a known end.
pub const UNKNOWN: i64 = i64::MAX;

/// What became known since a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// What was seen by now.
    pub seen: Snapshot,
    /// The pods that changed, each once.
    pub pods: Vec<Uuid>,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    text: String,
    #[diesel(sql_type = BigInt)]
    xmin: i64,
    #[diesel(sql_type = BigInt)]
    xmax: i64,
    /// Up to which transaction changes were pruned.
    #[diesel(sql_type = Nullable<BigInt>)]
    pruned: Option<i64>,
    #[diesel(sql_type = Array<diesel::sql_types::Uuid>)]
    pods: Vec<Uuid>,
}

impl Snapshot {
    /// Everything before this place was seen.
    pub fn cursor(&self) -> Cursor {
        Cursor { xid: self.xmin, id: 0 }
    }

    /// Nothing of this transaction or a later one was seen.
    pub fn below(&self) -> i64 {
        self.xmax
    }

    /// Whether the database cannot be the one, in the state or a later one, that a copy of this extent was made from.
    pub fn is_before(&self, extent: &Extent) -> bool {
        self.cursor() < extent.cursor || (extent.below != UNKNOWN && self.xmax < extent.below)
    }
}

impl Extent {
    /// Of something that ends with the transactions before `xid`.
    pub fn at(xid: i64) -> Self {
        Self { cursor: Cursor { xid, id: 0 }, below: xid }
    }

    /// Whether everything that `other` may hold is certainly in this.
    pub fn covers(&self, other: &Self) -> bool {
        other.below <= self.cursor.xid
    }
}

impl Row {
    fn snapshot(&self) -> Snapshot {
        Snapshot { text: self.text.clone(), xmin: self.xmin, xmax: self.xmax }
    }
}

/// What can be seen now: take it before loading the full state, then ask what came since.
pub async fn now(conn: &mut Connection) -> Result<Snapshot, DbError> {
    let row: Row = diesel::sql_query(
        "SELECT s::text AS text, pg_snapshot_xmin(s)::text::bigint AS xmin, pg_snapshot_xmax(s)::text::bigint AS xmax, \
         NULL::bigint AS pruned, '{}'::uuid[] AS pods FROM (SELECT pg_current_snapshot() AS s) present",
    )
    .get_result(conn)
    .await?;
    Ok(row.snapshot())
}

/// The pods that changed since `seen`.
///
/// # Errors
/// When the feed does not reach back to the snapshot, or not up to it.
pub async fn since(conn: &mut Connection, seen: &Snapshot) -> Result<News, ChangesError> {
    // One statement, so that all of it is of the same moment.
    let row: Row = diesel::sql_query(
        "SELECT s::text AS text, pg_snapshot_xmin(s)::text::bigint AS xmin, pg_snapshot_xmax(s)::text::bigint AS xmax, \
         (SELECT epoch FROM leases WHERE name = $3) AS pruned, \
         ARRAY(SELECT DISTINCT pod_uid FROM changes WHERE xid >= $1::text::xid8 \
           AND NOT pg_visible_in_snapshot(xid, $2::text::pg_snapshot)) AS pods \
         FROM (SELECT pg_current_snapshot() AS s) present",
    )
    .bind::<Text, _>(seen.xmin.to_string())
    .bind::<Text, _>(&seen.text)
    .bind::<Text, _>(PRUNED)
    .get_result(conn)
    .await?;
    if row.pruned.is_some_and(|pruned| seen.xmin <= pruned) {
        return Err(ChangesError::TooOld);
    }
    if row.xmin < seen.xmin || row.xmax < seen.xmax {
        return Err(ChangesError::Ahead);
    }
    Ok(News { seen: row.snapshot(), pods: row.pods })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_lost_something_is_before_a_copy() {
        let snapshot = |xmin, xmax| Snapshot { text: String::new(), xmin, xmax };
        let extent = |xid, below| Extent { cursor: Cursor { xid, id: 0 }, below };
        for (seen, copy, before) in [
            (snapshot(10, 20), extent(10, 20), false),
            (snapshot(9, 20), extent(10, 10), true),
            (snapshot(15, 19), extent(10, 20), true),
            (snapshot(15, 19), extent(10, UNKNOWN), false),
        ] {
            assert_eq!(seen.is_before(&copy), before, "{seen:?} {copy:?}");
        }
    }

    #[test]
    fn a_copy_covers_another_one_only_if_it_has_all_that_the_other_may_have() {
        let extent = |xid, below| Extent { cursor: Cursor { xid, id: 0 }, below };
        for (one, other, covers) in [
            (extent(10, 10), extent(10, 10), true),
            (extent(12, 20), extent(5, 12), true),
            (extent(12, 20), extent(5, 13), false),
            (extent(10, 30), extent(10, 30), false),
        ] {
            assert_eq!(one.covers(&other), covers, "{one:?} {other:?}");
        }
    }
}
