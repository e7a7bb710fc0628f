//! The OAuth clients that the service registered at the platform.
//!
//! A row is made before the platform is asked, so that a client is never forgotten, and goes after the platform has
//! removed it. Between the two the platform may be away for as long as it likes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{Array, BigInt, Binary, Double, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError};

/// How long the replica that removes a client has it for itself.
pub const REMOVAL_LIMIT: Duration = Duration::from_secs(60);
/// Seconds for which a key that the platform just told is not asked for again.
const KEY_STAYS: f64 = 60.0;

/// Which client: for which entry, in which tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The site of the pod.
    pub site_id: &'a str,
    /// The tenant whose users log in with it.
    pub tenant_id: &'a str,
    /// Its id in that tenant.
    pub client_id: &'a str,
    /// The pod.
    pub pod_uid: Uuid,
    /// Its networking entry.
    pub network: &'a str,
    /// Where the platform sends visitors back to.
    pub callback_url: &'a str,
}

/// A client as it is stored.
#[derive(Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct OAuthClient {
    /// Its id.
    #[diesel(sql_type = Text)]
    pub client_id: String,
    /// Where the platform sends visitors back to.
    #[diesel(sql_type = Text)]
    pub callback_url: String,
    /// Names the key that opens `sealed`.
    #[diesel(sql_type = Nullable<Text>)]
    pub key_id: Option<String>,
    /// The client's key; nothing until the platform told it.
    #[diesel(sql_type = Nullable<Binary>)]
    pub sealed: Option<Vec<u8>>,
    /// When the platform told it.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub key_ts: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuthClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The client of an entry in a tenant.
pub async fn find(
    conn: &mut Connection,
    pod_uid: Uuid,
    network: &str,
    tenant_id: &str,
) -> Result<Option<OAuthClient>, DbError> {
    let found: Vec<OAuthClient> = diesel::sql_query(
        "SELECT client_id, callback_url, key_id, sealed, key_ts FROM oauth_clients \
         WHERE pod_uid = $1 AND network = $2 AND tenant_id = $3 AND unwanted_ts IS NULL",
    )
    .bind::<SqlUuid, _>(pod_uid)
    .bind::<Text, _>(network)
    .bind::<Text, _>(tenant_id)
    .load(conn)
    .await?;
    Ok(found.into_iter().next())
}

/// Notes that the client will be registered. One that is noted already stays as it is, with its key. A row of an earlier pod
/// with the same client id is taken over. `false` while somebody removes that client just now, when the pod was deleted, or
/// when the entry was given another client meanwhile: try again.
pub async fn reserve(conn: &mut Connection, wanted: Wanted<'_>) -> Result<bool, DbError> {
    let noted = find(conn, wanted.pod_uid, wanted.network, wanted.tenant_id).await?;
    let same = |noted: &OAuthClient| {
        noted.client_id == wanted.client_id && noted.callback_url == wanted.callback_url
    };
    if noted.as_ref().is_some_and(same) {
        return Ok(true);
    }
    let reserved = diesel::sql_query(
        "INSERT INTO oauth_clients AS c (tenant_id, client_id, site_id, pod_uid, network, callback_url, created_ts, \
           checked_ts, next_try_ts) \
         SELECT $1, $2, $3, uid, $5, $6, now(), now(), now() FROM pods WHERE uid = $4 AND deleted_at IS NULL \
         FOR SHARE \
         ON CONFLICT (tenant_id, client_id) DO UPDATE SET \
           site_id = excluded.site_id, pod_uid = excluded.pod_uid, network = excluded.network, \
           callback_url = excluded.callback_url, key_id = NULL, sealed = NULL, key_ts = NULL, checked_ts = now(), \
           unwanted_ts = NULL, next_try_ts = now(), tries = 0, removal = NULL \
         WHERE c.removal IS NULL OR c.next_try_ts <= now()",
    )
    .bind::<Text, _>(wanted.tenant_id)
    .bind::<Text, _>(wanted.client_id)
    .bind::<Text, _>(wanted.site_id)
    .bind::<SqlUuid, _>(wanted.pod_uid)
    .bind::<Text, _>(wanted.network)
    .bind::<Text, _>(wanted.callback_url)
    .execute(conn)
    .await;
    match reserved {
        Err(DbError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(false),
        reserved => Ok(reserved? == 1),
    }
}

/// Stores the key of a registered client. `false` when it is not the entry's any more.
pub async fn store_key(
    conn: &mut Connection,
    wanted: Wanted<'_>,
    key_id: &str,
    sealed: &[u8],
) -> Result<bool, DbError> {
    let count = diesel::sql_query(
        "UPDATE oauth_clients SET key_id = $5, sealed = $6, key_ts = now(), callback_url = $7 \
         WHERE tenant_id = $1 AND client_id = $2 AND pod_uid = $3 AND network = $4 AND unwanted_ts IS NULL",
    )
    .bind::<Text, _>(wanted.tenant_id)
    .bind::<Text, _>(wanted.client_id)
    .bind::<SqlUuid, _>(wanted.pod_uid)
    .bind::<Text, _>(wanted.network)
    .bind::<Text, _>(key_id)
    .bind::<Binary, _>(sealed)
    .bind::<Text, _>(wanted.callback_url)
    .execute(conn)
    .await?;
    Ok(count == 1)
}

/// Forgets a client's key, because the platform does not know the client by it: the next login asks for it again. One that
/// is younger than a minute stays: it was asked for already, and the platform says so for another reason.
pub async fn forget_key(conn: &mut Connection, tenant_id: &str, client_id: &str) -> Result<(), DbError> {
    diesel::sql_query(
        "UPDATE oauth_clients SET key_id = NULL, sealed = NULL, key_ts = NULL \
         WHERE tenant_id = $1 AND client_id = $2 AND key_ts < now() - make_interval(secs => $3)",
    )
    .bind::<Text, _>(tenant_id)
    .bind::<Text, _>(client_id)
    .bind::<Double, _>(KEY_STAYS)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a reservation back: the platform has a client of this id that is somebody else's.
pub async fn abandon(conn: &mut Connection, wanted: Wanted<'_>) -> Result<(), DbError> {
    diesel::sql_query(
        "DELETE FROM oauth_clients \
         WHERE tenant_id = $1 AND client_id = $2 AND pod_uid = $3 AND network = $4 AND sealed IS NULL",
    )
    .bind::<Text, _>(wanted.tenant_id)
    .bind::<Text, _>(wanted.client_id)
    .bind::<SqlUuid, _>(wanted.pod_uid)
    .bind::<Text, _>(wanted.network)
    .execute(conn)
    .await?;
    Ok(())
}

/// The platform has registered a client that is not the entry's any more: it is to be removed, unless another pod has it
/// now. A removal that is under way may have come too early, so that another one follows when it is over.
pub async fn left_over(conn: &mut Connection, client: Wanted<'_>) -> Result<(), DbError> {
    diesel::sql_query(
        "INSERT INTO oauth_clients AS c (tenant_id, client_id, site_id, pod_uid, network, callback_url, created_ts, \
           checked_ts, unwanted_ts, next_try_ts) \
         VALUES ($1, $2, $3, $4, $5, $6, now(), now(), now(), now()) \
         ON CONFLICT (tenant_id, client_id) DO UPDATE SET \
           removal = gen_random_uuid(), next_try_ts = now() + make_interval(secs => $7) \
         WHERE c.unwanted_ts IS NOT NULL",
    )
    .bind::<Text, _>(client.tenant_id)
    .bind::<Text, _>(client.client_id)
    .bind::<Text, _>(client.site_id)
    .bind::<SqlUuid, _>(client.pod_uid)
    .bind::<Text, _>(client.network)
    .bind::<Text, _>(client.callback_url)
    .bind::<Double, _>(REMOVAL_LIMIT.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores a key that was sealed anew, unless it was replaced meanwhile.
pub async fn reseal(
    conn: &mut Connection,
    client: &Checked,
    key_id: &str,
    sealed: &[u8],
) -> Result<(), DbError> {
    diesel::sql_query(
        "UPDATE oauth_clients SET key_id = $4, sealed = $5 WHERE tenant_id = $1 AND client_id = $2 AND sealed = $3",
    )
    .bind::<Text, _>(&client.tenant_id)
    .bind::<Text, _>(&client.client_id)
    .bind::<Nullable<Binary>, _>(&client.sealed)
    .bind::<Text, _>(key_id)
    .bind::<Binary, _>(sealed)
    .execute(conn)
    .await?;
    Ok(())
}

/// A client and the entry that it is for.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Checked {
    /// The tenant.
    #[diesel(sql_type = Text)]
    pub tenant_id: String,
    /// Its id.
    #[diesel(sql_type = Text)]
    pub client_id: String,
    /// The pod.
    #[diesel(sql_type = SqlUuid)]
    pub pod_uid: Uuid,
    /// Its networking entry.
    #[diesel(sql_type = Text)]
    pub network: String,
    /// Names the key that opens `sealed`.
    #[diesel(sql_type = Nullable<Text>)]
    pub key_id: Option<String>,
    /// The client's key.
    #[diesel(sql_type = Nullable<Binary>)]
    pub sealed: Option<Vec<u8>>,
}

/// The wanted clients that were not looked at for so long, the longest waiting first. They count as looked at now,
/// so that replicas share the work.
pub async fn to_check(
    conn: &mut Connection,
    site_id: &str,
    pause: Duration,
    limit: i64,
) -> Result<Vec<Checked>, DbError> {
    diesel::sql_query(
        "UPDATE oauth_clients SET checked_ts = now() WHERE (tenant_id, client_id) IN \
           (SELECT tenant_id, client_id FROM oauth_clients \
            WHERE site_id = $1 AND unwanted_ts IS NULL AND checked_ts < now() - make_interval(secs => $2) \
            ORDER BY checked_ts LIMIT $3 FOR UPDATE SKIP LOCKED) \
         RETURNING tenant_id, client_id, pod_uid, network, key_id, sealed",
    )
    .bind::<Text, _>(site_id)
    .bind::<Double, _>(pause.as_secs_f64())
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Nothing needs the clients of these entries of a pod any more; they are removed from the platform.
pub async fn unwanted(conn: &mut Connection, pod_uid: Uuid, networks: &[String]) -> Result<usize, DbError> {
    diesel::sql_query(
        "UPDATE oauth_clients SET unwanted_ts = now(), next_try_ts = now() \
         WHERE pod_uid = $1 AND network = ANY($2) AND unwanted_ts IS NULL",
    )
    .bind::<SqlUuid, _>(pod_uid)
    .bind::<Array<Text>, _>(networks)
    .execute(conn)
    .await
}

/// A client that the caller is to remove from the platform.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Removal {
    /// The tenant.
    #[diesel(sql_type = Text)]
    pub tenant_id: String,
    /// Its id.
    #[diesel(sql_type = Text)]
    pub client_id: String,
    /// Says that it is this caller who does it.
    #[diesel(sql_type = SqlUuid)]
    pub removal: Uuid,
    /// How often it was tried before.
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pub tries: i32,
}

/// A client whose removal is due, the longest waiting first. The caller has it for [`REMOVAL_LIMIT`]: meanwhile nobody else
/// removes or registers it.
pub async fn due(conn: &mut Connection, site_id: &str) -> Result<Option<Removal>, DbError> {
    let due: Vec<Removal> = diesel::sql_query(
        "UPDATE oauth_clients SET removal = gen_random_uuid(), next_try_ts = now() + make_interval(secs => $2) \
         WHERE (tenant_id, client_id) IN \
           (SELECT tenant_id, client_id FROM oauth_clients \
            WHERE site_id = $1 AND unwanted_ts IS NOT NULL AND next_try_ts <= now() \
            ORDER BY next_try_ts LIMIT 1 FOR UPDATE SKIP LOCKED) \
         RETURNING tenant_id, client_id, removal, tries",
    )
    .bind::<Text, _>(site_id)
    .bind::<Double, _>(REMOVAL_LIMIT.as_secs_f64())
    .load(conn)
    .await?;
    Ok(due.into_iter().next())
}

/// The platform does not have the client any more.
pub async fn removed(conn: &mut Connection, removal: &Removal) -> Result<(), DbError> {
    diesel::sql_query(
        "DELETE FROM oauth_clients WHERE tenant_id = $1 AND client_id = $2 AND removal = $3 AND unwanted_ts IS NOT NULL",
    )
    .bind::<Text, _>(&removal.tenant_id)
    .bind::<Text, _>(&removal.client_id)
    .bind::<SqlUuid, _>(removal.removal)
    .execute(conn)
    .await?;
    Ok(())
}

/// The platform did not remove the client; it is tried again after `pause`.
pub async fn not_removed(conn: &mut Connection, removal: &Removal, pause: Duration) -> Result<(), DbError> {
    diesel::sql_query(
        "UPDATE oauth_clients SET removal = NULL, tries = tries + 1, \
           next_try_ts = now() + make_interval(secs => $4) \
         WHERE tenant_id = $1 AND client_id = $2 AND removal = $3",
    )
    .bind::<Text, _>(&removal.tenant_id)
    .bind::<Text, _>(&removal.client_id)
    .bind::<SqlUuid, _>(removal.removal)
    .bind::<Double, _>(pause.as_secs_f64())
    .execute(conn)
    .await?;
    Ok(())
}
