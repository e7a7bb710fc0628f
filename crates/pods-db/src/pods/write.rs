//! Writes of definitions; status writes are in [`crate::transitions`].

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use tracing::Instrument;
use uuid::Uuid;

use pods_core::{
    Level, PodDefinition, Status, StatusRequested, Tenant, definition::EffectivePod, ids::k8_name,
    reason::StatusContainer, time_to_stop,
};

use super::{
    PodRow,
    stored::{StoredDefinition, StoredPod},
};
use crate::{
    Connection, DbError, action_logs,
    columns::Json,
    constraints,
    credentials::{self, SealedCredentials},
    instances, outbox,
    schema::{pod_permissions, pods},
    template_tags,
};

/// What a create stores.
#[derive(Debug, Clone)]
pub struct NewPodRow<'a> {
    /// The uid of the row; random, because Kubernetes names carry its first digits.
    pub uid: Uuid,
    /// The tenant of the request.
    pub tenant: &'a Tenant,
    /// Host of the tenant's base URL, without scheme and port.
    pub tenant_host: &'a str,
    /// The id that the user chose.
    pub pod_id: &'a str,
    /// The definition as the user set it.
    pub definition: PodDefinition,
    /// The same merged with its templates and checked.
    pub effective: EffectivePod,
    /// The fields that the body set.
    pub modified_fields: BTreeSet<String>,
    /// The generated passwords, sealed for `uid`.
    pub credentials: SealedCredentials,
    /// Whether the pod starts at once.
    pub start: bool,
    /// The user who becomes ADMIN.
    pub creator: &'a str,
    /// The creator as the action log names them.
    pub label: &'a str,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Why a create did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A live pod of the tenant has this id.
    #[error("a pod with this pod_id already exists")]
    Exists,
    /// The template was deleted meanwhile.
    #[error("the template does not exist any more")]
    TemplateGone,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// How long a run may last, of a definition that is merged with its templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// See [`PodDefinition::time_to_stop_default`].
    pub default: i32,
    /// See [`PodDefinition::time_to_stop_instance`].
    pub instance: Option<i32>,
}

impl RunLimits {
    /// The limits of a merged definition.
    pub fn of(derived: &PodDefinition) -> Self {
        Self { default: derived.time_to_stop_default, instance: derived.time_to_stop_instance }
    }

    /// When a run that began at `start` ends; `None` when it has no end.
    pub fn deadline(self, start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        time_to_stop::deadline(start, self.default, self.instance)
    }

    /// The limit in force, in seconds or -1.
    fn seconds(self) -> i32 {
        self.instance.unwrap_or(self.default)
    }
}

/// What an update stores.
#[derive(Debug, Clone)]
pub struct NewDefinition<'a> {
    /// The definition as the user set it.
    pub definition: PodDefinition,
    /// The ledger after the change.
    pub modified_fields: BTreeSet<String>,
    /// Host of the tenant's base URL, without scheme and port.
    pub tenant_host: &'a str,
    /// Limits of the merged definition before the change.
    pub old_limits: RunLimits,
    /// The same after it.
    pub new_limits: RunLimits,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Why an update did not happen.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The new template was deleted meanwhile.
    #[error("the template does not exist any more")]
    TemplateGone,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl PodRow {
    /// Stores a new pod with its creator's permission, its credentials, its first action log line and, when it
    /// starts at once, its instance and wake-up, in one transaction.
    ///
    /// # Errors
    /// [`CreateError::Exists`] when a live pod has the id, [`CreateError::TemplateGone`] when its template was
    /// deleted meanwhile; a database error otherwise.
    pub async fn create(conn: &mut Connection, new: NewPodRow<'_>) -> Result<PodRow, CreateError> {
        let span =
            tracing::debug_span!("store pod", pod.uid = %new.uid, pod.id = new.pod_id, start = new.start);
        Self::store(conn, new).instrument(span).await
    }

    async fn store(conn: &mut Connection, new: NewPodRow<'_>) -> Result<PodRow, CreateError> {
        let uid = new.uid;
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
            tenant_host: new.tenant_host.to_owned(),
            created_by: new.creator.to_owned(),
        };
        let result = conn
            .transaction(async |conn| {
                if !template_tags::hold(conn, &row.site_id, &row.definition.template).await? {
                    return Err(CreateError::TemplateGone);
                }
                diesel::insert_into(pods::table).values(StoredPod::from(row.clone())).execute(conn).await?;
                // The rest hangs on the row and travels together: one round trip instead of five.
                let (conn, created) = (&*conn, format!("Pod object created by {}", new.label));
                let grant = grant_creator(conn, uid, new.creator);
                let log = action_logs::insert(conn, uid, new.now, &created);
                let credentials = credentials::insert(conn, uid, &new.credentials);
                match row.instance_id {
                    Some(instance_id) => {
                        let instance = instances::insert(conn, instance_id, uid, &new.effective, new.now);
                        let wake = outbox::insert(conn, uid, "create");
                        futures::try_join!(grant, log, credentials, instance, wake)?;
                    }
                    None => {
                        futures::try_join!(grant, log, credentials)?;
                    }
                }
                Ok(())
            })
            .await;
        match result {
            Ok(()) => Ok(row),
            Err(CreateError::Db(error))
                if constraints::is_taken(&error, &["pods_tenant_pod_id_key", "pods_k8_name_key"]) =>
            {
                Err(CreateError::Exists)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a new definition, unless the row has moved on since it was read. A changed time limit moves the
    /// deadline of the current run.
    ///
    /// # Errors
    /// [`UpdateError::TemplateGone`] when the change names another template and that was deleted meanwhile; a
    /// database error otherwise.
    pub async fn update_definition(
        conn: &mut Connection,
        row: &PodRow,
        new: NewDefinition<'_>,
    ) -> Result<Option<PodRow>, UpdateError> {
        let after = PodRow {
            time_to_stop_ts: moved_deadline(row, new.old_limits, new.new_limits),
            definition: new.definition,
            modified_fields: new.modified_fields,
            tenant_host: new.tenant_host.to_owned(),
            update_ts: new.now,
            revision: row.revision + 1,
            ..row.clone()
        };
        let count = if after.definition.template == row.definition.template {
            store_definition(conn, row, &after).await?
        } else {
            conn.transaction(async |conn| {
                if !template_tags::hold(conn, &row.site_id, &after.definition.template).await? {
                    return Err(UpdateError::TemplateGone);
                }
                Ok(store_definition(conn, row, &after).await?)
            })
            .await?
        };
        Ok((count == 1).then_some(after))
    }
}

/// The deadline of the current run under new limits.
fn moved_deadline(row: &PodRow, old: RunLimits, new: RunLimits) -> Option<DateTime<Utc>> {
    // A pod that was lost counts from the user's start, which only its deadline still tells.
    let by_deadline = row.time_to_stop_ts.map(|at| at - TimeDelta::seconds(i64::from(old.seconds())));
    let began = match row.losses {
        0 => row.start_instance_ts.or(by_deadline),
        _ => by_deadline.or(row.start_instance_ts),
    };
    match began {
        Some(began) if new.seconds() != old.seconds() => new.deadline(began),
        _ => row.time_to_stop_ts,
    }
}

async fn store_definition(conn: &mut Connection, row: &PodRow, after: &PodRow) -> Result<usize, DbError> {
    diesel::update(pods::table.find(row.uid).filter(pods::revision.eq(row.revision)))
        .set((
            StoredDefinition::from(after.definition.clone()),
            pods::modified_fields.eq(Json(after.modified_fields.clone())),
            pods::tenant_host.eq(&after.tenant_host),
            pods::time_to_stop_ts.eq(after.time_to_stop_ts),
            pods::update_ts.eq(after.update_ts),
            pods::revision.eq(after.revision),
        ))
        .execute(conn)
        .await
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
