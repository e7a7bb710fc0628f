//! What the stream of events reads of pods: where they are in their life, and nothing of what their users configured
//! besides networking, which may be megabytes for each pod.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use pods_core::{
    Level, Networking, Status, StatusRequested, Tenant, networking,
    patch::Home,
    reason::StatusContainer,
    routing,
    template::{self, Tags},
};

use crate::{
    Connection, DbError,
    columns::{Json, Word},
    derived,
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
    /// Whether visitors are led to the container at present.
    pub networking_live: bool,
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
    site_id: String,
    tenant_id: String,
    pod_id: String,
    k8_name: String,
    tenant_host: String,
    template: Option<String>,
    networking: Json<BTreeMap<String, Networking>>,
    modified_fields: Json<BTreeSet<String>>,
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

impl StoredSummary {
    /// Whether visitors are let to the container, if there is an entry that leads them there.
    fn is_open(&self) -> bool {
        self.deleted_at.is_none() && networking::live(self.status.0, &self.status_container.0)
    }

    fn networking_live(&self, tags: &Tags) -> bool {
        let reference = self.template.as_deref().unwrap_or_default();
        let Ok(chain) = template::chain(reference, tags) else { return false };
        let tenant = Tenant::new(&self.site_id, &self.tenant_id);
        let home = Home { tenant: &tenant, tenant_host: &self.tenant_host, pod_id: &self.pod_id };
        let entries = template::entries(&self.networking.0, &self.modified_fields.0, &chain, home);
        routing::has_visitors(&self.k8_name, &entries)
    }

    /// `tags` has the templates of the pod if it is open.
    fn summary(self, tags: &Tags) -> Summary {
        Summary {
            networking_live: self.is_open() && self.networking_live(tags),
            uid: self.uid,
            tenant_id: self.tenant_id,
            pod_id: self.pod_id,
            status_requested: self.status_requested.0,
            status: self.status.0,
            status_container: self.status_container.0,
            status_changed_ts: self.status_changed_ts,
            revision: self.revision,
            instance_id: self.instance_id,
            creation_ts: self.creation_ts,
            update_ts: self.update_ts,
            start_instance_ts: self.start_instance_ts,
            time_to_stop_ts: self.time_to_stop_ts,
            deleted_at: self.deleted_at,
        }
    }
}

/// One statement more if any of the pods that are open to visitors has a template.
async fn summaries(
    conn: &mut Connection,
    site_id: &str,
    found: Vec<StoredSummary>,
) -> Result<Vec<Summary>, DbError> {
    let open = found.iter().filter(|pod| pod.is_open());
    let references = open.filter_map(|pod| pod.template.as_deref());
    let tags = derived::tags_for_routes(conn, site_id, references).await?;
    Ok(found.into_iter().map(|pod| pod.summary(&tags)).collect())
}

/// Those of some pods that are of the site, tombstones included.
pub async fn some(conn: &mut Connection, site_id: &str, uids: &[Uuid]) -> Result<Vec<Summary>, DbError> {
    let found: Vec<StoredSummary> = pods::table
        .filter(pods::uid.eq_any(uids))
        .filter(pods::site_id.eq(site_id))
        .select(StoredSummary::as_select())
        .load(conn)
        .await?;
    summaries(conn, site_id, found).await
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
    summaries(conn, &tenant.site_id, found).await
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
