//! What a start is made from.

use uuid::Uuid;

use pods_core::{definition::EffectivePod, template::ChainError};

use crate::{
    Connection, DbError,
    derived::{DeriveError, derive_one},
    instances,
    pods::{PodRow, RunLimits},
};

/// What a new instance of `row` is built from: the snapshot of the instance that was lost, else the definition as it
/// is now, merged with its templates.
pub(crate) async fn snapshot(
    conn: &mut Connection,
    row: &PodRow,
    lost: Option<Uuid>,
) -> Result<Result<EffectivePod, ChainError>, DbError> {
    if let Some(lost) = lost
        && let Some(instance) = instances::get(conn, lost).await?
    {
        return Ok(Ok(instance.effective));
    }
    match derive_one(conn, row).await {
        Ok(derived) => Ok(Ok(derived.into())),
        Err(DeriveError::Chain(error)) => Ok(Err(error)),
        Err(DeriveError::Db(error)) => Err(error),
    }
}

/// How long the run of `row` that begins now may last. It runs already, so a pod that can no longer be derived falls
/// back to what it was started with.
pub(crate) async fn limits(conn: &mut Connection, row: &PodRow) -> Result<RunLimits, DbError> {
    let snapshot = match snapshot(conn, row, None).await? {
        Ok(derived) => Some(derived),
        Err(_) => match row.instance_id {
            Some(current) => instances::get(conn, current).await?.map(|instance| instance.effective),
            None => None,
        },
    };
    Ok(RunLimits::of(snapshot.as_ref().map_or(&row.definition, |effective| &effective.definition)))
}
