//! What the stream of events reads of pods: where they are in their life, and nothing of what their users configured,
//! which may be megabytes for each pod.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::{Level, Status, StatusRequested, Tenant, reason::StatusContainer};

use crate::{
    Connection, DbError,
    columns::{Json, Word},
    schema::{pod_permissions, pods},
};

/// A pod, tombstones included.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct Summary {
    pub uid: Uuid,
    pub tenant_id: String,
    pub pod_id: String,
    pub status_requested: StatusRequested,
    pub status: Status,
    pub status_container: StatusContainer,
    pub status_changed_ts: DateTime<Utc>,
    pub revision: i64,
    pub instance_id: Option<Uuid>,
    pub creation_ts: DateTime<Utc>,
    pub update_ts: DateTime<Utc>,
    pub start_instance_ts: Option<DateTime<Utc>>,
    pub time_to_stop_ts: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = pods, check_for_backend(diesel::pg::Pg))]
struct StoredSummary {
    uid: Uuid,
    tenant_id: String,
    pod_id: String,
    status_requested: Word<StatusRequested>,
    status: Word<Status>,
    status_container: Json<StatusContainer>,
    status_changed_ts: DateTime<Utc>,
    revision: i64,
    instance_id: Option<Uuid>,
    creation_ts: DateTime<Utc>,
    update_ts: DateTime<Utc>,
    start_instance_ts: Option<DateTime<Utc>>,
    time_to_stop_ts: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
}

impl From<StoredSummary> for Summary {
    fn from(s: StoredSummary) -> Self {
        Self {
            uid: s.uid,
            tenant_id: s.tenant_id,
            pod_id: s.pod_id,
            status_requested: s.status_requested.0,
            status: s.status.0,
            status_container: s.status_container.0,
            status_changed_ts: s.status_changed_ts,
            revision: s.revision,
            instance_id: s.instance_id,
            creation_ts: s.creation_ts,
            update_ts: s.update_ts,
            start_instance_ts: s.start_instance_ts,
            time_to_stop_ts: s.time_to_stop_ts,
            deleted_at: s.deleted_at,
        }
    }
}

/// Those of some pods that are of the site, tombstones included.
pub async fn some(conn: &mut Connection, site_id: &str, uids: &[Uuid]) -> Result<Vec<Summary>, DbError> {
    let found: Vec<StoredSummary> = pods::table
        .filter(pods::uid.eq_any(uids))
        .filter(pods::site_id.eq(site_id))
        .select(StoredSummary::as_select())
        .load(conn)
        .await?;
    Ok(found.into_iter().map(Summary::from).collect())
}

/// The live pods of a tenant, by id: those on which `username` holds READ or more, or all for `None`.
pub async fn readable(
    conn: &mut Connection,
    tenant: &Tenant,
    username: Option<&str>,
) -> Result<Vec<Summary>, DbError> {
    let mut query = pods::table
        .filter(pods::tenant_id.eq(&tenant.tenant_id))
        .filter(pods::site_id.eq(&tenant.site_id))
        .filter(pods::deleted_at.is_null())
        .order(pods::pod_id)
        .select(StoredSummary::as_select())
        .into_boxed();
    if let Some(username) = username {
        // Two statements, each with one index to go by, as in the list of pods.
        let uids: Vec<Uuid> = pod_permissions::table
            .filter(pod_permissions::username.eq(username))
            .filter(pod_permissions::level.ne(Level::None.as_str()))
            .select(pod_permissions::pod_uid)
            .load(conn)
            .await?;
        query = query.filter(pods::uid.eq_any(uids));
    }
    let found: Vec<StoredSummary> = query.load(conn).await?;
    Ok(found.into_iter().map(Summary::from).collect())
}

/// Who holds READ or more on which of some pods.
pub async fn readers(conn: &mut Connection, uids: &[Uuid]) -> Result<HashMap<Uuid, Vec<String>>, DbError> {
    let found: Vec<(Uuid, String)> = pod_permissions::table
        .filter(pod_permissions::pod_uid.eq_any(uids))
        .filter(pod_permissions::level.ne(Level::None.as_str()))
        .select((pod_permissions::pod_uid, pod_permissions::username))
        .load(conn)
        .await?;
    let mut readers: HashMap<Uuid, Vec<String>> = HashMap::new();
    for (uid, username) in found {
        readers.entry(uid).or_default().push(username);
    }
    Ok(readers)
}
