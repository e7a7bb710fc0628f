//! The change feed: which pods changed since a cursor.
//!
//! A transaction that began early can commit late, so a reader that went by id alone would skip its rows. The
//! cursor is (transaction id, id), and a read stays below the oldest transaction that still runs
//! (`pg_snapshot_xmin`): everything below it has committed or was rolled back.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError};

/// The channel that is notified when a pod changes.
pub const CHANNEL: &str = "pods_changes";

/// A place in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Transaction id of the last change that was read.
    pub xid: i64,
    /// Its id within the feed.
    pub id: i64,
}

/// Why the feed cannot be read from a cursor.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Changes after the cursor were pruned already: read everything again.
    #[error("the cursor is older than the change feed; load the full state again")]
    TooOld,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    xid: i64,
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    pod_uid: Uuid,
}

#[derive(diesel::QueryableByName)]
struct Place {
    #[diesel(sql_type = BigInt)]
    xid: i64,
}

/// The present end of the feed: take it before loading the full state, then read from it.
pub async fn head(conn: &mut Connection) -> Result<Cursor, DbError> {
    let place: Place =
        diesel::sql_query("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xid")
            .get_result(conn)
            .await?;
    // Everything below xmin is settled; nothing at or above it has been read yet.
    Ok(Cursor { xid: place.xid - 1, id: i64::MAX })
}

/// The pods that changed after `cursor` (each once, in order of first change) and the new cursor.
pub async fn since(
    conn: &mut Connection,
    cursor: Cursor,
    limit: i64,
) -> Result<(Vec<Uuid>, Cursor), ChangesError> {
    #[derive(diesel::QueryableByName)]
    struct Pruned {
        #[diesel(sql_type = Nullable<BigInt>)]
        xid: Option<i64>,
    }
    let pruned: Pruned = diesel::sql_query("SELECT (SELECT epoch FROM leases WHERE name = $1) AS xid")
        .bind::<Text, _>(PRUNED)
        .get_result(conn)
        .await
        .map_err(ChangesError::Db)?;
    if pruned.xid.is_some_and(|xid| cursor.xid < xid) {
        return Err(ChangesError::TooOld);
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT xid::text::bigint AS xid, id, pod_uid FROM changes \
         WHERE (xid, id) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot()) \
         ORDER BY xid, id LIMIT $3",
    )
    .bind::<Text, _>(cursor.xid.to_string())
    .bind::<BigInt, _>(cursor.id)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
    .map_err(ChangesError::Db)?;
    let next = rows.last().map_or(cursor, |row| Cursor { xid: row.xid, id: row.id });
    let mut seen = std::collections::HashSet::new();
    let uids = rows.into_iter().map(|row| row.pod_uid).filter(|uid| seen.insert(*uid)).collect();
    Ok((uids, next))
}

/// The row of `leases` that remembers up to which transaction the feed was pruned.
const PRUNED: &str = "changes-pruned";

/// Removes changes older than `before`. Readers with a cursor below what was removed get
/// [`ChangesError::TooOld`].
pub async fn prune(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
    diesel::sql_query(
        "WITH gone AS (DELETE FROM changes WHERE at < $1 RETURNING xid) \
         INSERT INTO leases (name, holder, epoch, expires_ts) \
         SELECT $2, '', max(xid::text::bigint), 'infinity' FROM gone HAVING count(*) > 0 \
         ON CONFLICT (name) DO UPDATE SET epoch = greatest(leases.epoch, excluded.epoch)",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<Text, _>(PRUNED)
    .execute(conn)
    .await
}
