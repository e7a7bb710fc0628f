//! Completed logins on their way to the edge.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Binary, Double, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use pods_core::{Tenant, visitor::Visitor};
use uuid::Uuid;

use crate::{Connection, DbError};

/// A login that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The pod.
    pub pod_uid: Uuid,
    /// Its networking entry.
    pub network: String,
    /// The host that the visitor came from and returns to.
    pub host: String,
    /// Whom the platform named.
    pub visitor: Visitor,
    /// When the platform's token ends, and with it the session.
    pub token_expires: DateTime<Utc>,
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    pod_uid: Uuid,
    #[diesel(sql_type = Text)]
    network: String,
    #[diesel(sql_type = Text)]
    host: String,
    #[diesel(sql_type = Text)]
    site_id: String,
    #[diesel(sql_type = Text)]
    tenant_id: String,
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = Timestamptz)]
    token_expires_ts: DateTime<Utc>,
}

/// Remembers a ticket for `life`, for the login with this hash. Nothing is written for a pod that does not exist any more.
pub async fn put(
    conn: &mut Connection,
    hash: &[u8],
    login_hash: &[u8],
    ticket: &Ticket,
    life: Duration,
) -> Result<bool, DbError> {
    let count = diesel::sql_query(
        "INSERT INTO login_tickets (ticket_hash, pod_uid, network, host, login_hash, site_id, tenant_id, username, \
           token_expires_ts, expires_ts) \
         SELECT $1, uid, $3, $4, $5, $6, $7, $8, $9, now() + make_interval(secs => $10) \
         FROM pods WHERE uid = $2 AND deleted_at IS NULL",
    )
    .bind::<Binary, _>(hash)
    .bind::<SqlUuid, _>(ticket.pod_uid)
    .bind::<Text, _>(&ticket.network)
    .bind::<Text, _>(&ticket.host)
    .bind::<Binary, _>(login_hash)
    .bind::<Text, _>(&ticket.visitor.tenant.site_id)
    .bind::<Text, _>(&ticket.visitor.tenant.tenant_id)
    .bind::<Text, _>(&ticket.visitor.username)
    .bind::<Timestamptz, _>(ticket.token_expires)
    .bind::<Double, _>(life.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(count == 1)
}

/// Takes a ticket: it is found once. `None` when it is unknown, was taken before, is over, or belongs to another login;
/// then it stays for whoever has that one.
pub async fn take(conn: &mut Connection, hash: &[u8], login_hash: &[u8]) -> Result<Option<Ticket>, DbError> {
    let found: Vec<Row> = diesel::sql_query(
        "WITH taken AS (DELETE FROM login_tickets WHERE ticket_hash = $1 AND login_hash = $2 RETURNING *) \
         SELECT pod_uid, network, host, site_id, tenant_id, username, token_expires_ts \
         FROM taken WHERE expires_ts > now()",
    )
    .bind::<Binary, _>(hash)
    .bind::<Binary, _>(login_hash)
    .load(conn)
    .await?;
    Ok(found.into_iter().next().map(|row| Ticket {
        pod_uid: row.pod_uid,
        network: row.network,
        host: row.host,
        visitor: Visitor { tenant: Tenant::new(row.site_id, row.tenant_id), username: row.username },
        token_expires: row.token_expires_ts,
    }))
}
