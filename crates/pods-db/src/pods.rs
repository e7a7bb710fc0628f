//! The `pods` table: one row a pod, tombstones included.

mod stored;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures::TryStreamExt;
use uuid::Uuid;

use pods_core::{
    Level, Networking, PodDefinition, Status, StatusRequested, Tenant, networking,
    patch::Home,
    reason::StatusContainer,
    routing,
    template::{self, ChainError, Derived, Tags},
};

use crate::{
    Connection, DbError,
    columns::Word,
    schema::{pod_permissions, pods},
};
use stored::StoredPod;
pub use write::{CreateError, NewDefinition, NewPodRow, RunLimits, UpdateError};

/// Tombstones that are removed by one statement.
const PURGED_AT_ONCE: i64 = 10;

/// A row of `pods`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct PodRow {
    pub uid: Uuid,
    pub site_id: String,
    pub tenant_id: String,
    pub pod_id: String,
    pub k8_name: String,
    pub definition: PodDefinition,
    pub modified_fields: BTreeSet<String>,
    pub status_requested: StatusRequested,
    pub status: Status,
    pub status_container: StatusContainer,
    pub status_changed_ts: DateTime<Utc>,
    pub revision: i64,
    pub instance_id: Option<Uuid>,
    pub losses: i32,
    pub not_before: Option<DateTime<Utc>>,
    pub creation_ts: DateTime<Utc>,
    pub update_ts: DateTime<Utc>,
    pub start_instance_ts: Option<DateTime<Utc>>,
    pub time_to_stop_ts: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub objects_gone_ts: Option<DateTime<Utc>>,
    pub tenant_host: String,
    pub created_by: String,
}

/// A pod that somebody should be working on.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns are described in the migrations")]
pub struct Unsettled {
    pub uid: Uuid,
    pub status: Status,
    pub revision: i64,
    pub not_before: Option<DateTime<Utc>>,
}

/// A row without its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief {
    /// The pod.
    pub uid: Uuid,
    /// Counts the writes of the row.
    pub revision: i64,
    /// Where it is.
    pub status: Status,
    /// Whether it was deleted and some object of it is left.
    pub deleted: bool,
}

impl Brief {
    /// Whether there should be a Pod of it.
    pub fn should_run(&self) -> bool {
        !self.deleted && matches!(self.status, Status::Spawning | Status::Available)
    }
}

impl PodRow {
    /// The tenant of the pod.
    pub fn tenant(&self) -> Tenant {
        Tenant::new(&self.site_id, &self.tenant_id)
    }

    /// Where the definition lives; `tenant` is [`PodRow::tenant`].
    pub fn home<'a>(&'a self, tenant: &'a Tenant) -> Home<'a> {
        Home { tenant, tenant_host: &self.tenant_host, pod_id: &self.pod_id }
    }

    /// The definition merged with its templates, which [`crate::derived::tags`] finds for any number of pods.
    ///
    /// # Errors
    /// [`ChainError`] when a template is missing from `tags` or they build on each other in a way that has no end.
    pub fn derived(&self, tags: &Tags) -> Result<Derived, ChainError> {
        let chain = template::chain(&self.definition.template, tags)?;
        Ok(template::derive(&self.definition, &self.modified_fields, &chain, self.home(&self.tenant())))
    }

    /// The networking entries merged with those of its templates, of which [`crate::derived::tags_for_routes`] reads
    /// enough: what routing follows.
    ///
    /// # Errors
    /// As [`PodRow::derived`].
    pub fn entries(&self, tags: &Tags) -> Result<BTreeMap<String, Networking>, ChainError> {
        let chain = template::chain(&self.definition.template, tags)?;
        let (own, tenant) = (&self.definition.networking, self.tenant());
        Ok(template::entries(own, &self.modified_fields, &chain, self.home(&tenant)))
    }

    /// Whether visitors are let to the container, if there is an entry that leads them there.
    pub fn is_open(&self) -> bool {
        networking::live(self.status, &self.status_container)
    }

    /// Whether visitors are led to the container at present, through any of `entries`, the merged ones.
    pub fn networking_live(&self, entries: &BTreeMap<String, Networking>) -> bool {
        self.is_open() && routing::has_visitors(&self.k8_name, entries)
    }

    /// The pod and the level that `username` holds on it.
    pub async fn find(
        conn: &mut Connection,
        tenant: &Tenant,
        pod_id: &str,
        username: &str,
    ) -> Result<Option<(PodRow, Level)>, DbError> {
        if !pod_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            // No pod can have it, and Postgres refuses some of it (NUL).
            return Ok(None);
        }
        let found = pods::table
            .left_join(
                pod_permissions::table
                    .on(pod_permissions::pod_uid.eq(pods::uid).and(pod_permissions::username.eq(username))),
            )
            .filter(pods::tenant_id.eq(&tenant.tenant_id))
            .filter(pods::site_id.eq(&tenant.site_id))
            .filter(pods::pod_id.eq(pod_id))
            .filter(pods::deleted_at.is_null())
            .select((StoredPod::as_select(), pod_permissions::level.nullable()))
            .first::<(StoredPod, Option<Word<Level>>)>(conn)
            .await
            .optional()?;
        Ok(found.map(|(pod, level)| (pod.into(), level.map_or(Level::None, |word| word.0))))
    }

    /// The live pods of a tenant on which `username` holds READ or more, by id, with that level; without the contents
    /// of configuration files, which no list shows ([`PodDefinition::redact_contents`]).
    ///
    /// Two statements, each with one index to go by. Joined, Postgres walks through all pods of the tenant as long
    /// as it has no statistics of them.
    pub async fn list_readable(
        conn: &mut Connection,
        tenant: &Tenant,
        username: &str,
    ) -> Result<Vec<(PodRow, Level)>, DbError> {
        let levels: Vec<(Uuid, Word<Level>)> = pod_permissions::table
            .filter(pod_permissions::username.eq(username))
            .filter(pod_permissions::level.ne(Level::None.as_str()))
            .select((pod_permissions::pod_uid, pod_permissions::level))
            .load(conn)
            .await?;
        if levels.is_empty() {
            return Ok(Vec::new());
        }
        let levels: HashMap<Uuid, Level> = levels.into_iter().map(|(uid, level)| (uid, level.0)).collect();
        let uids: Vec<Uuid> = levels.keys().copied().collect();
        let found = pods::table
            .filter(pods::uid.eq_any(uids))
            .filter(pods::tenant_id.eq(&tenant.tenant_id))
            .filter(pods::site_id.eq(&tenant.site_id))
            .filter(pods::deleted_at.is_null())
            .select(StoredPod::as_select())
            .load_stream::<StoredPod>(conn)
            .await?;
        let found: Vec<PodRow> = found.map_ok(redacted).try_collect().await?;
        let mut readable: Vec<(PodRow, Level)> = found
            .into_iter()
            .filter_map(|pod| Some((levels.get(&pod.uid).copied()?, pod)))
            .map(|(level, pod)| (pod, level))
            .collect();
        readable.sort_unstable_by(|(a, _), (b, _)| a.pod_id.cmp(&b.pod_id));
        Ok(readable)
    }

    /// All live pods of a tenant, by id, without the contents of configuration files: for administrators.
    pub async fn list_all(conn: &mut Connection, tenant: &Tenant) -> Result<Vec<PodRow>, DbError> {
        let found = pods::table
            .filter(pods::tenant_id.eq(&tenant.tenant_id))
            .filter(pods::site_id.eq(&tenant.site_id))
            .filter(pods::deleted_at.is_null())
            .order(pods::pod_id)
            .select(StoredPod::as_select())
            .load_stream::<StoredPod>(conn)
            .await?;
        found.map_ok(redacted).try_collect().await
    }

    /// The row of a uid, tombstones included.
    pub async fn by_uid(conn: &mut Connection, uid: Uuid) -> Result<Option<PodRow>, DbError> {
        let found = pods::table.find(uid).select(StoredPod::as_select()).first(conn).await.optional()?;
        Ok(found.map(PodRow::from))
    }

    /// The rows of these pods, tombstones included; those that do not exist are left out.
    pub async fn by_uids(conn: &mut Connection, uids: &[Uuid]) -> Result<Vec<PodRow>, DbError> {
        let found: Vec<StoredPod> =
            pods::table.filter(pods::uid.eq_any(uids)).select(StoredPod::as_select()).load(conn).await?;
        Ok(found.into_iter().map(PodRow::from).collect())
    }

    /// What is not stopped of a site, tombstones with objects included, in a form that is cheap for thousands.
    pub async fn not_stopped(conn: &mut Connection, site_id: &str) -> Result<Vec<Brief>, DbError> {
        let rows: Vec<(Uuid, i64, Word<Status>, bool)> = pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::objects_gone_ts.is_null())
            .filter(pods::status.ne(Status::Stopped.as_str()))
            .select((pods::uid, pods::revision, pods::status, pods::deleted_at.is_not_null()))
            .load(conn)
            .await?;
        let brief = |(uid, revision, Word(status), deleted)| Brief { uid, revision, status, deleted };
        Ok(rows.into_iter().map(brief).collect())
    }

    /// Those of these pods of a site of which Kubernetes should hold nothing and for which nobody works, tombstones
    /// included.
    pub async fn at_rest(conn: &mut Connection, site_id: &str, uids: &[Uuid]) -> Result<Vec<Uuid>, DbError> {
        let at_rest = [Status::Stopped, Status::Complete, Status::Error].map(Status::as_str);
        pods::table
            .filter(pods::uid.eq_any(uids))
            .filter(pods::site_id.eq(site_id))
            .filter(pods::status.eq_any(at_rest))
            .select(pods::uid)
            .load(conn)
            .await
    }

    /// How many live pods of a site are in each status; statuses without a pod are left out.
    pub async fn count_by_status(
        conn: &mut Connection,
        site_id: &str,
    ) -> Result<Vec<(Status, i64)>, DbError> {
        let counts: Vec<(Word<Status>, i64)> = pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::deleted_at.is_null())
            .group_by(pods::status)
            .select((pods::status, diesel::dsl::count_star()))
            .load(conn)
            .await?;
        Ok(counts.into_iter().map(|(Word(status), count)| (status, count)).collect())
    }

    /// Pods that somebody should be working on and whose status has not moved since `changed_before`, oldest
    /// first: statuses in progress, and tombstones whose objects are not known to be gone. All of them: a limit would
    /// hide the younger ones behind those that wait for long.
    pub async fn unsettled(
        conn: &mut Connection,
        site_id: &str,
        changed_before: DateTime<Utc>,
    ) -> Result<Vec<Unsettled>, DbError> {
        type Found = (Uuid, Word<Status>, i64, Option<DateTime<Utc>>);
        let in_progress: Vec<&str> = Status::IN_PROGRESS.iter().map(|status| status.as_str()).collect();
        let found: Vec<Found> = pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::objects_gone_ts.is_null())
            .filter(pods::status.eq_any(in_progress))
            .filter(pods::status_changed_ts.lt(changed_before))
            .order(pods::status_changed_ts)
            .select((pods::uid, pods::status, pods::revision, pods::not_before))
            .load(conn)
            .await?;
        Ok(found
            .into_iter()
            .map(|(uid, Word(status), revision, not_before)| Unsettled { uid, status, revision, not_before })
            .collect())
    }

    /// Live pods whose `time_to_stop_ts` has passed and that can expire. All of them, for each replica to find its own.
    pub async fn expired(
        conn: &mut Connection,
        site_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, DbError> {
        let expirable = [Status::Available, Status::Complete, Status::Error].map(Status::as_str);
        pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::deleted_at.is_null())
            .filter(pods::time_to_stop_ts.le(now))
            .filter(pods::status.eq_any(expirable))
            .select(pods::uid)
            .load(conn)
            .await
    }

    /// How many deleted pods of the same tenant and id may still have objects; the new pod waits for them.
    pub async fn predecessors(&self, conn: &mut Connection) -> Result<i64, DbError> {
        pods::table
            .filter(pods::tenant_id.eq(&self.tenant_id))
            .filter(pods::site_id.eq(&self.site_id))
            .filter(pods::pod_id.eq(&self.pod_id))
            .filter(pods::uid.ne(self.uid))
            .filter(pods::deleted_at.is_not_null())
            .filter(pods::objects_gone_ts.is_null())
            .count()
            .get_result(conn)
            .await
    }

    /// Removes tombstones whose objects were gone before `before`, with everything that hangs on them: a few at a time,
    /// for each may have tens of MiB of logs. Answers how many; call it again until there are none.
    pub async fn purge_tombstones(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
        let old: Vec<Uuid> = pods::table
            .filter(pods::deleted_at.lt(before))
            .filter(pods::objects_gone_ts.lt(before))
            .limit(PURGED_AT_ONCE)
            .select(pods::uid)
            .load(conn)
            .await?;
        if old.is_empty() {
            return Ok(0);
        }
        diesel::delete(pods::table.filter(pods::uid.eq_any(old))).execute(conn).await
    }
}

/// Rows of lists come one by one and lose the contents of their configuration files at once, so that these are never
/// all in memory.
fn redacted(stored: StoredPod) -> PodRow {
    let mut row = PodRow::from(stored);
    row.definition.redact_contents();
    row
}
