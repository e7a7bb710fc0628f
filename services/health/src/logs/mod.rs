//! Logs: each running container of this replica's shares is followed, and what it writes goes to Postgres in batches.
//!
//! Nothing here delays a status: the tasks of logs only tell the queue when the end of a log is stored.

pub mod archive;
mod buffer;
mod follower;
mod pace;
mod seam;
mod writer;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use pods_db::Db;
use pods_kube::observe::{ContainerState, Observation};
use pods_runtime::shutdown::CancellationToken;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, broadcast, mpsc, watch},
    task::AbortHandle,
};
use uuid::Uuid;

use crate::{
    decide::Tail,
    metrics,
    queue::{Pusher, Trigger},
    shards::{Shards, Shift, shard_of},
};
use buffer::Buffer;

/// How many streams may be in the making at once; a replica that takes over thousands does not flood the API server.
const OPENING: usize = 32;
const OPENING_ENDS: usize = 16;
/// How many bytes of all logs together may wait for Postgres.
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Pods that began another run and may wait for a look at their older ones; more are found later.
const BEGUN: usize = 1024;

/// A container whose log is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub uid: Uuid,
    /// The start.
    pub instance: Uuid,
    /// The name of its Pod.
    pub pod_name: String,
    /// When its container began to run.
    pub since: Option<DateTime<Utc>>,
    /// Where the container is in its life.
    pub life: Life,
}

/// Where a container is in its life, as far as its log is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It runs.
    Runs,
    /// Its Pod is over, but it may still be within its grace period: the log ends when its stream does.
    Ending,
    /// It has ended.
    Ended,
}

impl Life {
    /// Where the container of a Pod is.
    pub fn of(pod: &Observation) -> Self {
        match (&pod.container, &pod.end) {
            (ContainerState::Terminated { .. }, _) => Self::Ended,
            // The kubelet says that a Pod failed when it begins to end it, and need not correct the container's state.
            (ContainerState::Running { .. }, Some(_)) => Self::Ending,
            (ContainerState::Running { .. }, None) => Self::Runs,
            (_, Some(_)) => Self::Ended,
            (_, None) => Self::Runs,
        }
    }
}

/// The logs that this replica follows.
#[derive(Clone)]
pub struct Logs {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api<Pod>,
    db: Db,
    shards: Shards,
    queue: Pusher,
    /// By pod and start.
    followed: Mutex<HashMap<Uuid, BTreeMap<Uuid, Followed>>>,
    /// Tells the writer that something waits.
    some: Notify,
    /// Wakes the writer before its time.
    flush: Notify,
    /// Tells followers that something was written, so that there is room again.
    flushed: Notify,
    opening: Semaphore,
    /// The same for containers that have ended, whose status waits for the end of the log.
    opening_ends: Semaphore,
    /// The bytes of all buffers.
    waiting: Arc<AtomicUsize>,
    begun: mpsc::Sender<Uuid>,
}

struct Followed {
    buffer: Arc<Mutex<Buffer>>,
    life: watch::Sender<Life>,
    ended_since: Option<Instant>,
    stored: bool,
    task: Option<AbortHandle>,
}

impl Followed {
    /// A container only ever gets older.
    fn reach(&mut self, life: Life) {
        self.life.send_if_modified(|known| {
            let older = *known < life;
            *known = life.max(*known);
            older
        });
        if life == Life::Ended && self.ended_since.is_none() {
            self.ended_since = Some(Instant::now());
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The bytes of all logs of this process that waited for Postgres at the last write, or attempt to write.
pub fn waiting() -> usize {
    metrics::log_waiting()
}

impl Logs {
    /// Nothing is followed yet. Also says which pods begin another run, for [`archive::run`].
    pub fn new(api: Api<Pod>, db: Db, shards: Shards, queue: Pusher) -> (Self, mpsc::Receiver<Uuid>) {
        let (begun, begins) = mpsc::channel(BEGUN);
        let shared = Shared {
            api,
            db,
            shards,
            queue,
            followed: Mutex::default(),
            some: Notify::new(),
            flush: Notify::new(),
            flushed: Notify::new(),
            opening: Semaphore::new(OPENING),
            opening_ends: Semaphore::new(OPENING_ENDS),
            waiting: Arc::default(),
            begun,
        };
        (Self { shared: Arc::new(shared) }, begins)
    }

    /// Sees to it that the log of a container is stored, to its end once it has ended.
    pub fn ensure(&self, target: Target) {
        let mut followed = self.shared.lock();
        let entry =
            followed.entry(target.uid).or_default().entry(target.instance).or_insert_with(|| Followed {
                buffer: Arc::new(Mutex::new(Buffer::new(Arc::clone(&self.shared.waiting)))),
                life: watch::channel(Life::Runs).0,
                ended_since: None,
                stored: false,
                task: None,
            });
        entry.reach(target.life);
        if entry.task.is_none() && !entry.stored {
            let (life, buffer) = (entry.life.subscribe(), Arc::clone(&entry.buffer));
            let shared = Arc::clone(&self.shared);
            let task = tokio::spawn(async move { follower::follow(shared, target, life, buffer).await });
            entry.task = Some(task.abort_handle());
        }
    }

    /// How far the log of a start is stored.
    pub fn tail(&self, uid: Uuid, instance: Uuid) -> Tail {
        match self.shared.lock().get(&uid).and_then(|starts| starts.get(&instance)) {
            Some(Followed { stored: true, .. }) => Tail::Stored,
            Some(Followed { ended_since: Some(since), .. }) => Tail::Reading(since.elapsed()),
            _ => Tail::Unread,
        }
    }

    /// The Pods of a row that still exist; followers of others read what is left and end.
    pub fn only(&self, uid: Uuid, existing: &[Uuid]) {
        let mut followed = self.shared.lock();
        let Some(starts) = followed.get_mut(&uid) else { return };
        starts.retain(|instance, entry| {
            if existing.contains(instance) {
                return true;
            }
            if !entry.stored {
                entry.reach(Life::Ended);
            }
            !entry.stored
        });
        if starts.is_empty() {
            followed.remove(&uid);
        }
    }

    /// Writes what is buffered and stops following shares that are lost, for ever.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut shifts = self.shared.shards.shifts();
        let dropping = async {
            loop {
                match shifts.recv().await {
                    Ok(Shift::Lost(shard)) => self.shared.drop_where(|uid| shard_of(uid) == shard),
                    Ok(Shift::Gained(_)) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.shared.drop_where(|uid| !self.shared.shards.mine(uid));
                    }
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = writer::run(&self.shared) => {}
            () = dropping => {}
            () = shutdown.cancelled() => {}
        }
        // The shares are still ours for a moment: what is read already need not be read again.
        let _read_again_by_the_next_holder = writer::flush(&self.shared).await;
        self.shared.lock().clear();
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, BTreeMap<Uuid, Followed>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops following what is lost. A share may have come back before its loss is heard of here, and the looks that
    /// followed found their logs followed already: those rows are looked at again.
    fn drop_where(&self, lost: impl Fn(Uuid) -> bool) {
        let mut dropped = Vec::new();
        self.lock().retain(|uid, _| {
            let keeps = !lost(*uid);
            if !keeps {
                dropped.push(*uid);
            }
            keeps
        });
        dropped.retain(|uid| self.shards.mine(*uid));
        self.queue.push_all(dropped, Trigger::CHANGED);
    }

    /// The log of a start is stored to its end.
    fn stored(&self, target: &Target) {
        let mut followed = self.lock();
        if let Some(entry) = followed.get_mut(&target.uid).and_then(|starts| starts.get_mut(&target.instance))
        {
            entry.stored = true;
        }
        drop(followed);
        self.queue.push(target.uid, Trigger::LOG_STORED);
    }

    /// Follows a start no longer, and has its row looked at: whoever still wants its log begins anew.
    fn forget(&self, uid: Uuid, instance: Uuid) {
        let mut followed = self.lock();
        if let Some(starts) = followed.get_mut(&uid) {
            starts.remove(&instance);
            if starts.is_empty() {
                followed.remove(&uid);
            }
        }
        drop(followed);
        // Nothing of the Pod need change for days, and a sweep passes by rows that are settled.
        self.queue.push(uid, Trigger::CHANGED);
    }

    /// Another run of a pod begins.
    fn begun(&self, uid: Uuid) {
        // A full channel: the look at all pods finds it.
        let _full = self.begun.try_send(uid);
    }

    /// Waits until it is a container's turn to ask Postgres for its place or Kubernetes for its log; not behind
    /// thousands that only run, when it has ended. `None` when the process ends.
    async fn turn(&self, life: Life) -> Option<SemaphorePermit<'_>> {
        let ahead = if life == Life::Runs { &self.opening } else { &self.opening_ends };
        ahead.acquire().await.ok()
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
