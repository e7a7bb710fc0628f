//! What a row says of its container, without a change of status.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use pods_core::{phases::Phases, reason::StatusContainer};

use crate::{
    Connection, DbError,
    columns::Json,
    instances,
    logs::Fence,
    pods::PodRow,
    schema::{leases, pods},
};

/// Says why a pod waits, without a change of status. Writes nothing when it says the same already; `false` when
/// nothing was written.
pub async fn set_status_container(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
) -> Result<bool, DbError> {
    set_status_container_with(conn, row, status_container, &Phases::default(), None).await
}

/// The same, together with the phases that the start has reached.
pub async fn set_status_container_with(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
    phases: &Phases,
    fence: Option<&Fence>,
) -> Result<bool, DbError> {
    if row.status_container == *status_container {
        return Ok(false);
    }
    let instance = row.instance_id.filter(|_| !phases.is_empty());
    let Some(instance) = instance else { return say(conn, row, status_container, fence).await };
    conn.transaction(async |conn| {
        let said = say(conn, row, status_container, fence).await?;
        if said {
            instances::note(conn, instance, phases).await?;
        }
        Ok(said)
    })
    .await
}

async fn say(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
    fence: Option<&Fence>,
) -> Result<bool, DbError> {
    let count = diesel::update(pods::table.find(row.uid))
        .filter(pods::revision.eq(row.revision))
        .filter(still_held!(fence))
        .set((pods::status_container.eq(Json(status_container.clone())), pods::revision.eq(row.revision + 1)))
        .execute(conn)
        .await?;
    Ok(count == 1)
}
