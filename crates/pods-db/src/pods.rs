//! The `pods` table: one row a pod, tombstones included.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use uuid::Uuid;

use pods_core::{
    Level, Networking, PodDefinition, Resources, Status, StatusRequested, Tenant, ids::k8_name,
    reason::StatusContainer,
};

use crate::{
    Connection, DbError, action_logs,
    columns::{Json, Word},
    instances, outbox,
    schema::{pod_permissions, pods},
};

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
}

/// The row as it is read and written.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = pods, check_for_backend(diesel::pg::Pg))]
pub(crate) struct StoredPod {
    uid: Uuid,
    site_id: String,
    tenant_id: String,
    pod_id: String,
    k8_name: String,
    image: String,
    description: String,
    command: Option<Json<Vec<String>>>,
    arguments: Option<Json<Vec<String>>>,
    environment_variables: Json<BTreeMap<String, String>>,
    networking: Json<BTreeMap<String, Networking>>,
    resources: Json<Resources>,
    compute_queue: String,
    time_to_stop_default: i32,
    time_to_stop_instance: Option<i32>,
    modified_fields: Json<BTreeSet<String>>,
    status_requested: Word<StatusRequested>,
    status: Word<Status>,
    status_container: Json<StatusContainer>,
    status_changed_ts: DateTime<Utc>,
    revision: i64,
    instance_id: Option<Uuid>,
    losses: i32,
    not_before: Option<DateTime<Utc>>,
    creation_ts: DateTime<Utc>,
    update_ts: DateTime<Utc>,
    start_instance_ts: Option<DateTime<Utc>>,
    time_to_stop_ts: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    objects_gone_ts: Option<DateTime<Utc>>,
}

impl From<StoredPod> for PodRow {
    fn from(s: StoredPod) -> Self {
        Self {
            uid: s.uid,
            site_id: s.site_id,
            tenant_id: s.tenant_id,
            pod_id: s.pod_id,
            k8_name: s.k8_name,
            definition: PodDefinition {
                image: s.image,
                description: s.description,
                command: s.command.map(|json| json.0),
                arguments: s.arguments.map(|json| json.0),
                environment_variables: s.environment_variables.0,
                networking: s.networking.0,
                resources: s.resources.0,
                compute_queue: s.compute_queue,
                time_to_stop_default: s.time_to_stop_default,
                time_to_stop_instance: s.time_to_stop_instance,
            },
            modified_fields: s.modified_fields.0,
            status_requested: s.status_requested.0,
            status: s.status.0,
            status_container: s.status_container.0,
            status_changed_ts: s.status_changed_ts,
            revision: s.revision,
            instance_id: s.instance_id,
            losses: s.losses,
            not_before: s.not_before,
            creation_ts: s.creation_ts,
            update_ts: s.update_ts,
            start_instance_ts: s.start_instance_ts,
            time_to_stop_ts: s.time_to_stop_ts,
            deleted_at: s.deleted_at,
            objects_gone_ts: s.objects_gone_ts,
        }
    }
}

impl From<PodRow> for StoredPod {
    fn from(r: PodRow) -> Self {
        let d = r.definition;
        Self {
            uid: r.uid,
            site_id: r.site_id,
            tenant_id: r.tenant_id,
            pod_id: r.pod_id,
            k8_name: r.k8_name,
            image: d.image,
            description: d.description,
            command: d.command.map(Json),
            arguments: d.arguments.map(Json),
            environment_variables: Json(d.environment_variables),
            networking: Json(d.networking),
            resources: Json(d.resources),
            compute_queue: d.compute_queue,
            time_to_stop_default: d.time_to_stop_default,
            time_to_stop_instance: d.time_to_stop_instance,
            modified_fields: Json(r.modified_fields),
            status_requested: Word(r.status_requested),
            status: Word(r.status),
            status_container: Json(r.status_container),
            status_changed_ts: r.status_changed_ts,
            revision: r.revision,
            instance_id: r.instance_id,
            losses: r.losses,
            not_before: r.not_before,
            creation_ts: r.creation_ts,
            update_ts: r.update_ts,
            start_instance_ts: r.start_instance_ts,
            time_to_stop_ts: r.time_to_stop_ts,
            deleted_at: r.deleted_at,
            objects_gone_ts: r.objects_gone_ts,
        }
    }
}

/// What a create stores.
#[derive(Debug, Clone)]
pub struct NewPodRow<'a> {
    /// The tenant of the request.
    pub tenant: &'a Tenant,
    /// The id that the user chose.
    pub pod_id: &'a str,
    /// The checked definition.
    pub definition: PodDefinition,
    /// The fields that the body set.
    pub modified_fields: BTreeSet<String>,
    /// Whether the pod starts at once.
    pub start: bool,
    /// The user who becomes ADMIN.
    pub creator: &'a str,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Why a create did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A live pod of the tenant has this id.
    #[error("a pod with this pod_id already exists")]
    Exists,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl PodRow {
    /// The tenant of the pod.
    pub fn tenant(&self) -> Tenant {
        Tenant::new(&self.site_id, &self.tenant_id)
    }

    /// Stores a new pod with its creator's permission, its first action log line and, when it starts at once, its
    /// instance and wake-up, in one transaction.
    ///
    /// # Errors
    /// [`CreateError::Exists`] when a live pod has the id; a database error otherwise.
    pub async fn create(conn: &mut Connection, new: NewPodRow<'_>) -> Result<PodRow, CreateError> {
        // Random, not ordered by time: Kubernetes names carry the first digits of a uid and of an instance id.
        let uid = Uuid::new_v4();
        let (status, requested) = match new.start {
            true => (Status::Requested, StatusRequested::On),
            false => (Status::Stopped, StatusRequested::Off),
        };
        let row = PodRow {
            uid,
            site_id: new.tenant.site_id.clone(),
            tenant_id: new.tenant.tenant_id.clone(),
            pod_id: new.pod_id.to_owned(),
            k8_name: k8_name(new.tenant, new.pod_id, uid),
            definition: new.definition,
            modified_fields: new.modified_fields,
            status_requested: requested,
            status,
            status_container: StatusContainer::default(),
            status_changed_ts: new.now,
            revision: 1,
            instance_id: new.start.then(Uuid::new_v4),
            losses: 0,
            not_before: None,
            creation_ts: new.now,
            update_ts: new.now,
            start_instance_ts: None,
            time_to_stop_ts: None,
            deleted_at: None,
            objects_gone_ts: None,
        };
        let result = conn
            .transaction(async |conn| {
                diesel::insert_into(pods::table).values(StoredPod::from(row.clone())).execute(conn).await?;
                // The rest hangs on the row and travels together: one round trip instead of four.
                let (conn, created) = (&*conn, format!("Pod object created by '{}'", new.creator));
                let grant = grant_creator(conn, uid, new.creator);
                let log = action_logs::insert(conn, uid, new.now, &created);
                match row.instance_id {
                    Some(instance_id) => {
                        let effective = row.definition.effective();
                        let instance = instances::insert(conn, instance_id, uid, &effective, new.now);
                        futures::try_join!(grant, log, instance, outbox::insert(conn, uid, "create"))?;
                    }
                    None => {
                        futures::try_join!(grant, log)?;
                    }
                }
                Ok(())
            })
            .await;
        match result {
            Ok(()) => Ok(row),
            Err(error) if violates(&error, &["pods_tenant_pod_id_key", "pods_k8_name_key"]) => {
                Err(CreateError::Exists)
            }
            Err(error) => Err(CreateError::Db(error)),
        }
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

    /// The live pods of a tenant on which `username` holds READ or more, by id.
    pub async fn list_readable(
        conn: &mut Connection,
        tenant: &Tenant,
        username: &str,
    ) -> Result<Vec<PodRow>, DbError> {
        let found = pods::table
            .inner_join(pod_permissions::table)
            .filter(pods::tenant_id.eq(&tenant.tenant_id))
            .filter(pods::site_id.eq(&tenant.site_id))
            .filter(pods::deleted_at.is_null())
            .filter(pod_permissions::username.eq(username))
            .filter(pod_permissions::level.ne(Level::None.as_str()))
            .order(pods::pod_id)
            .select(StoredPod::as_select())
            .load::<StoredPod>(conn)
            .await?;
        Ok(found.into_iter().map(PodRow::from).collect())
    }

    /// All live pods of a tenant, by id: for administrators.
    pub async fn list_all(conn: &mut Connection, tenant: &Tenant) -> Result<Vec<PodRow>, DbError> {
        let found = pods::table
            .filter(pods::tenant_id.eq(&tenant.tenant_id))
            .filter(pods::site_id.eq(&tenant.site_id))
            .filter(pods::deleted_at.is_null())
            .order(pods::pod_id)
            .select(StoredPod::as_select())
            .load::<StoredPod>(conn)
            .await?;
        Ok(found.into_iter().map(PodRow::from).collect())
    }

    /// The row of a uid, tombstones included.
    pub async fn by_uid(conn: &mut Connection, uid: Uuid) -> Result<Option<PodRow>, DbError> {
        let found = pods::table.find(uid).select(StoredPod::as_select()).first(conn).await.optional()?;
        Ok(found.map(PodRow::from))
    }

    /// The rows of some uids, tombstones included.
    pub async fn by_uids(conn: &mut Connection, uids: &[Uuid]) -> Result<Vec<PodRow>, DbError> {
        let found = pods::table
            .filter(pods::uid.eq_any(uids))
            .select(StoredPod::as_select())
            .load::<StoredPod>(conn)
            .await?;
        Ok(found.into_iter().map(PodRow::from).collect())
    }

    /// All live pods of a site.
    pub async fn all_live(conn: &mut Connection, site_id: &str) -> Result<Vec<PodRow>, DbError> {
        let found = pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::deleted_at.is_null())
            .select(StoredPod::as_select())
            .load::<StoredPod>(conn)
            .await?;
        Ok(found.into_iter().map(PodRow::from).collect())
    }

    /// Pods that somebody should be working on and whose status has not moved since `changed_before`, oldest
    /// first: statuses in progress, and tombstones whose objects are not known to be gone.
    pub async fn unsettled(
        conn: &mut Connection,
        site_id: &str,
        changed_before: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<PodRow>, DbError> {
        let in_progress: Vec<&str> = Status::IN_PROGRESS.iter().map(|status| status.as_str()).collect();
        let found = pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::objects_gone_ts.is_null())
            .filter(pods::status.eq_any(in_progress))
            .filter(pods::status_changed_ts.lt(changed_before))
            .order(pods::status_changed_ts)
            .limit(limit)
            .select(StoredPod::as_select())
            .load::<StoredPod>(conn)
            .await?;
        Ok(found.into_iter().map(PodRow::from).collect())
    }

    /// Live pods whose `time_to_stop_ts` has passed and that can expire.
    pub async fn expired(
        conn: &mut Connection,
        site_id: &str,
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<PodRow>, DbError> {
        let expirable = [Status::Available, Status::Complete, Status::Error].map(Status::as_str);
        let found = pods::table
            .filter(pods::site_id.eq(site_id))
            .filter(pods::deleted_at.is_null())
            .filter(pods::time_to_stop_ts.le(now))
            .filter(pods::status.eq_any(expirable))
            .limit(limit)
            .select(StoredPod::as_select())
            .load::<StoredPod>(conn)
            .await?;
        Ok(found.into_iter().map(PodRow::from).collect())
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

    /// Stores a new definition, unless the row has moved on since it was read. A changed time limit moves the
    /// deadline of the current run.
    pub async fn update_definition(
        conn: &mut Connection,
        row: &PodRow,
        definition: PodDefinition,
        modified_fields: BTreeSet<String>,
        now: DateTime<Utc>,
    ) -> Result<Option<PodRow>, DbError> {
        let (old_limit, limit) = (row.definition.run_limit(), definition.run_limit());
        // A pod that was lost counts from the user's start, which only its deadline still tells.
        let by_deadline = row.time_to_stop_ts.map(|at| at - TimeDelta::seconds(i64::from(old_limit)));
        let began = match row.losses {
            0 => row.start_instance_ts.or(by_deadline),
            _ => by_deadline.or(row.start_instance_ts),
        };
        let time_to_stop_ts = match began {
            Some(began) if limit != old_limit => pods_core::time_to_stop::deadline(
                began,
                definition.time_to_stop_default,
                definition.time_to_stop_instance,
            ),
            _ => row.time_to_stop_ts,
        };
        let after = PodRow {
            definition,
            modified_fields,
            time_to_stop_ts,
            update_ts: now,
            revision: row.revision + 1,
            ..row.clone()
        };
        let stored = StoredPod::from(after.clone());
        let count = diesel::update(pods::table.find(row.uid).filter(pods::revision.eq(row.revision)))
            .set((
                pods::image.eq(stored.image),
                pods::description.eq(stored.description),
                pods::command.eq(stored.command),
                pods::arguments.eq(stored.arguments),
                pods::environment_variables.eq(stored.environment_variables),
                pods::networking.eq(stored.networking),
                pods::resources.eq(stored.resources),
                pods::compute_queue.eq(stored.compute_queue),
                pods::time_to_stop_default.eq(stored.time_to_stop_default),
                pods::time_to_stop_instance.eq(stored.time_to_stop_instance),
                pods::modified_fields.eq(stored.modified_fields),
                pods::time_to_stop_ts.eq(stored.time_to_stop_ts),
                pods::update_ts.eq(stored.update_ts),
                pods::revision.eq(stored.revision),
            ))
            .execute(conn)
            .await?;
        Ok((count == 1).then_some(after))
    }

    /// Removes tombstones whose objects were gone before `before`, with everything that hangs on them.
    pub async fn purge_tombstones(conn: &mut Connection, before: DateTime<Utc>) -> Result<usize, DbError> {
        diesel::delete(
            pods::table.filter(pods::deleted_at.lt(before)).filter(pods::objects_gone_ts.lt(before)),
        )
        .execute(conn)
        .await
    }
}

async fn grant_creator(mut conn: &Connection, uid: Uuid, creator: &str) -> Result<(), DbError> {
    diesel::insert_into(pod_permissions::table)
        .values((
            pod_permissions::pod_uid.eq(uid),
            pod_permissions::username.eq(creator),
            pod_permissions::level.eq(Level::Admin.as_str()),
        ))
        .execute(&mut conn)
        .await?;
    Ok(())
}

fn violates(error: &DbError, constraints: &[&str]) -> bool {
    match error {
        DbError::DatabaseError(diesel::result::DatabaseErrorKind::UniqueViolation, info) => {
            info.constraint_name().is_some_and(|name| constraints.contains(&name))
        }
        _ => false,
    }
}
