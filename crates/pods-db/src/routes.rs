//! What the edge reads of pods: enough to route to them and nothing of what their users configured besides, which may
//! be megabytes for each pod.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::{
    Networking, PodDefinition, Resources, Status, Tenant,
    patch::Home,
    template::{self, ChainError},
};

use crate::{
    Connection, DbError,
    columns::{Json, Word},
    derived,
    schema::pods,
};

/// A pod and the networking entries that it has once its templates are merged into it.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct Route {
    pub uid: Uuid,
    pub tenant: Tenant,
    pub pod_id: String,
    pub k8_name: String,
    pub status: Status,
    pub networking: Result<BTreeMap<String, Networking>, ChainError>,
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
    template: Option<String>,
    networking: Json<BTreeMap<String, Networking>>,
    modified_fields: Json<BTreeSet<String>>,
    tenant_host: String,
    deleted_at: Option<DateTime<Utc>>,
}

/// The live pods of a site.
pub async fn all(conn: &mut Connection, site_id: &str) -> Result<Vec<Route>, DbError> {
    let found: Vec<StoredRoute> = pods::table
        .filter(pods::site_id.eq(site_id))
        .filter(pods::deleted_at.is_null())
        .select(StoredRoute::as_select())
        .load(conn)
        .await?;
    merged(conn, site_id, found).await
}

/// Those of some pods that are live and of the site.
pub async fn some(conn: &mut Connection, site_id: &str, uids: &[Uuid]) -> Result<Vec<Route>, DbError> {
    let mut found: Vec<StoredRoute> =
        pods::table.filter(pods::uid.eq_any(uids)).select(StoredRoute::as_select()).load(conn).await?;
    found.retain(|row| row.deleted_at.is_none() && row.site_id == site_id);
    merged(conn, site_id, found).await
}

async fn merged(
    conn: &mut Connection,
    site_id: &str,
    found: Vec<StoredRoute>,
) -> Result<Vec<Route>, DbError> {
    let references = found.iter().filter_map(|row| row.template.as_deref());
    let tags = derived::tags_for_routes(conn, site_id, references).await?;
    let merge = |row: StoredRoute| {
        let tenant = Tenant::new(&row.site_id, &row.tenant_id);
        let home = Home { tenant: &tenant, tenant_host: &row.tenant_host, pod_id: &row.pod_id };
        let definition = PodDefinition {
            template: row.template.unwrap_or_default(),
            networking: row.networking.0,
            ..PodDefinition::with_resources(Resources::default())
        };
        let networking = template::chain(&definition.template, &tags).map(|chain| {
            template::derive(&definition, &row.modified_fields.0, &chain, home).definition.networking
        });
        Route {
            uid: row.uid,
            pod_id: row.pod_id,
            k8_name: row.k8_name,
            status: row.status.0,
            networking,
            tenant,
        }
    };
    Ok(found.into_iter().map(merge).collect())
}
