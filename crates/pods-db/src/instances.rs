//! Starts of pods, each frozen at the moment it was accepted.

mod ledger;

pub use ledger::{End, Ledger, Routed, last_log_bytes, ledger, note_phases, note_routed, phases};
pub(crate) use ledger::{note, note_end};

use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Jsonb, Timestamptz, Uuid as UuidType},
};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::definition::EffectivePod;

use crate::{Connection, DbError, columns::Json, logs::runs, schema::pod_instances};

/// One start of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Identifies the start.
    pub instance_id: Uuid,
    /// The pod.
    pub pod_uid: Uuid,
    /// What the spawner builds from.
    pub effective: EffectivePod,
    /// When the start was accepted.
    pub created_ts: DateTime<Utc>,
    /// Whether the log of the ended container is stored to its end.
    pub log_complete: bool,
}

/// Starts of a pod that are kept, however often it is started: each holds the whole definition. What a start may still
/// have in Kubernetes ends before so many others are accepted.
pub const KEPT: i64 = 50;

/// Stores a start, and forgets those that are too many.
pub(crate) async fn insert(
    mut conn: &Connection,
    instance_id: Uuid,
    pod_uid: Uuid,
    effective: &EffectivePod,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::sql_query(
        "WITH forgotten AS (DELETE FROM pod_instances WHERE instance_id IN \
           (SELECT instance_id FROM pod_instances WHERE pod_uid = $2 ORDER BY created_ts DESC OFFSET $5)) \
         INSERT INTO pod_instances (instance_id, pod_uid, definition, created_ts) VALUES ($1, $2, $3, $4)",
    )
    .bind::<UuidType, _>(instance_id)
    .bind::<UuidType, _>(pod_uid)
    .bind::<Jsonb, _>(Json(effective.clone()))
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(KEPT - 1)
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// The start with this id.
pub async fn get(conn: &mut Connection, instance_id: Uuid) -> Result<Option<Instance>, DbError> {
    type Columns = (Uuid, Uuid, Json<EffectivePod>, DateTime<Utc>, bool);
    use pod_instances as i;
    let columns = (i::instance_id, i::pod_uid, i::definition, i::created_ts, i::log_complete);
    let found = i::table.find(instance_id).select(columns).first::<Columns>(conn).await.optional()?;
    Ok(found.map(|(instance_id, pod_uid, Json(effective), created_ts, log_complete)| Instance {
        instance_id,
        pod_uid,
        effective,
        created_ts,
        log_complete,
    }))
}

/// Whether the log of the start's container is stored to its end; `None` when the start is not known.
pub async fn log_complete(conn: &mut Connection, instance_id: Uuid) -> Result<Option<bool>, DbError> {
    use pod_instances as i;
    i::table.find(instance_id).select(i::log_complete).first(conn).await.optional()
}

/// Notes that the log of the start's ended container is stored to its end.
pub async fn set_log_complete(conn: &mut Connection, instance_id: Uuid) -> Result<(), DbError> {
    // Both travel together.
    let mut conn = &*conn;
    let over = runs::finish(conn, instance_id, Utc::now());
    let complete = async {
        diesel::update(pod_instances::table.find(instance_id))
            .set(pod_instances::log_complete.eq(true))
            .execute(&mut conn)
            .await
    };
    futures::try_join!(over, complete)?;
    Ok(())
}

/// Removes starts that are older than `before`, some of them at once, but for the newest one of each pod, which tells how
/// it ended. Answers 0 when there was nothing to remove; call it again until then.
pub async fn prune(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
    diesel::sql_query(
        "DELETE FROM pod_instances WHERE instance_id IN (SELECT i.instance_id FROM pod_instances AS i \
         WHERE i.created_ts < $1 \
         AND NOT EXISTS (SELECT FROM pods WHERE pods.instance_id = i.instance_id) \
         AND EXISTS (SELECT FROM pod_instances AS newer WHERE newer.pod_uid = i.pod_uid AND newer.created_ts > i.created_ts) \
         LIMIT 1000)",
    )
    .bind::<Timestamptz, _>(before)
    .execute(conn)
    .await
}
