//! Permissions on pods; at least one ADMIN stays, however many requests meet.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::{Level, permission::administers};

use crate::{
    Connection, DbError,
    columns::Word,
    schema::{pod_permissions, pods},
};

/// A user and the level held, in the order in which they were first granted.
pub type Grants = Vec<(String, Level)>;

/// Why a change of permissions was refused; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum PermissionError {
    /// Nobody could administer the pod any more.
    #[error("at least one user must keep ADMIN")]
    LastAdmin,
    /// The user holds no permission.
    #[error("no permission of this user exists")]
    NoEntry,
    /// The pod was deleted meanwhile.
    #[error("the pod is gone")]
    Gone,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// All permissions on a pod.
pub async fn list(conn: &mut Connection, pod_uid: Uuid) -> Result<Grants, DbError> {
    let rows: Vec<(String, Word<Level>)> = pod_permissions::table
        .filter(pod_permissions::pod_uid.eq(pod_uid))
        .order(pod_permissions::position)
        .select((pod_permissions::username, pod_permissions::level))
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(|(user, level)| (user, level.0)).collect())
}

/// Grants a level, replacing the one that the user holds.
pub async fn set(
    conn: &mut Connection,
    pod_uid: Uuid,
    username: &str,
    level: Level,
) -> Result<Grants, PermissionError> {
    conn.transaction(async |conn| {
        lock(conn, pod_uid).await?;
        diesel::insert_into(pod_permissions::table)
            .values((
                pod_permissions::pod_uid.eq(pod_uid),
                pod_permissions::username.eq(username),
                pod_permissions::level.eq(Word(level)),
            ))
            .on_conflict((pod_permissions::pod_uid, pod_permissions::username))
            .do_update()
            .set(pod_permissions::level.eq(Word(level)))
            .execute(conn)
            .await?;
        checked(conn, pod_uid).await
    })
    .await
}

/// Removes the permission of a user.
pub async fn delete(conn: &mut Connection, pod_uid: Uuid, username: &str) -> Result<Grants, PermissionError> {
    conn.transaction(async |conn| {
        lock(conn, pod_uid).await?;
        if username.contains('\0') {
            // Nobody has such a name, and Postgres refuses it.
            return Err(PermissionError::NoEntry);
        }
        let count = diesel::delete(pod_permissions::table.find((pod_uid, username))).execute(conn).await?;
        if count == 0 {
            return Err(PermissionError::NoEntry);
        }
        checked(conn, pod_uid).await
    })
    .await
}

/// Changes of one pod's permissions wait for each other here, so that each sees the others' outcome.
async fn lock(conn: &mut Connection, pod_uid: Uuid) -> Result<(), PermissionError> {
    let live: Option<Uuid> = pods::table
        .find(pod_uid)
        .filter(pods::deleted_at.is_null())
        .select(pods::uid)
        .for_update()
        .first(conn)
        .await
        .optional()?;
    live.map(|_| ()).ok_or(PermissionError::Gone)
}

async fn checked(conn: &mut Connection, pod_uid: Uuid) -> Result<Grants, PermissionError> {
    let grants = list(conn, pod_uid).await?;
    if grants.iter().any(|(_, level)| administers(*level)) {
        Ok(grants)
    } else {
        Err(PermissionError::LastAdmin)
    }
}
