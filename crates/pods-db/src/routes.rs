//! What the edge reads of pods: enough to route to them and nothing of what their users configured besides, which may
//! be megabytes for each pod.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::{
    Level, Networking, Status, Tenant, networking,
    patch::Home,
    reason::StatusContainer,
    template::{self, ChainError},
};

use crate::{
    Connection, DbError,
    columns::{Json, Word},
    derived,
    schema::{pod_permissions, pods},
};

/// A pod and the networking entries that it has once its templates are merged into it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct Route {
    pub uid: Uuid,
    pub tenant: Tenant,
    pub pod_id: String,
    pub k8_name: String,
    pub tenant_host: String,
    pub status: Status,
    /// Whether visitors are led to the container.
    pub live: bool,
    /// In the order in which they were first granted.
    pub permissions: Arc<[(String, Level)]>,
    /// Merged; the row's own ones where they cannot be merged.
    pub networking: BTreeMap<String, Networking>,
    /// Why they cannot.
    pub problem: Option<ChainError>,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = pods, check_for_backend(diesel::pg::Pg))]
struct StoredRoute {
    uid: Uuid,
    site_id: String,
    tenant_id: String,
    pod_id: String,
    k8_name: String,
    status: Word<Status>,
    status_container: Json<StatusContainer>,
    template: Option<String>,
    networking: Json<BTreeMap<String, Networking>>,
    modified_fields: Json<BTreeSet<String>>,
    tenant_host: String,
    deleted_at: Option<DateTime<Utc>>,
}

/// What each user holds on each pod.
type Permissions = HashMap<Uuid, Vec<(String, Level)>>;
type StoredPermission = (Uuid, String, Word<Level>);

/// The live pods of a site.
pub async fn all(conn: &mut Connection, site_id: &str) -> Result<Vec<Route>, DbError> {
    let found: Vec<StoredRoute> = pods::table
        .filter(pods::site_id.eq(site_id))
        .filter(pods::deleted_at.is_null())
        .select(StoredRoute::as_select())
        .load(conn)
        .await?;
    let permissions: Vec<StoredPermission> = pod_permissions::table
        .inner_join(pods::table.on(pods::uid.eq(pod_permissions::pod_uid)))
        .filter(pods::site_id.eq(site_id))
        .filter(pods::deleted_at.is_null())
        .order(pod_permissions::position)
        .select((pod_permissions::pod_uid, pod_permissions::username, pod_permissions::level))
        .load(conn)
        .await?;
    merged(conn, site_id, found, by_pod(permissions)).await
}

/// Those of some pods that are live and of the site.
pub async fn some(conn: &mut Connection, site_id: &str, uids: &[Uuid]) -> Result<Vec<Route>, DbError> {
    let mut found: Vec<StoredRoute> =
        pods::table.filter(pods::uid.eq_any(uids)).select(StoredRoute::as_select()).load(conn).await?;
    found.retain(|row| row.deleted_at.is_none() && row.site_id == site_id);
    let permissions: Vec<StoredPermission> = pod_permissions::table
        .filter(pod_permissions::pod_uid.eq_any(found.iter().map(|row| row.uid)))
        .order(pod_permissions::position)
        .select((pod_permissions::pod_uid, pod_permissions::username, pod_permissions::level))
        .load(conn)
        .await?;
    merged(conn, site_id, found, by_pod(permissions)).await
}

fn by_pod(rows: Vec<StoredPermission>) -> Permissions {
    let mut permissions = Permissions::new();
    for (uid, username, level) in rows {
        permissions.entry(uid).or_default().push((username, level.0));
    }
    permissions
}

async fn merged(
    conn: &mut Connection,
    site_id: &str,
    found: Vec<StoredRoute>,
    mut permissions: Permissions,
) -> Result<Vec<Route>, DbError> {
    let references = found.iter().filter_map(|row| row.template.as_deref());
    let tags = derived::tags_for_routes(conn, site_id, references).await?;
    let merge = |row: StoredRoute| {
        let tenant = Tenant::new(&row.site_id, &row.tenant_id);
        let home = Home { tenant: &tenant, tenant_host: &row.tenant_host, pod_id: &row.pod_id };
        let (chain, problem) = match template::chain(row.template.as_deref().unwrap_or_default(), &tags) {
            Ok(chain) => (chain, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        let networking = template::entries(&row.networking.0, &row.modified_fields.0, &chain, home);
        Route {
            uid: row.uid,
            pod_id: row.pod_id,
            k8_name: row.k8_name,
            live: networking::live(row.status.0, &row.status_container.0),
            status: row.status.0,
            permissions: permissions.remove(&row.uid).unwrap_or_default().into(),
            tenant_host: row.tenant_host,
            networking,
            problem,
            tenant,
        }
    };
    Ok(found.into_iter().map(merge).collect())
}
