//! Logins under way at the platform.

use std::time::Duration;

use diesel::sql_types::{BigInt, Binary, Double, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError};

/// Logins that may be under way at one pod; the oldest gives way to a new one.
pub const STATES_MAX: i64 = 1000;

/// A login that is under way.
#[derive(Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct LoginState {
    /// The pod.
    #[diesel(sql_type = SqlUuid)]
    pub pod_uid: Uuid,
    /// Its networking entry.
    #[diesel(sql_type = Text)]
    pub network: String,
    /// The host that the visitor came from.
    #[diesel(sql_type = Text)]
    pub host: String,
    /// The tenant whose Authenticator was asked.
    #[diesel(sql_type = Text)]
    pub tenant_id: String,
    /// The OAuth client that asked.
    #[diesel(sql_type = Text)]
    pub client_id: String,
    /// Names the key that opens `sealed`.
    #[diesel(sql_type = Text)]
    pub key_id: String,
    /// The PKCE code verifier.
    #[diesel(sql_type = Binary)]
    pub sealed: Vec<u8>,
    /// What the edge wants back.
    #[diesel(sql_type = Text)]
    pub login: String,
}

impl std::fmt::Debug for LoginState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginState")
            .field("pod_uid", &self.pod_uid)
            .field("network", &self.network)
            .field("tenant_id", &self.tenant_id)
            .finish_non_exhaustive()
    }
}

/// Remembers a login for `life`. The oldest ones of the pod go when there are too many.
pub async fn put(
    conn: &mut Connection,
    hash: &[u8],
    state: &LoginState,
    life: Duration,
) -> Result<(), DbError> {
    diesel::sql_query(
        "WITH too_many AS (DELETE FROM login_states WHERE state_hash IN \
           (SELECT state_hash FROM login_states WHERE pod_uid = $2 ORDER BY created_ts DESC OFFSET $11)) \
         INSERT INTO login_states (state_hash, pod_uid, network, host, tenant_id, client_id, key_id, sealed, login, \
           created_ts, expires_ts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now(), now() + make_interval(secs => $10))",
    )
    .bind::<Binary, _>(hash)
    .bind::<SqlUuid, _>(state.pod_uid)
    .bind::<Text, _>(&state.network)
    .bind::<Text, _>(&state.host)
    .bind::<Text, _>(&state.tenant_id)
    .bind::<Text, _>(&state.client_id)
    .bind::<Text, _>(&state.key_id)
    .bind::<Binary, _>(&state.sealed)
    .bind::<Text, _>(&state.login)
    .bind::<Double, _>(life.as_secs_f64())
    .bind::<BigInt, _>(STATES_MAX - 1)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a login: it is found once. `None` when it is unknown, was taken before, or is over.
pub async fn take(conn: &mut Connection, hash: &[u8]) -> Result<Option<LoginState>, DbError> {
    let found: Vec<LoginState> = diesel::sql_query(
        "WITH taken AS (DELETE FROM login_states WHERE state_hash = $1 RETURNING *) \
         SELECT pod_uid, network, host, tenant_id, client_id, key_id, sealed, login FROM taken WHERE expires_ts > now()",
    )
    .bind::<Binary, _>(hash)
    .load(conn)
    .await?;
    Ok(found.into_iter().next())
}
