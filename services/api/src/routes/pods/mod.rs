//! Pods: one file for each thing that is done with them.

mod check;
mod create;
mod credentials;
mod delete;
mod derived;
mod events;
mod explain;
mod ledger;
mod logs;
mod metadata;
mod read;
mod save;
mod template;
mod update;
mod write;

// Globs, because the documentation of a handler stands beside it under a generated name.
pub use create::*;
pub use credentials::*;
pub use delete::*;
pub use derived::*;
pub use events::*;
pub use explain::*;
pub use ledger::*;
pub use logs::*;
pub use read::*;
pub use save::*;
pub use update::*;

pub(super) use check::check_image;
pub(super) use create::{NewPodParts, Stored, store};
use template::{pin, pin_newest};
pub(super) use update::to_newest_tag;
pub(super) use write::{Write, Written, write};

use pods_core::{
    Level,
    patch::Home,
    permission::{self, Action},
};
use pods_db::{Connection, pods::PodRow};

use crate::{caller::Caller, error::ApiError};

/// How often a write is tried again when somebody else wrote to the same pod in between.
pub(super) const TRIES: usize = 8;

/// The pod, if the caller may do `action` with it.
pub(super) async fn load(
    conn: &mut Connection,
    caller: &Caller,
    pod_id: &str,
    action: Action,
) -> Result<PodRow, ApiError> {
    Ok(load_with_level(conn, caller, pod_id, action).await?.0)
}

/// The same, and the level that the caller holds on it.
pub(super) async fn load_with_level(
    conn: &mut Connection,
    caller: &Caller,
    pod_id: &str,
    action: Action,
) -> Result<(PodRow, Level), ApiError> {
    let (pod, level) = PodRow::find(conn, &caller.tenant, pod_id, &caller.username)
        .await?
        .ok_or_else(|| ApiError::no_pod(pod_id))?;
    permission::decide(caller.rights(), level, action)?;
    Ok((pod, level))
}

/// Somebody else kept writing to the pod.
pub(super) fn busy() -> ApiError {
    ApiError::Conflict("The pod was changed by others at the same time; try again.".to_owned())
}

/// Where a pod of the caller's tenant lives.
pub(super) fn home<'a>(caller: &'a Caller, pod_id: &'a str) -> Home<'a> {
    Home { tenant: &caller.tenant, tenant_host: &caller.tenant_host, pod_id }
}
