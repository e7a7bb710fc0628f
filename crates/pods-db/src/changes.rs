//! The change feed: which pods changed since a cursor, and who lost sight of which.
//!
//! A transaction that began early can commit late, so a reader that went by id alone would skip its rows. The
//! cursor is (transaction id, id), and a read stays below the oldest transaction that still runs
//! (`pg_snapshot_xmin`): everything below it has committed or was rolled back. A transaction that stays open and has
//! written something, in any database of the server, therefore holds back what comes after it; nothing is lost. Whoever
//! needs no order reads [`committed`].

pub mod committed;

use std::{collections::HashSet, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError};

/// The channel that is notified when a pod changes.
pub const CHANNEL: &str = "pods_changes";

/// A place in the feed; as text `<xid>-<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Transaction id of the last change that was read.
    pub xid: i64,
    /// Its id within the feed.
    pub id: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.xid, self.id)
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is two numbers with a hyphen between them")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().map_err(|_| NoCursor),
            false => Err(NoCursor),
        };
        let (xid, id) = text.split_once('-').ok_or(NoCursor)?;
        Ok(Self { xid: number(xid)?, id: number(id)? })
    }
}

/// Why the feed cannot be read from a cursor.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Changes after the cursor were pruned already: read everything again.
    #[error("the cursor is older than the change feed; load the full state again")]
    TooOld,
    /// The cursor is of another database, or of a time after the backup that this one was restored from.
    #[error("the cursor is ahead of the change feed; load the full state again")]
    Ahead,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// An entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place.
    pub cursor: Cursor,
    /// The pod that it is about.
    pub pod_uid: Uuid,
    /// The user who lost the permission to see the pod; `None` when the pod itself changed.
    pub hidden_from: Option<String>,
}

/// What was read of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In the order of the feed.
    pub changes: Vec<Change>,
    /// Where to read on.
    pub next: Cursor,
    /// There may be more to read already.
    pub full: bool,
    /// Changes are committed that cannot be read yet, because an older transaction still runs. When it ends nobody is
    /// notified of them again.
    pub held_back: bool,
}

/// How far the feed reaches, and one of its entries, if there is one to read.
#[derive(diesel::QueryableByName)]
struct Row {
    /// The oldest transaction that still runs, or the next one: everything below is settled.
    #[diesel(sql_type = BigInt)]
    xmin: i64,
    /// Up to which transaction changes were pruned.
    #[diesel(sql_type = Nullable<BigInt>)]
    pruned: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    xid: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Nullable<diesel::sql_types::Uuid>)]
    pod_uid: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    hidden_from: Option<String>,
}

impl Row {
    fn change(self) -> Option<Change> {
        let cursor = Cursor { xid: self.xid?, id: self.id? };
        Some(Change { cursor, pod_uid: self.pod_uid?, hidden_from: self.hidden_from })
    }
}

/// The present end of the feed: take it before loading the full state, then read from it.
pub async fn head(conn: &mut Connection) -> Result<Cursor, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Head {
        #[diesel(sql_type = BigInt)]
        xmin: i64,
    }
    let head: Head =
        diesel::sql_query("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin")
            .get_result(conn)
            .await?;
    // Everything below xmin is settled; nothing at or above it has been read yet.
    Ok(Cursor { xid: head.xmin, id: 0 })
}

/// The changes after `cursor`, at most `limit`.
///
/// # Errors
/// When the feed does not reach back to the cursor, or not up to it.
pub async fn read(conn: &mut Connection, cursor: Cursor, limit: i64) -> Result<Page, ChangesError> {
    // One statement, so that all of it is of the same moment.
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT extent.xmin, extent.pruned, c.xid::text::bigint AS xid, c.id, c.pod_uid, c.hidden_from FROM \
         (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, \
           (SELECT epoch FROM leases WHERE name = $4) AS pruned) extent \
         LEFT JOIN (SELECT xid, id, pod_uid, hidden_from FROM changes \
           WHERE (xid, id) > ($1::text::xid8, $2) ORDER BY xid, id LIMIT $3) c ON true \
         ORDER BY c.xid, c.id",
    )
    .bind::<Text, _>(cursor.xid.to_string())
    .bind::<BigInt, _>(cursor.id)
    .bind::<BigInt, _>(limit)
    .bind::<Text, _>(PRUNED)
    .load(conn)
    .await?;
    let [Row { xmin, pruned, .. }, ..] = rows[..] else {
        return Err(ChangesError::Db(DbError::NotFound));
    };
    // The transaction of the cursor itself may have had changes after it.
    if pruned.is_some_and(|pruned| cursor.xid <= pruned) {
        return Err(ChangesError::TooOld);
    }
    let end = Cursor { xid: xmin, id: 0 };
    if cursor > end {
        return Err(ChangesError::Ahead);
    }
    let mut changes: Vec<Change> = rows.into_iter().filter_map(Row::change).collect();
    let found = changes.len();
    changes.truncate(changes.partition_point(|change| change.cursor < end));
    let held_back = changes.len() < found;
    let full = !held_back && found as i64 >= limit;
    // Whoever has read everything is as far as the feed is settled, also where nothing changed.
    let next = match changes.last() {
        Some(last) if full => last.cursor,
        _ => end,
    };
    Ok(Page { changes, next, full, held_back })
}

/// Whether there are more than `most` changes after `cursor`.
pub async fn is_behind(conn: &mut Connection, cursor: Cursor, most: i64) -> Result<bool, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Behind {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        behind: bool,
    }
    let found: Behind = diesel::sql_query(
        "SELECT EXISTS (SELECT FROM changes WHERE (xid, id) > ($1::text::xid8, $2) ORDER BY xid, id OFFSET $3 LIMIT 1) \
         AS behind",
    )
    .bind::<Text, _>(cursor.xid.to_string())
    .bind::<BigInt, _>(cursor.id)
    .bind::<BigInt, _>(most)
    .get_result(conn)
    .await?;
    Ok(found.behind)
}

/// The pods that changed after `cursor` (each once, in order of first change) and the new cursor.
///
/// # Errors
/// As [`read`], except that a cursor ahead of the feed finds nothing: whoever has served what came after a backup
/// decides for itself what to do.
pub async fn since(
    conn: &mut Connection,
    cursor: Cursor,
    limit: i64,
) -> Result<(Vec<Uuid>, Cursor), ChangesError> {
    let page = match read(conn, cursor, limit).await {
        Err(ChangesError::Ahead) => return Ok((Vec::new(), cursor)),
        page => page?,
    };
    let mut seen = HashSet::new();
    let uids =
        page.changes.into_iter().map(|change| change.pod_uid).filter(|uid| seen.insert(*uid)).collect();
    Ok((uids, page.next))
}

/// The row of `leases` that remembers up to which transaction the feed was pruned.
const PRUNED: &str = "changes-pruned";

/// Removes changes older than `before`, some thousands of them. Readers with a cursor below what was removed get
/// [`ChangesError::TooOld`]. Answers 0 when there was nothing to remove; call it again until then.
pub async fn prune(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
    diesel::sql_query(
        "WITH gone AS (DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE at < $1 ORDER BY at LIMIT 5000) \
           RETURNING xid) \
         INSERT INTO leases (name, holder, epoch, expires_ts) \
         SELECT $2, '', max(xid::text::bigint), 'infinity' FROM gone HAVING count(*) > 0 \
         ON CONFLICT (name) DO UPDATE SET epoch = greatest(leases.epoch, excluded.epoch)",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<Text, _>(PRUNED)
    .execute(conn)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_two_numbers() {
        let cursor = Cursor { xid: 734, id: 12 };
        assert_eq!((cursor.to_string().as_str(), "734-12".parse()), ("734-12", Ok(cursor)));
        for bad in ["", "-", "7", "7-", "-7", "7-8-9", "+7-8", "7- 8", "a-b", "99999999999999999999-1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(NoCursor), "{bad}");
        }
    }
}
