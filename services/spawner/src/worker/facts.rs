//! What the database knows about a pod that is to be worked on.

use pods_core::Status;
use pods_db::{
    DbError,
    derived::{self, DeriveError},
    instances::{self, Instance},
    locks::PodLock,
    pods::PodRow,
};
use pods_kube::build::Entries;

/// What was found.
pub(super) struct Found {
    /// The current start.
    pub instance: Option<Instance>,
    /// How many deleted pods of the same name still hold objects.
    pub predecessors: i64,
    /// The networking entries as they are now; empty for a pod that must not run.
    pub entries: Entries,
}

/// Reads what the row does not say itself.
pub(super) async fn read(lock: &mut PodLock, row: &PodRow) -> Result<Found, DbError> {
    let instance = match row.instance_id {
        Some(id) => instances::get(lock.connection(), id).await?,
        None => None,
    };
    let predecessors = match row.status {
        Status::Requested => row.predecessors(lock.connection()).await?,
        _ => 0,
    };
    let runs = row.deleted_at.is_none() && row.status.wants_objects();
    let entries = match &instance {
        Some(instance) if runs => match derived::networking(lock.connection(), row).await {
            Ok(entries) => entries,
            // Its templates are gone, and with them what they said; the start still knows.
            Err(DeriveError::Chain(_)) => instance.effective.definition.networking.clone(),
            Err(DeriveError::Db(error)) => return Err(error),
        },
        _ => Entries::new(),
    };
    Ok(Found { instance, predecessors, entries })
}
