//! Starts of pods, each frozen at the moment it was accepted.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::definition::EffectivePod;

use crate::{Connection, DbError, columns::Json, schema::pod_instances};

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
    /// Time stamp of the newest log line that is stored.
    pub log_resume_ts: Option<DateTime<Utc>>,
    /// How many lines with exactly that time stamp are stored.
    pub log_resume_skip: i32,
    /// Whether the log of the ended container is stored to its end.
    pub log_complete: bool,
}

pub(crate) async fn insert(
    mut conn: &Connection,
    instance_id: Uuid,
    pod_uid: Uuid,
    effective: &EffectivePod,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::insert_into(pod_instances::table)
        .values((
            pod_instances::instance_id.eq(instance_id),
            pod_instances::pod_uid.eq(pod_uid),
            pod_instances::definition.eq(Json(effective.clone())),
            pod_instances::created_ts.eq(now),
        ))
        .execute(&mut conn)
        .await?;
    Ok(())
}

/// The start with this id.
pub async fn get(conn: &mut Connection, instance_id: Uuid) -> Result<Option<Instance>, DbError> {
    type Columns = (Uuid, Uuid, Json<EffectivePod>, DateTime<Utc>, Option<DateTime<Utc>>, i32, bool);
    let found = pod_instances::table.find(instance_id).first::<Columns>(conn).await.optional()?;
    Ok(found.map(
        |(
            instance_id,
            pod_uid,
            Json(effective),
            created_ts,
            log_resume_ts,
            log_resume_skip,
            log_complete,
        )| {
            Instance {
                instance_id,
                pod_uid,
                effective,
                created_ts,
                log_resume_ts,
                log_resume_skip,
                log_complete,
            }
        },
    ))
}

/// Notes that the log of the start's ended container is stored to its end.
pub async fn set_log_complete(conn: &mut Connection, instance_id: Uuid) -> Result<(), DbError> {
    diesel::update(pod_instances::table.find(instance_id))
        .set(pod_instances::log_complete.eq(true))
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes starts that are no longer the current one of their pod and older than `before`.
pub async fn prune(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
    diesel::sql_query(
        "DELETE FROM pod_instances AS i WHERE i.created_ts < $1 \
         AND NOT EXISTS (SELECT FROM pods WHERE pods.instance_id = i.instance_id)",
    )
    .bind::<diesel::sql_types::Timestamptz, _>(before)
    .execute(conn)
    .await
}
