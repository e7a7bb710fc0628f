//! Logins of visitors: the OAuth clients that they go through, states that were used, tickets, revoked sessions.
//!
//! What a visitor's browser carries (states, tickets) is known here by its SHA-256 only, and counts once. Nothing is
//! written before the platform has named the visitor. Logins under way and sessions are not stored: they are sealed.

pub mod clients;
pub mod revocations;
pub mod states;
pub mod tickets;

use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use pods_core::Tenant;
use uuid::Uuid;

use crate::{Connection, DbError};

/// The live pod of a tenant with this id. Nothing is said about who may know of it: whoever asks shows no more of it
/// than that it exists, as its address does.
pub async fn pod(conn: &mut Connection, tenant: &Tenant, pod_id: &str) -> Result<Option<Uuid>, DbError> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        uid: Uuid,
    }
    if !pod_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        // No pod can have it, and Postgres refuses some of it (NUL).
        return Ok(None);
    }
    let found: Vec<Row> = diesel::sql_query(
        "SELECT uid FROM pods WHERE tenant_id = $1 AND pod_id = $2 AND site_id = $3 AND deleted_at IS NULL",
    )
    .bind::<Text, _>(&tenant.tenant_id)
    .bind::<Text, _>(pod_id)
    .bind::<Text, _>(&tenant.site_id)
    .load(conn)
    .await?;
    Ok(found.into_iter().next().map(|row| row.uid))
}

/// Removes what is over. Answers how many rows went.
pub async fn purge(conn: &mut Connection) -> Result<usize, DbError> {
    let mut gone = 0;
    for table in ["login_states_used", "login_tickets", "login_revocations"] {
        gone +=
            diesel::sql_query(format!("DELETE FROM {table} WHERE expires_ts < now()")).execute(conn).await?;
    }
    Ok(gone)
}
