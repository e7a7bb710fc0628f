//! One wake-up: lock the pod, then read, decide and act until Kubernetes is as the row wants it.

mod facts;
pub(crate) mod orphans;
mod start;
mod waiting;

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use chrono::{TimeDelta, Utc};
use futures::future;
use pods_core::{Status, resolve, transition::Event};
use pods_db::{
    Db, DbError,
    locks::{LockError, Locks, PodLock},
    pods::PodRow,
    transitions::{self, Applied, Change},
};
use pods_kube::build::{Face, Settings, rules};
use pods_messages::{Delivery, Outcome, WakeUp};
use pods_runtime::shutdown::CancellationToken;
use pods_secrets::KeyRing;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{
    cluster::{Cluster, Trouble},
    decide::{Decision, Facts, Removal, decide},
    metrics,
    values::ValuesError,
};
use facts::Found;
use start::Start;

/// How soon to try again when somebody else works on the pod.
const BUSY: Duration = Duration::from_millis(300);
/// Rounds of one wake-up; more means that something moves all the time, and others want to work too.
const ROUNDS: usize = 16;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// After so many attempts a wait becomes longer and longer: what it waits for takes its time.
const PATIENT_AFTER: u64 = 60;
/// How many attempts a repeated wake-up is ahead: the one that it repeats has made the first ones.
const REPEATED: u64 = 8;

/// Works on pods, one wake-up at a time; cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    site_id: String,
    locks: Locks,
    cluster: Cluster,
    keys: KeyRing,
    settings: std::sync::Arc<Settings>,
    /// Whether Pods get an empty volume, see [`ShutdownVolume`](crate::config::ShutdownVolume).
    shutdown_volume: std::sync::Arc<std::sync::atomic::AtomicBool>,
    shutdown: CancellationToken,
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
            shutdown_volume: std::sync::Arc::default(),
            shutdown: CancellationToken::new(),
        })
    }

    /// Begins no further step once the token is cancelled: what is left of a wake-up is handed back, for another
    /// replica to go on with at once.
    #[must_use]
    pub fn until(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Gives Pods without a volume an empty one while the switch is on.
    #[must_use]
    pub fn with_shutdown_volume(mut self, switch: std::sync::Arc<std::sync::atomic::AtomicBool>) -> Self {
        self.shutdown_volume = switch;
        self
    }

    /// Handles one wake-up.
    pub async fn handle(&self, delivery: Delivery) -> Outcome {
        let wake_up = &delivery.wake_up;
        let uid = match wake_up.uid() {
            Ok(uid) => uid,
            Err(error) => return Outcome::Reject(error.to_string()),
        };
        let ahead = if wake_up.reason == WakeUp::SWEEP { REPEATED } else { 0 };
        match self.look_at(uid, delivery.attempt.saturating_add(ahead)).await {
            // Without this a pod that waits for days would have ever more messages waiting beside it.
            Outcome::RetryAfter(_) if wake_up.is_superseded(SystemTime::now()) => Outcome::Done,
            outcome => outcome,
        }
    }

    /// Brings one pod to what its row wants, as far as that is possible now. `attempt` counts from 1.
    pub async fn look_at(&self, uid: Uuid, attempt: u64) -> Outcome {
        let mut lock = match self.locks.try_acquire(uid).await {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                metrics::busy();
                return Outcome::RetryAfter(patient(BUSY, attempt));
            }
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
                if is_news(attempt) {
                    warn!(pod.uid = %uid, error = %trouble, attempt, ?retry, "Kubernetes did not do it, trying again");
                }
                // A moment of trouble, as while an API server is exchanged, is not worth telling.
                if attempt > 1
                    && let Some(why) = waiting::for_kubernetes(&trouble)
                {
                    waiting::tell(&mut lock, uid, why).await;
                }
                lock.release().await;
                Outcome::RetryAfter(retry)
            }
            Err(Stopped::Values(error)) => {
                let retry = backoff(attempt);
                if is_news(attempt) {
                    warn!(pod.uid = %uid, %error, attempt, ?retry, "the values of the start cannot be had, trying again");
                }
                waiting::tell(&mut lock, uid, waiting::for_keys()).await;
                lock.release().await;
                Outcome::RetryAfter(retry)
            }
            Err(Stopped::Db(error)) => unavailable(uid, attempt, &LockError::Db(error)),
        }
    }

    async fn work(&self, lock: &mut PodLock, uid: Uuid, attempt: u64) -> Result<Outcome, Stopped> {
        for _ in 0..ROUNDS {
            if self.shutdown.is_cancelled() {
                return Ok(Outcome::RetryAfter(Duration::ZERO));
            }
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
        Ok(Outcome::RetryAfter(patient(BUSY, attempt)))
    }

    async fn round(&self, lock: &mut PodLock, row: PodRow, attempt: u64) -> Result<Round, Stopped> {
        let (world, found) = future::join(self.cluster.world(row.uid), facts::read(lock, &row)).await;
        let (world, Found { instance, predecessors, entries }) = (world?, found?);
        let policy = instance.as_ref().and_then(|instance| self.policy(&row, instance, &entries));
        let service = instance.as_ref().and_then(|instance| self.service(&row, instance, &entries));
        let face = service.as_ref().map(Face::of);
        let decision = decide(&Facts {
            row: &row,
            world: &world,
            log_complete: instance.as_ref().is_some_and(|instance| instance.log_complete),
            wants_secret: instance.as_ref().is_some_and(|i| resolve::needs_secret(&i.effective.definition)),
            wants_service: face.as_ref(),
            wants_policy: policy.as_ref().and_then(rules),
            predecessors,
            grace: TimeDelta::seconds(self.settings.termination_grace_seconds),
            now: Utc::now(),
        });
        debug!(pod.uid = %row.uid, pod.id = row.pod_id, status = %row.status, ?decision, "decided");
        match decision {
            Decision::Nothing => Ok(Round::Finished(Outcome::Done)),
            Decision::Wait { after, what } => {
                debug!(pod.uid = %row.uid, ?after, ?what, attempt, "waiting");
                if attempt > 1
                    && let Some(why) = waiting::for_others(what)
                {
                    waiting::tell(lock, row.uid, why).await;
                }
                Ok(Round::Finished(Outcome::RetryAfter(patient(after, attempt))))
            }
            Decision::Remove(removals) => {
                self.remove(lock, &row, &removals).await?;
                Ok(Round::Again)
            }
            Decision::ObjectsGone => self.objects_gone(lock, &row).await,
            Decision::Spawn(spawn) => match instance {
                Some(instance) => {
                    let (policy, service) = (policy.as_ref(), service.as_ref());
                    let start = Start { instance: &instance, policy, service, spawn: &spawn, attempt };
                    self.spawn(lock, row, start).await
                }
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
            if transitions::mark_objects_gone(lock.connection(), row, now).await? {
                info!(pod.uid = %row.uid, pod.id = row.pod_id, "nothing is left of the deleted pod");
            }
            return Ok(Round::Again);
        }
        let line = match row.status {
            Status::Restarting => "spawner stopped the pod, starting it again",
            _ => "spawner set status to STOPPED",
        };
        let change = Change::new(Event::ObjectsGone, now).log(line);
        if let Applied::Done(after) = transitions::apply(lock.connection(), row, change).await? {
            info!(pod.uid = %row.uid, pod.id = row.pod_id, from = %row.status, to = %after.status, "nothing is left of the pod");
        }
        Ok(Round::Again)
    }
}

fn unavailable(uid: Uuid, attempt: u64, error: &LockError) -> Outcome {
    let retry = backoff(attempt);
    if is_news(attempt) {
        warn!(pod.uid = %uid, %error, attempt, ?retry, "the database does not answer, trying again");
    }
    Outcome::RetryAfter(retry)
}

/// Whether a failure is worth a line: the first, and then ever fewer. An outage has many attempts.
fn is_news(attempt: u64) -> bool {
    attempt.is_power_of_two()
}

/// Waits that are repeated and repeated grow, up to the longest.
fn patient(wait: Duration, attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(PATIENT_AFTER) / 8).unwrap_or(u32::MAX).min(10);
    wait.max(wait.saturating_mul(1 << doublings).min(LONGEST_RETRY))
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

    #[test]
    fn what_takes_long_is_asked_for_less_often() {
        let waits: Vec<u128> = [1, 60, 67, 68, 84, u64::MAX].map(|n| patient(BUSY, n).as_millis()).into();
        assert_eq!(waits, [300, 300, 300, 600, 2400, 15_000]);
        let long = Duration::from_secs(30);
        assert_eq!((patient(long, 1), patient(long, 500)), (long, long), "a wait is never cut short");
    }
}
