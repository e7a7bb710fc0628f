//! The values of a start: opens the pod's credentials and puts everything in its place, before any object is made.

use pods_core::resolve::{self, Resolved, Unavailable};
use pods_db::{
    Connection, DbError,
    credentials::{self as rows, SealedCredentials},
    instances::Instance,
    pods::PodRow,
};
use pods_secrets::{KeyRing, OpenError, SealError, credentials};
use tracing::info;

/// What came of it.
pub(crate) enum Values {
    /// Every value.
    Ready(Resolved),
    /// The start is impossible.
    Unavailable(Unavailable),
    /// Somebody else wrote the credentials at the same moment; read again.
    Moved,
}

/// Why nothing is known: for an operator to mend, the start is none the worse.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValuesError {
    #[error("the credentials of the pod do not open: {0}")]
    Open(#[from] OpenError),
    #[error("the credentials of the pod cannot be sealed: {0}")]
    Seal(#[from] SealError),
    #[error("the database failed")]
    Db(#[from] DbError),
}

/// The values of a start. Credentials that are missing, for a pod or for a `${pods:random:N}`, are made and stored
/// first, and those of an old key are sealed anew: a value that a container saw is one that stays.
pub(crate) async fn of_start(
    keys: &KeyRing,
    conn: &mut Connection,
    row: &PodRow,
    instance: &Instance,
) -> Result<Values, ValuesError> {
    let definition = &instance.effective.definition;
    let stored = rows::get(conn, row.uid).await?;
    let mut opened = match &stored {
        Some(stored) => credentials::open(keys, row.uid, &stored.key_id, &stored.sealed)?,
        None => credentials::generate(&row.pod_id)?,
    };
    let new_values = credentials::ensure_random(&mut opened, &definition.secret_map)?;
    if new_values || stored.as_ref().is_none_or(|stored| keys.needs_reseal(&stored.key_id)) {
        let sealed = credentials::seal(keys, row.uid, &opened)?;
        let sealed = SealedCredentials { key_id: sealed.key_id, sealed: sealed.bytes };
        if !rows::replace(conn, row.uid, stored.as_ref(), &sealed).await? {
            return Ok(Values::Moved);
        }
        info!(pod.uid = %row.uid, pod.id = row.pod_id, key = sealed.key_id, new_values, "credentials stored");
    }
    let tenant = row.tenant();
    Ok(match resolve::resolve(definition, &opened, row.home(&tenant)) {
        Ok(resolved) => Values::Ready(resolved),
        Err(unavailable) => Values::Unavailable(unavailable),
    })
}
