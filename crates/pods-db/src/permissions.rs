//! Permissions on pods and templates; at least one ADMIN stays, however many requests meet.
//!
//! A change locks the object, looks up what its author may do *now*, writes, and checks what is left, all in one
//! transaction. Two ADMINs who remove each other at the same moment meet at the lock, and the second one is not an
//! ADMIN any more.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::{
    Level, Tenant,
    permission::{Denied, Holder, administers},
};

use crate::{
    Connection, DbError, action_logs,
    columns::Word,
    schema::{pod_permissions, pods, template_permissions, templates},
};

/// Most entries of an object: each change of a pod looks up all who may see it.
pub const ENTRIES_MAX: usize = 1000;

/// A user and the level held, in the order in which they were first granted.
pub type Grants = Vec<(String, Level)>;

/// What permissions are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// The pod with this uid.
    Pod(Uuid),
    /// The template with this uid.
    Template(Uuid),
}

/// A change of permissions: on what, by whom.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What it is about.
    pub object: Object,
    /// The tenant of the request.
    pub tenant: &'a Tenant,
    /// The user who asks.
    pub actor: &'a str,
    /// A line for the action log; templates have none.
    pub log: Option<&'a str>,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Why a change of permissions was refused; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum PermissionError {
    /// The user who asks may not do it, or not any more.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Nobody could administer the object any more.
    #[error("at least one user must keep ADMIN")]
    LastAdmin,
    /// The user holds no permission.
    #[error("no permission of this user exists")]
    NoEntry,
    /// The object has as many entries as it may.
    #[error("an object can have permissions of at most {ENTRIES_MAX} users")]
    TooMany,
    /// The object was deleted meanwhile.
    #[error("it does not exist any more")]
    Gone,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// All permissions on an object.
pub async fn list(conn: &mut Connection, object: Object) -> Result<Grants, DbError> {
    let rows: Vec<(String, Word<Level>)> = match object {
        Object::Pod(uid) => {
            pod_permissions::table
                .filter(pod_permissions::pod_uid.eq(uid))
                .order(pod_permissions::position)
                .select((pod_permissions::username, pod_permissions::level))
                .load(conn)
                .await?
        }
        Object::Template(uid) => {
            template_permissions::table
                .filter(template_permissions::template_uid.eq(uid))
                .order(template_permissions::position)
                .select((template_permissions::username, template_permissions::level))
                .load(conn)
                .await?
        }
    };
    Ok(rows.into_iter().map(|(user, level)| (user, level.0)).collect())
}

/// All permissions on some templates, in one statement.
pub async fn list_many_templates(
    conn: &mut Connection,
    template_uids: &[Uuid],
) -> Result<HashMap<Uuid, Grants>, DbError> {
    let rows: Vec<(Uuid, String, Word<Level>)> = template_permissions::table
        .filter(template_permissions::template_uid.eq_any(template_uids))
        .order(template_permissions::position)
        .select((
            template_permissions::template_uid,
            template_permissions::username,
            template_permissions::level,
        ))
        .load(conn)
        .await?;
    let mut grants: HashMap<Uuid, Grants> = HashMap::new();
    for (uid, user, level) in rows {
        grants.entry(uid).or_default().push((user, level.0));
    }
    Ok(grants)
}

/// Grants a level, replacing the one that the user holds. `check` decides whether the level that the asking user
/// holds at this moment is enough.
///
/// # Errors
/// [`PermissionError`]; nothing changed then.
pub async fn set(
    conn: &mut Connection,
    request: &Request<'_>,
    username: &str,
    level: Level,
    check: impl FnOnce(Level) -> Result<(), Denied> + Send,
) -> Result<Grants, PermissionError> {
    conn.transaction(async |conn| {
        check(held_under_lock(conn, request).await?)?;
        grant(conn, request.object, username, level).await?;
        let grants = finish(conn, request).await?;
        if grants.len() > ENTRIES_MAX { Err(PermissionError::TooMany) } else { Ok(grants) }
    })
    .await
}

/// Removes the permission of a user. `check` is that of [`set`].
///
/// # Errors
/// [`PermissionError`]; nothing changed then.
pub async fn delete(
    conn: &mut Connection,
    request: &Request<'_>,
    username: &str,
    check: impl FnOnce(Level) -> Result<(), Denied> + Send,
) -> Result<Grants, PermissionError> {
    conn.transaction(async |conn| {
        check(held_under_lock(conn, request).await?)?;
        if username.contains('\0') {
            // Nobody has such a name, and Postgres refuses it.
            return Err(PermissionError::NoEntry);
        }
        let count = match request.object {
            Object::Pod(uid) => {
                diesel::delete(pod_permissions::table.find((uid, username))).execute(conn).await?
            }
            Object::Template(uid) => {
                diesel::delete(template_permissions::table.find((uid, username))).execute(conn).await?
            }
        };
        if count == 0 {
            return Err(PermissionError::NoEntry);
        }
        finish(conn, request).await
    })
    .await
}

/// Grants a level without asking who does it: for the creator of an object, and for what the service itself
/// provides.
pub async fn grant(
    conn: &mut Connection,
    object: Object,
    username: &str,
    level: Level,
) -> Result<(), DbError> {
    match object {
        Object::Pod(uid) => {
            diesel::insert_into(pod_permissions::table)
                .values((
                    pod_permissions::pod_uid.eq(uid),
                    pod_permissions::username.eq(username),
                    pod_permissions::level.eq(Word(level)),
                ))
                .on_conflict((pod_permissions::pod_uid, pod_permissions::username))
                .do_update()
                .set(pod_permissions::level.eq(Word(level)))
                .execute(conn)
                .await?
        }
        Object::Template(uid) => {
            diesel::insert_into(template_permissions::table)
                .values((
                    template_permissions::template_uid.eq(uid),
                    template_permissions::username.eq(username),
                    template_permissions::level.eq(Word(level)),
                ))
                .on_conflict((template_permissions::template_uid, template_permissions::username))
                .do_update()
                .set(template_permissions::level.eq(Word(level)))
                .execute(conn)
                .await?
        }
    };
    Ok(())
}

/// The level that a user of `tenant` holds on an object, which stays as it is until the transaction ends: changes of
/// permissions and of templates wait for each other here, so that each sees the others' outcome. `None` when the object
/// does not exist any more.
pub async fn lock(
    conn: &mut Connection,
    object: Object,
    tenant: &Tenant,
    username: &str,
) -> Result<Option<Level>, DbError> {
    // The tenant that a template belongs to; a pod is reached through its own tenant only.
    let owner: Option<String> = match object {
        Object::Pod(uid) => {
            pods::table
                .find(uid)
                .filter(pods::deleted_at.is_null())
                .select(pods::tenant_id)
                .for_no_key_update()
                .first(conn)
                .await
        }
        Object::Template(uid) => {
            templates::table
                .find(uid)
                .filter(templates::deleted_at.is_null())
                .select(templates::tenant_id)
                .for_no_key_update()
                .first(conn)
                .await
        }
    }
    .optional()?;
    let Some(owner) = owner else { return Ok(None) };
    let holder = Holder { tenant, username };
    let entries = list(conn, object).await?.into_iter();
    let levels = entries.map(|(key, level)| match object {
        Object::Pod(_) if key == username => level,
        Object::Pod(_) => Level::None,
        Object::Template(_) => holder.level_on_template(&owner, &key, level),
    });
    Ok(Some(levels.max().unwrap_or(Level::None)))
}

async fn held_under_lock(conn: &mut Connection, request: &Request<'_>) -> Result<Level, PermissionError> {
    lock(conn, request.object, request.tenant, request.actor).await?.ok_or(PermissionError::Gone)
}

/// What is left must have an ADMIN; then the change is noted. Whoever read the pod before, with a level that may have
/// changed now, cannot write it any more without reading it again.
async fn finish(conn: &mut Connection, request: &Request<'_>) -> Result<Grants, PermissionError> {
    let grants = list(conn, request.object).await?;
    if !grants.iter().any(|(_, level)| administers(*level)) {
        return Err(PermissionError::LastAdmin);
    }
    if let Object::Pod(uid) = request.object {
        diesel::update(pods::table.find(uid))
            .set(pods::revision.eq(pods::revision + 1))
            .execute(conn)
            .await?;
        if let Some(line) = request.log {
            action_logs::add(conn, uid, request.now, line).await?;
        }
    }
    Ok(grants)
}
