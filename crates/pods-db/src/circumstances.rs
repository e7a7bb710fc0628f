//! What of the service's own parts keeps a pod waiting: read for explanations, so that they need neither the broker nor
//! the other processes.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Bool, Nullable, Text, Timestamptz, Uuid as UuidType};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{Connection, DbError};

/// What the service's own parts do about a pod.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub struct Circumstances {
    /// Since when a wake-up of the pod waits for the broker.
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub unpublished_since: Option<DateTime<Utc>>,
    /// Whether a replica of health holds a share of the site's pods.
    #[diesel(sql_type = Bool)]
    pub observed: bool,
}

/// The circumstances of a pod.
pub async fn of(conn: &mut Connection, site_id: &str, pod_uid: Uuid) -> Result<Circumstances, DbError> {
    diesel::sql_query(
        "SELECT (SELECT min(created_ts) FROM outbox WHERE published_at IS NULL AND pod_uid = $1) AS unpublished_since, \
         EXISTS (SELECT FROM leases WHERE starts_with(name, $2) AND expires_ts > now()) AS observed",
    )
    .bind::<UuidType, _>(pod_uid)
    .bind::<Text, _>(format!("health/{site_id}/shard-"))
    .get_result(conn)
    .await
}
