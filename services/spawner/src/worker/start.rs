//! Creating what is missing of a start.

use std::sync::atomic::Ordering;

use std::sync::Mutex;

use chrono::Utc;
use k8s_openapi::api::{core::v1::Service, networking::v1::NetworkPolicy};
use pods_core::{
    Level, Status, Tenant,
    phases::{Phase, Phases},
    pull_secret,
    reason::{MESSAGE_MAX, Reason, StatusContainer},
    transition::Event,
};
use pods_db::{
    action_logs,
    instances::{self, Instance},
    locks::PodLock,
    permissions::{self, Object},
    pods::PodRow,
    transitions::{self, Applied, Change},
};
use pods_kube::build::{self, Build, Entries, network_policy};
use pods_messages::Outcome;
use tracing::{info, warn};

use super::{Round, Stopped, Worker, backoff, is_news, waiting};
use crate::{
    cluster::{Plan, SecretState, Trouble},
    decide::Spawn,
    values::{self, Values},
};

/// A start and what is missing of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// What was frozen.
    pub instance: &'a Instance,
    /// Its NetworkPolicy, when the installation has them.
    pub policy: Option<&'a NetworkPolicy>,
    /// The pod's Service, when it has networking entries.
    pub service: Option<&'a Service>,
    /// What to create.
    pub spawn: &'a Spawn,
    /// Which attempt of the wake-up this is.
    pub attempt: u64,
}

impl Worker {
    /// The NetworkPolicy that the pod must have while its entries are these.
    pub(super) fn policy(
        &self,
        row: &PodRow,
        instance: &Instance,
        entries: &Entries,
    ) -> Option<NetworkPolicy> {
        let tenant = row.tenant();
        network_policy(&self.build(row, &tenant, instance, None), entries)
    }

    /// The Service that the pod must have while its entries are these.
    pub(super) fn service(&self, row: &PodRow, instance: &Instance, entries: &Entries) -> Option<Service> {
        let tenant = row.tenant();
        build::service(&self.build(row, &tenant, instance, None), entries)
    }

    fn build<'a>(
        &'a self,
        row: &'a PodRow,
        tenant: &'a Tenant,
        instance: &'a Instance,
        traceparent: Option<&'a str>,
    ) -> Build<'a> {
        Build {
            tenant,
            pod_id: &row.pod_id,
            uid: row.uid,
            k8_name: &row.k8_name,
            instance_id: instance.instance_id,
            effective: &instance.effective,
            settings: &self.settings,
            traceparent,
            shutdown_volume: self.shutdown_volume.load(Ordering::Relaxed),
        }
    }

    /// What is missing of the registry credentials that the start names, and who can mend it.
    ///
    /// That a user may be named at all is asked at every start and not when the definition is written: whoever loses
    /// APPROVEDADMIN takes it away from all pods.
    async fn missing_pull_secret(
        &self,
        lock: &mut PodLock,
        row: &PodRow,
        instance: &Instance,
    ) -> Result<Option<String>, Stopped> {
        let wanted = match pull_secret::of(&instance.effective.definition.environment_variables) {
            Ok(None) => return Ok(None),
            Ok(Some(wanted)) => wanted,
            Err(problem) => return Ok(Some(problem.to_string())),
        };
        let (user, variable) = (&wanted.user, pull_secret::VARIABLE);
        let grants = permissions::list(lock.connection(), Object::Pod(row.uid)).await?;
        let approved = grants.iter().any(|(name, level)| name == user && *level == Level::ApprovedAdmin);
        if !approved {
            return Ok(Some(format!(
                "{variable} names \"{user}\", who does not hold APPROVEDADMIN on this pod: an administrator of the \
                 service has to grant it, or the variable has to name somebody who does; then start the pod again"
            )));
        }
        let name = &wanted.name;
        Ok(match self.cluster.pull_secret(name).await? {
            SecretState::Usable => None,
            SecretState::Missing => Some(format!(
                "the registry credentials of \"{user}\", which {variable} names, are not there: an operator has to \
                 create the Kubernetes Secret {name}; then start the pod again"
            )),
            SecretState::WrongType => Some(format!(
                "the registry credentials of \"{user}\", which {variable} names, cannot be used: an operator has to \
                 make the Kubernetes Secret {name} one of type kubernetes.io/dockerconfigjson; then start the pod again"
            )),
        })
    }

    pub(super) async fn spawn(
        &self,
        lock: &mut PodLock,
        mut row: PodRow,
        start: Start<'_>,
    ) -> Result<Round, Stopped> {
        let Start { instance, policy, service, spawn, attempt } = start;
        if spawn.pod
            && let Some(missing) = self.missing_pull_secret(lock, &row, instance).await?
        {
            return self.refused(lock, &row, attempt, Reason::ImagePullSecret, &missing).await;
        }
        let values = if spawn.needs_values() {
            match values::of_start(&self.keys, lock.connection(), &row, instance).await? {
                Values::Ready(values) => Some(values),
                Values::Unavailable(why) => {
                    return self.refused(lock, &row, attempt, why.reason, &why.message).await;
                }
                Values::Moved => return Ok(Round::Again),
            }
        } else {
            None
        };
        if spawn.begin {
            let starting =
                StatusContainer::because(Reason::Starting, "Kubernetes is asked to run the container");
            let change = Change::new(Event::SpawnBegun, Utc::now())
                .because(starting)
                .log("spawner set status to SPAWNING");
            match transitions::apply(lock.connection(), &row, change).await? {
                Applied::Done(after) => row = *after,
                Applied::Illegal(_) | Applied::Moved | Applied::Underivable(_) => return Ok(Round::Again),
            }
        }
        let (tenant, traceparent) = (row.tenant(), pods_telemetry::trace::current());
        let build = self.build(&row, &tenant, instance, traceparent.as_deref());
        let plan = Plan { build, values: values.as_ref(), policy, service };
        let result = {
            let lock = Mutex::new(&mut *lock);
            let held = || lock.lock().is_ok_and(|mut lock| lock.is_held());
            self.cluster.spawn(&plan, spawn, &held).await
        };
        match result {
            Ok(()) => {}
            Err(Trouble::Refused { quota, message }) => {
                let reason = if quota { Reason::Quota } else { Reason::Refused };
                return self.refused(lock, &row, attempt, reason, &message).await;
            }
            Err(Trouble::NameTaken(kind)) => {
                if is_news(attempt) {
                    info!(pod.uid = %row.uid, pod.id = row.pod_id, kind, attempt, "the name is still taken, waiting");
                }
                if attempt > 1 {
                    waiting::tell(lock, row.uid, waiting::for_name(kind, &row.k8_name)).await;
                }
                return Ok(Round::Finished(Outcome::RetryAfter(backoff(attempt))));
            }
            Err(trouble) => return Err(trouble.into()),
        }
        info!(pod.uid = %row.uid, pod.id = row.pod_id, instance.id = %instance.instance_id, ?spawn, "objects created");
        if spawn.pod {
            let created = Phases::at(Phase::Created, Utc::now());
            instances::note_phases(lock.connection(), instance.instance_id, &created).await?;
        }
        self.undo_or_finish(lock, &row).await
    }

    /// Reads the row again after creating: what is not wanted any more is taken down in the next round.
    async fn undo_or_finish(&self, lock: &mut PodLock, before: &PodRow) -> Result<Round, Stopped> {
        let Some(row) = PodRow::by_uid(lock.connection(), before.uid).await? else { return Ok(Round::Again) };
        let wanted =
            row.deleted_at.is_none() && row.status.wants_objects() && row.instance_id == before.instance_id;
        if !wanted {
            return Ok(Round::Again);
        }
        if row.status == Status::Spawning && waiting::is_over(&row.status_container) {
            let starting =
                StatusContainer::because(Reason::Starting, "Kubernetes is asked to run the container");
            transitions::set_status_container(lock.connection(), &row, &starting).await?;
        }
        Ok(Round::Finished(Outcome::Done))
    }

    async fn refused(
        &self,
        lock: &mut PodLock,
        row: &PodRow,
        attempt: u64,
        reason: Reason,
        message: &str,
    ) -> Result<Round, Stopped> {
        let why: String = message.chars().take(MESSAGE_MAX).collect();
        if row.status == Status::Available {
            return self.change_refused(lock, row, attempt, &why).await;
        }
        warn!(pod.uid = %row.uid, pod.id = row.pod_id, why, "the start was refused");
        let line = format!("spawner set status to ERROR: could not be started: {message}");
        let change = Change::new(Event::Refused, Utc::now())
            .because(StatusContainer::because(reason, message))
            .log(&line);
        transitions::apply(lock.connection(), row, change).await?;
        Ok(Round::Again)
    }

    /// The container runs, so its start cannot be refused any more; what is missing beside it is tried again, and its
    /// users read in the action log why it is not there.
    async fn change_refused(
        &self,
        lock: &mut PodLock,
        row: &PodRow,
        attempt: u64,
        why: &str,
    ) -> Result<Round, Stopped> {
        let retry = backoff(attempt);
        if is_news(attempt) {
            warn!(pod.uid = %row.uid, pod.id = row.pod_id, why, attempt, ?retry, "a change was refused, trying again");
            let line = format!("a change of the running pod is refused, and tried again: {why}");
            action_logs::add(lock.connection(), row.uid, Utc::now(), &line).await?;
        }
        Ok(Round::Finished(Outcome::RetryAfter(retry)))
    }
}
