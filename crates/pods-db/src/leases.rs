//! Leases: named shares of work that one replica holds at a time.
//!
//! The epoch grows whenever the holder changes. Writes that must not come from a former holder name their epoch
//! and are refused when it is no longer the present one (fencing).

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Double, Text, Timestamptz};
use diesel_async::RunQueryDsl;

use crate::{Connection, DbError};

/// A lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Lease {
    /// The share of work.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The replica that holds it.
    #[diesel(sql_type = Text)]
    pub holder: String,
    /// Grows with each change of holder.
    #[diesel(sql_type = BigInt)]
    pub epoch: i64,
    /// When it ends unless it is renewed.
    #[diesel(sql_type = Timestamptz)]
    pub expires_ts: DateTime<Utc>,
}

#[derive(diesel::QueryableByName)]
struct Epoch {
    #[diesel(sql_type = BigInt)]
    epoch: i64,
}

/// Takes a lease that is free or expired, or renews one's own, for `ttl`. Answers its epoch, or `None` while
/// another holds it. The database's clock decides, so the replicas' clocks do not matter.
pub async fn acquire(
    conn: &mut Connection,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<i64>, DbError> {
    let rows: Vec<Epoch> = diesel::sql_query(
        "INSERT INTO leases AS l (name, holder, epoch, expires_ts) \
         VALUES ($1, $2, 1, now() + make_interval(secs => $3)) \
         ON CONFLICT (name) DO UPDATE SET \
           holder = excluded.holder, expires_ts = excluded.expires_ts, \
           epoch = l.epoch + (CASE WHEN l.holder = excluded.holder AND l.expires_ts > now() THEN 0 ELSE 1 END) \
         WHERE l.holder = excluded.holder OR l.expires_ts <= now() \
         RETURNING epoch",
    )
    .bind::<Text, _>(name)
    .bind::<Text, _>(holder)
    .bind::<Double, _>(ttl.as_secs_f64())
    .load(conn)
    .await?;
    Ok(rows.into_iter().next().map(|row| row.epoch))
}

/// Gives a lease up at once, so that another replica need not wait for its end.
pub async fn release(conn: &mut Connection, name: &str, holder: &str) -> Result<(), DbError> {
    diesel::sql_query("UPDATE leases SET expires_ts = now() WHERE name = $1 AND holder = $2")
        .bind::<Text, _>(name)
        .bind::<Text, _>(holder)
        .execute(conn)
        .await?;
    Ok(())
}

/// The leases whose names begin with `prefix` (which has no wildcard characters), expired ones included.
pub async fn list(conn: &mut Connection, prefix: &str) -> Result<Vec<Lease>, DbError> {
    diesel::sql_query(
        "SELECT name, holder, epoch, expires_ts FROM leases WHERE starts_with(name, $1) ORDER BY name",
    )
    .bind::<Text, _>(prefix)
    .load(conn)
    .await
}
