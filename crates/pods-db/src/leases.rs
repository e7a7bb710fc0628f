//! Leases: named shares of work that one replica holds at a time.
//!
//! The epoch grows whenever the holder changes. Writes that must not come from a former holder name their epoch
//! and are refused when it is no longer the present one (fencing).

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Double, Text};
use diesel_async::RunQueryDsl;

use crate::{Connection, DbError};

/// The channel that is notified when a lease was given up, or when somebody came who wants some.
pub const CHANNEL: &str = "pods_leases";

/// A lease as it stands.
#[derive(Debug, Clone, PartialEq, diesel::QueryableByName)]
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
    /// Seconds until it ends unless it is renewed, by the database's clock; it has ended when they are not positive.
    #[diesel(sql_type = Double)]
    pub remaining: f64,
}

impl Lease {
    /// Whether anybody holds it.
    pub fn is_held(&self) -> bool {
        self.remaining > 0.0
    }
}

/// A lease that the caller holds.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Taken {
    /// The share of work.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Grows with each change of holder.
    #[diesel(sql_type = BigInt)]
    pub epoch: i64,
}

/// Takes a lease that is free or expired, or renews one's own, for `ttl`. Answers its epoch, or `None` while
/// another holds it. The database's clock decides, so the replicas' clocks do not matter.
pub async fn acquire(
    conn: &mut Connection,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Option<i64>, DbError> {
    let taken = acquire_all(conn, &[name.to_owned()], holder, ttl).await?;
    Ok(taken.into_iter().next().map(|taken| taken.epoch))
}

/// The same for several leases in one statement; answers those that the caller holds now.
pub async fn acquire_all(
    conn: &mut Connection,
    names: &[String],
    holder: &str,
    ttl: Duration,
) -> Result<Vec<Taken>, DbError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // In the order of their names, so that two replicas never wait for each other crosswise.
    diesel::sql_query(
        "INSERT INTO leases AS l (name, holder, epoch, expires_ts) \
         SELECT name, $2, 1, now() + make_interval(secs => $3) FROM unnest($1) AS name ORDER BY name \
         ON CONFLICT (name) DO UPDATE SET \
           holder = excluded.holder, expires_ts = excluded.expires_ts, \
           epoch = l.epoch + (CASE WHEN l.holder = excluded.holder AND l.expires_ts > now() THEN 0 ELSE 1 END) \
         WHERE l.holder = excluded.holder OR l.expires_ts <= now() \
         RETURNING name, epoch",
    )
    .bind::<Array<Text>, _>(names)
    .bind::<Text, _>(holder)
    .bind::<Double, _>(ttl.as_secs_f64())
    .load(conn)
    .await
}

/// Renews those of one's own leases that have not ended, in one statement. One on which a writer holds its hand at
/// this moment (see the fence of [`crate::logs::append`]) is left out, so that nobody waits for it: its time goes on,
/// and the next call renews it.
pub async fn renew_all(
    conn: &mut Connection,
    names: &[String],
    holder: &str,
    ttl: Duration,
) -> Result<Vec<Taken>, DbError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    diesel::sql_query(
        "WITH free AS ( \
           SELECT name FROM leases WHERE name = ANY($1) AND holder = $2 AND expires_ts > now() \
           ORDER BY name FOR NO KEY UPDATE SKIP LOCKED) \
         UPDATE leases AS l SET expires_ts = now() + make_interval(secs => $3) \
         FROM free WHERE l.name = free.name RETURNING l.name, l.epoch",
    )
    .bind::<Array<Text>, _>(names)
    .bind::<Text, _>(holder)
    .bind::<Double, _>(ttl.as_secs_f64())
    .load(conn)
    .await
}

/// Gives a lease up at once, so that another replica need not wait for its end.
pub async fn release(conn: &mut Connection, name: &str, holder: &str) -> Result<(), DbError> {
    release_all(conn, &[name.to_owned()], holder).await
}

/// The same for several leases; whoever waits for them is told.
pub async fn release_all(conn: &mut Connection, names: &[String], holder: &str) -> Result<(), DbError> {
    if names.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "WITH released AS ( \
           UPDATE leases SET expires_ts = now() WHERE name = ANY($1) AND holder = $2 RETURNING name) \
         SELECT pg_notify($3, '') FROM released LIMIT 1",
    )
    .bind::<Array<Text>, _>(names)
    .bind::<Text, _>(holder)
    .bind::<Text, _>(CHANNEL)
    .execute(conn)
    .await?;
    Ok(())
}

/// Tells the others that somebody came who wants a share.
pub async fn announce(conn: &mut Connection) -> Result<(), DbError> {
    diesel::sql_query("SELECT pg_notify($1, '')").bind::<Text, _>(CHANNEL).execute(conn).await?;
    Ok(())
}

/// The leases whose names begin with `prefix` (which has no wildcard characters), expired ones included.
pub async fn list(conn: &mut Connection, prefix: &str) -> Result<Vec<Lease>, DbError> {
    diesel::sql_query(
        "SELECT name, holder, epoch, extract(epoch FROM expires_ts - now())::float8 AS remaining \
         FROM leases WHERE starts_with(name, $1) ORDER BY name",
    )
    .bind::<Text, _>(prefix)
    .load(conn)
    .await
}
