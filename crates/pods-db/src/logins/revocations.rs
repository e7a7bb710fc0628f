//! Sessions that ended before their time.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError};

/// The channel that is notified when a session was revoked.
pub const CHANNEL: &str = "pods_revocations";

/// A session that does not count any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, diesel::QueryableByName)]
pub struct Revocation {
    /// The session.
    #[diesel(sql_type = SqlUuid)]
    pub sid: Uuid,
    /// When it was revoked.
    #[diesel(sql_type = Timestamptz)]
    pub at: DateTime<Utc>,
    /// When it would have ended anyway.
    #[diesel(sql_type = Timestamptz)]
    pub expires_ts: DateTime<Utc>,
}

/// Revokes a session that would last until `expires`. Doing it twice changes nothing.
pub async fn add(conn: &mut Connection, sid: Uuid, expires: DateTime<Utc>) -> Result<(), DbError> {
    diesel::sql_query(
        "INSERT INTO login_revocations (sid, expires_ts) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind::<SqlUuid, _>(sid)
    .bind::<Timestamptz, _>(expires)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was revoked at `since` or later and still matters; everything that matters without it.
///
/// A transaction that began earlier may be committed later, but never by more than Postgres lets a statement run: ask
/// again for the last minute and nothing is missed.
pub async fn since(conn: &mut Connection, since: Option<DateTime<Utc>>) -> Result<Vec<Revocation>, DbError> {
    diesel::sql_query(
        "SELECT sid, at, expires_ts FROM login_revocations \
         WHERE expires_ts > now() AND ($1 IS NULL OR at >= $1) ORDER BY at",
    )
    .bind::<Nullable<Timestamptz>, _>(since)
    .load(conn)
    .await
}
