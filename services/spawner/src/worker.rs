//! One wake-up: lock the pod, then read, decide and act until Kubernetes is as the row wants it.

use std::{sync::Mutex, time::Duration};

use chrono::{TimeDelta, Utc};
use futures::future;
use pods_core::{
    Status,
    reason::{MESSAGE_MAX, Reason, StatusContainer},
    resolve,
    transition::Event,
};
use pods_db::{
    Db, DbError,
    instances::{self, Instance},
    locks::{LockError, Locks, PodLock},
    pods::PodRow,
    transitions::{self, Applied, Change},
};
use pods_kube::build::{Build, Settings};
use pods_messages::{Delivery, Outcome};
use pods_secrets::KeyRing;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, Trouble},
    decide::{Decision, Facts, Removal, Spawn, decide},
    values::{self, Values, ValuesError},
    world::World,
};

/// How soon to try again when somebody else works on the pod.
const BUSY: Duration = Duration::from_millis(300);
/// Rounds of one wake-up; more means that something moves all the time, and others want to work too.
const ROUNDS: usize = 16;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// Works on pods, one wake-up at a time; cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    site_id: String,
    locks: Locks,
    cluster: Cluster,
    keys: KeyRing,
    settings: std::sync::Arc<Settings>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("Kubernetes: {0}")]
    Cluster(#[from] Trouble),
    #[error("{0}")]
    Values(ValuesError),
    #[error("the database failed")]
    Db(#[from] DbError),
}

impl From<ValuesError> for Stopped {
    fn from(error: ValuesError) -> Self {
        match error {
            ValuesError::Db(error) => Self::Db(error),
            other @ (ValuesError::Open(_) | ValuesError::Seal(_)) => Self::Values(other),
        }
    }
}

/// What a round led to.
enum Round {
    Again,
    Finished(Outcome),
}

impl Worker {
    /// Works on the pods of a site, at most `concurrency` at a time.
    ///
    /// # Errors
    /// When the pool of connections for locks cannot be built.
    pub fn new(
        site_id: &str,
        db: &Db,
        cluster: Cluster,
        keys: KeyRing,
        settings: Settings,
        concurrency: usize,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            site_id: site_id.to_owned(),
            locks: Locks::new(db, concurrency)?,
            cluster,
            keys,
            settings: std::sync::Arc::new(settings),
        })
    }

    /// Handles one wake-up.
    pub async fn handle(&self, delivery: Delivery) -> Outcome {
        match delivery.wake_up.uid() {
            Ok(uid) => self.look_at(uid, delivery.attempt).await,
            Err(error) => Outcome::Reject(error.to_string()),
        }
    }

    /// Brings one pod to what its row wants, as far as that is possible now. `attempt` counts from 1.
    pub async fn look_at(&self, uid: Uuid, attempt: u64) -> Outcome {
        let mut lock = match self.locks.try_acquire(uid).await {
            Ok(Some(lock)) => lock,
            Ok(None) => return Outcome::RetryAfter(BUSY),
            Err(error) => return unavailable(uid, attempt, &error),
        };
        let result = self.work(&mut lock, uid, attempt).await;
        match result {
            Ok(outcome) => {
                lock.release().await;
                outcome
            }
            Err(Stopped::Cluster(Trouble::LockLost)) => {
                warn!(pod.uid = %uid, "the lock was lost, nothing more is written");
                Outcome::RetryAfter(BUSY)
            }
            Err(Stopped::Cluster(trouble)) => {
                let retry = backoff(attempt);
                warn!(pod.uid = %uid, error = %trouble, attempt, ?retry, "Kubernetes could not be asked, trying again");
                if attempt > 1 && matches!(trouble, Trouble::Unknown(_)) {
                    let text = "Kubernetes does not answer at the moment; nothing is lost, the work goes on as soon as it does";
                    say_waiting(&mut lock, uid, Reason::KubernetesUnreachable, text).await;
                }
                lock.release().await;
                Outcome::RetryAfter(retry)
            }
            Err(Stopped::Values(error)) => {
                let retry = backoff(attempt);
                warn!(pod.uid = %uid, %error, attempt, ?retry, "the values of the start cannot be had, trying again");
                let text = "the pod's credentials cannot be read at the moment; nothing is lost, the start goes on as soon as an operator has mended it";
                say_waiting(&mut lock, uid, Reason::KeysUnavailable, text).await;
                lock.release().await;
                Outcome::RetryAfter(retry)
            }
            Err(Stopped::Db(error)) => unavailable(uid, attempt, &LockError::Db(error)),
        }
    }

    async fn work(&self, lock: &mut PodLock, uid: Uuid, attempt: u64) -> Result<Outcome, Stopped> {
        for _ in 0..ROUNDS {
            let Some(row) = PodRow::by_uid(lock.connection(), uid).await? else {
                debug!(pod.uid = %uid, "there is no such pod any more");
                return Ok(Outcome::Done);
            };
            if row.site_id != self.site_id {
                return Ok(Outcome::Reject(format!("the pod belongs to site {}", row.site_id)));
            }
            match self.round(lock, row, attempt).await? {
                Round::Again => {}
                Round::Finished(outcome) => return Ok(outcome),
            }
        }
        Ok(Outcome::RetryAfter(BUSY))
    }

    async fn round(&self, lock: &mut PodLock, row: PodRow, attempt: u64) -> Result<Round, Stopped> {
        let (world, facts) = future::join(self.cluster.world(row.uid), read_facts(lock, &row)).await;
        let (world, (instance, predecessors)) = (world?, facts?);
        let decision = decide(&Facts {
            row: &row,
            world: &world,
            log_complete: instance.as_ref().is_some_and(|instance| instance.log_complete),
            wants_secret: instance.as_ref().is_some_and(|i| resolve::needs_secret(&i.effective.definition)),
            wants_service: instance.as_ref().is_some_and(|i| !i.effective.definition.networking.is_empty()),
            predecessors,
            grace: TimeDelta::seconds(self.settings.termination_grace_seconds),
            now: Utc::now(),
        });
        debug!(pod.uid = %row.uid, pod.id = row.pod_id, status = %row.status, ?decision, "decided");
        match decision {
            Decision::Nothing => Ok(Round::Finished(Outcome::Done)),
            Decision::Wait { after, what } => {
                debug!(pod.uid = %row.uid, ?after, what, attempt, "waiting");
                Ok(Round::Finished(Outcome::RetryAfter(after)))
            }
            Decision::Remove(removals) => {
                self.remove(lock, &row, &removals).await?;
                Ok(Round::Again)
            }
            Decision::ObjectsGone => self.objects_gone(lock, &row).await,
            Decision::Spawn(spawn) => match instance {
                Some(instance) => self.spawn(lock, row, &instance, spawn, &world).await,
                None => {
                    Ok(Round::Finished(Outcome::Reject("the start of the pod was never recorded".to_owned())))
                }
            },
        }
    }

    async fn remove(&self, lock: &mut PodLock, row: &PodRow, removals: &[Removal]) -> Result<(), Stopped> {
        info!(pod.uid = %row.uid, pod.id = row.pod_id, status = %row.status, objects = removals.len(), "removing objects");
        let lock = Mutex::new(lock);
        let held = || lock.lock().is_ok_and(|mut lock| lock.is_held());
        future::try_join_all(removals.iter().map(|removal| self.cluster.remove(removal, &held))).await?;
        Ok(())
    }

    async fn objects_gone(&self, lock: &mut PodLock, row: &PodRow) -> Result<Round, Stopped> {
        let now = Utc::now();
        if row.deleted_at.is_some() {
            transitions::mark_objects_gone(lock.connection(), row, now).await?;
            info!(pod.uid = %row.uid, pod.id = row.pod_id, "nothing is left of the deleted pod");
            return Ok(Round::Again);
        }
        let line = match row.status {
            Status::Restarting => "stopped, starting again",
            _ => "stopped",
        };
        let change = Change::new(Event::ObjectsGone, now).log(line);
        if let Applied::Done(after) = transitions::apply(lock.connection(), row, change).await? {
            info!(pod.uid = %row.uid, pod.id = row.pod_id, from = %row.status, to = %after.status, "nothing is left of the pod");
        }
        Ok(Round::Again)
    }

    async fn spawn(
        &self,
        lock: &mut PodLock,
        mut row: PodRow,
        instance: &Instance,
        spawn: Spawn,
        world: &World,
    ) -> Result<Round, Stopped> {
        let values = if spawn.needs_values() {
            match values::of_start(&self.keys, lock.connection(), &row, instance).await? {
                Values::Ready(values) => Some(values),
                Values::Unavailable(why) => return self.refused(lock, &row, why.reason, &why.message).await,
                Values::Moved => return Ok(Round::Again),
            }
        } else {
            None
        };
        if spawn.begin {
            let starting =
                StatusContainer::because(Reason::Starting, "Kubernetes is asked to run the container");
            let change = Change::new(Event::SpawnBegun, Utc::now()).because(starting);
            match transitions::apply(lock.connection(), &row, change).await? {
                Applied::Done(after) => row = *after,
                Applied::Illegal(_) | Applied::Moved | Applied::Underivable(_) => return Ok(Round::Again),
            }
        }
        let tenant = row.tenant();
        let build = Build {
            tenant: &tenant,
            pod_id: &row.pod_id,
            uid: row.uid,
            k8_name: &row.k8_name,
            instance_id: instance.instance_id,
            effective: &instance.effective,
            settings: &self.settings,
        };
        let result = {
            let lock = Mutex::new(&mut *lock);
            let held = || lock.lock().is_ok_and(|mut lock| lock.is_held());
            self.cluster.spawn(&build, values.as_ref(), &spawn, &held).await
        };
        match result {
            Ok(()) => {}
            Err(Trouble::Refused { quota, message }) => {
                let reason = if quota { Reason::Quota } else { Reason::Refused };
                return self.refused(lock, &row, reason, &message).await;
            }
            Err(Trouble::NameTaken(kind)) => {
                info!(pod.uid = %row.uid, pod.id = row.pod_id, kind, "the name is still taken, waiting");
                return Ok(Round::Finished(Outcome::RetryAfter(BUSY)));
            }
            Err(trouble) => return Err(trouble.into()),
        }
        info!(pod.uid = %row.uid, pod.id = row.pod_id, instance.id = %instance.instance_id, had = world.pods.len(), "objects created");
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
        let waited = matches!(
            row.status_container.code,
            Some(Reason::KubernetesUnreachable | Reason::KeysUnavailable)
        );
        if row.status == Status::Spawning && waited {
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
        reason: Reason,
        message: &str,
    ) -> Result<Round, Stopped> {
        let why: String = message.chars().take(MESSAGE_MAX).collect();
        warn!(pod.uid = %row.uid, pod.id = row.pod_id, why, "the start was refused");
        let line = format!("could not be started: {message}");
        let change = Change::new(Event::Refused, Utc::now())
            .because(StatusContainer::because(reason, message))
            .log(&line);
        transitions::apply(lock.connection(), row, change).await?;
        Ok(Round::Again)
    }
}

/// Tells the user what is waited for. Written once: the text is always the same.
async fn say_waiting(lock: &mut PodLock, uid: Uuid, reason: Reason, text: &str) {
    let told = async {
        if let Some(row) = PodRow::by_uid(lock.connection(), uid).await?
            && row.deleted_at.is_none()
            && Status::IN_PROGRESS.contains(&row.status)
        {
            let why = StatusContainer::because(reason, text);
            transitions::set_status_container(lock.connection(), &row, &why).await?;
        }
        Ok::<(), DbError>(())
    };
    if let Err(error) = told.await {
        warn!(pod.uid = %uid, %error, "the reason for waiting could not be stored");
    }
}

/// The current start, and how many deleted pods of the same name still hold objects.
async fn read_facts(lock: &mut PodLock, row: &PodRow) -> Result<(Option<Instance>, i64), DbError> {
    let instance = match row.instance_id {
        Some(id) => instances::get(lock.connection(), id).await?,
        None => None,
    };
    let predecessors = match row.status {
        Status::Requested => row.predecessors(lock.connection()).await?,
        _ => 0,
    };
    Ok((instance, predecessors))
}

fn unavailable(uid: Uuid, attempt: u64, error: &LockError) -> Outcome {
    let retry = backoff(attempt);
    warn!(pod.uid = %uid, %error, attempt, ?retry, "the database does not answer, trying again");
    Outcome::RetryAfter(retry)
}

fn backoff(attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u128> = [1, 2, 3, 6, 7, 60].iter().map(|n| backoff(*n).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 8000, 15_000, 15_000]);
    }
}
