//! Generated passwords of pods, sealed: this crate never holds the key.

use std::{collections::HashMap, fmt};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError, schema::pod_credentials};

/// The credentials of one pod, encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCredentials {
    /// Names the key that opens them.
    pub key_id: String,
    /// What the key sealed.
    pub sealed: Vec<u8>,
}

impl fmt::Debug for SealedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedCredentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Stores the credentials of a new pod, on a shared connection, so that it can travel with other statements.
pub(crate) async fn insert(
    mut conn: &Connection,
    pod_uid: Uuid,
    credentials: &SealedCredentials,
) -> Result<(), DbError> {
    diesel::insert_into(pod_credentials::table)
        .values((
            pod_credentials::pod_uid.eq(pod_uid),
            pod_credentials::key_id.eq(&credentials.key_id),
            pod_credentials::sealed.eq(&credentials.sealed),
        ))
        .execute(&mut conn)
        .await?;
    Ok(())
}

/// The credentials of a pod; a pod that is older than credentials has none yet.
pub async fn get(conn: &mut Connection, pod_uid: Uuid) -> Result<Option<SealedCredentials>, DbError> {
    let found: Option<(String, Vec<u8>)> = pod_credentials::table
        .find(pod_uid)
        .select((pod_credentials::key_id, pod_credentials::sealed))
        .first(conn)
        .await
        .optional()?;
    Ok(found.map(|(key_id, sealed)| SealedCredentials { key_id, sealed }))
}

/// The credentials of some pods, in one statement.
pub async fn get_many(
    conn: &mut Connection,
    pod_uids: &[Uuid],
) -> Result<HashMap<Uuid, SealedCredentials>, DbError> {
    let found: Vec<(Uuid, String, Vec<u8>)> =
        pod_credentials::table.filter(pod_credentials::pod_uid.eq_any(pod_uids)).load(conn).await?;
    Ok(found.into_iter().map(|(uid, key_id, sealed)| (uid, SealedCredentials { key_id, sealed })).collect())
}

/// Stores `new`, unless somebody else has replaced `old` meanwhile; without `old`, unless there are some already.
/// `false` when nothing was written: read again.
pub async fn replace(
    conn: &mut Connection,
    pod_uid: Uuid,
    old: Option<&SealedCredentials>,
    new: &SealedCredentials,
) -> Result<bool, DbError> {
    let count = match old {
        Some(old) => {
            diesel::update(
                pod_credentials::table.find(pod_uid).filter(pod_credentials::sealed.eq(&old.sealed)),
            )
            .set((pod_credentials::key_id.eq(&new.key_id), pod_credentials::sealed.eq(&new.sealed)))
            .execute(conn)
            .await?
        }
        None => {
            diesel::insert_into(pod_credentials::table)
                .values((
                    pod_credentials::pod_uid.eq(pod_uid),
                    pod_credentials::key_id.eq(&new.key_id),
                    pod_credentials::sealed.eq(&new.sealed),
                ))
                .on_conflict_do_nothing()
                .execute(conn)
                .await?
        }
    };
    Ok(count == 1)
}
