//! What the watch shows: the Pods of this site as they were last seen.
//!
//! The view may be behind. Presence is good enough to act on, because every write is compare-and-set; absence never
//! is: it only gives a reason to ask the API server directly.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::watcher::{self, Event},
};
use pods_core::phases::{Phase, Phases, moment};
use pods_kube::{
    labels,
    observe::{Observation, observe},
};
use pods_runtime::{internal_http::Flag, shutdown::CancellationToken};
use tokio::sync::watch;
use uuid::Uuid;

use crate::queue::{Pusher, Trigger};

/// A watch that is silent for longer is made again, so that a dead connection is noticed.
const WATCH_LIMIT_SECONDS: u32 = 60;
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// So many rows of a long list are handed on before it is complete.
const CHANGED_AT_ONCE: usize = 500;

/// The Pods of this site, shared by all tasks.
#[derive(Clone, Default)]
pub struct View {
    inner: Arc<Mutex<Inner>>,
    complete: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Inner {
    pods: HashMap<Uuid, BTreeMap<String, Known>>,
    /// The rows that Pods belong to, by the names of the Pods.
    owners: HashMap<String, Uuid>,
}

/// A Pod as it was last seen, and when what was seen of it first.
struct Known {
    seen: Arc<Observation>,
    phases: Phases,
}

/// The phases that a Pod shows.
fn phases_of(pod: &Observation, now: DateTime<Utc>) -> Phases {
    let running = pod.is_running();
    let mut phases = Phases::default();
    phases.note(Phase::Created, pod.created.map(|at| moment(Some(at), now)));
    phases.note(Phase::Scheduled, pod.node.as_ref().map(|_| moment(pod.scheduled, now)));
    let started = pod.running_since().map(|at| moment(Some(at), now)).or(running.then_some(now));
    phases.note(Phase::Started, started);
    phases.note(Phase::Ready, (running && pod.ready).then(|| moment(pod.ready_since, now)));
    phases
}

impl View {
    /// The Pods of a row.
    pub fn of(&self, uid: Uuid) -> Vec<Arc<Observation>> {
        let inner = self.lock();
        let pods = inner.pods.get(&uid);
        pods.map(|pods| pods.values().map(|known| Arc::clone(&known.seen)).collect()).unwrap_or_default()
    }

    /// The phases that a Pod has shown so far.
    pub fn phases(&self, uid: Uuid, name: &str) -> Phases {
        let inner = self.lock();
        inner.pods.get(&uid).and_then(|pods| pods.get(name)).map(|known| known.phases).unwrap_or_default()
    }

    /// The row that the Pod of a name belongs to.
    pub fn uid_of(&self, name: &str) -> Option<Uuid> {
        self.lock().owners.get(name).copied()
    }

    /// Whether everything that existed has been seen at least once.
    pub fn synced(&self) -> bool {
        *self.complete.borrow()
    }

    /// Waits until everything that exists has been seen at least once.
    pub async fn first_sync(&self) {
        let mut complete = self.complete.subscribe();
        // The sender is a part of this view, so it is there for as long as the wait.
        let _gone = complete.wait_for(|complete| *complete).await;
    }

    /// The rows that have Pods.
    pub fn uids(&self) -> Vec<Uuid> {
        self.lock().pods.keys().copied().collect()
    }

    /// The rows of which a Pod has ended.
    pub fn ended(&self) -> HashSet<Uuid> {
        let inner = self.lock();
        let has_ended = |pods: &BTreeMap<String, Known>| pods.values().any(|known| known.seen.end.is_some());
        inner.pods.iter().filter(|(_, pods)| has_ended(pods)).map(|(uid, _)| *uid).collect()
    }

    /// All Pods that are on a node.
    pub fn on_node(&self, node: &str) -> Vec<Uuid> {
        let inner = self.lock();
        let on_it = |pods: &BTreeMap<String, Known>| {
            pods.values().any(|known| known.seen.node.as_deref() == Some(node))
        };
        inner.pods.iter().filter(|(_, pods)| on_it(pods)).map(|(uid, _)| *uid).collect()
    }

    /// Notes a Pod; `true` when that is news.
    fn put(&self, seen: Observation, now: DateTime<Utc>) -> bool {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let pods = inner.pods.entry(seen.uid).or_default();
        let before = pods.get(&seen.name);
        if before.is_some_and(|known| *known.seen == seen) {
            return false;
        }
        let phases = before.map(|known| known.phases).unwrap_or_default().or(&phases_of(&seen, now));
        if before.is_none() {
            inner.owners.insert(seen.name.clone(), seen.uid);
        }
        pods.insert(seen.name.clone(), Known { seen: Arc::new(seen), phases });
        true
    }

    fn remove(&self, uid: Uuid, name: &str) {
        let mut inner = self.lock();
        inner.owners.remove(name);
        if let Some(pods) = inner.pods.get_mut(&uid) {
            pods.remove(name);
            if pods.is_empty() {
                inner.pods.remove(&uid);
            }
        }
    }

    /// Forgets what a complete list did not contain; the rows whose Pods went.
    pub(crate) fn keep_only(&self, listed: &HashSet<String>) -> Vec<Uuid> {
        let mut inner = self.lock();
        inner.owners.retain(|name, _| listed.contains(name));
        let mut gone = Vec::new();
        inner.pods.retain(|uid, pods| {
            let before = pods.len();
            pods.retain(|name, _| listed.contains(name));
            if pods.len() < before {
                gone.push(*uid);
            }
            !pods.is_empty()
        });
        drop(inner);
        self.complete.send_replace(true);
        gone
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the view current for ever and pushes every row whose Pods changed.
pub async fn watch(
    api: Api<Pod>,
    site_id: String,
    view: View,
    queue: Pusher,
    ready: Flag,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config =
        watcher::Config::default().labels(&labels::site_selector(&site_id)).timeout(WATCH_LIMIT_SECONDS);
    let stream = watcher::watcher(api, config);
    futures::pin_mut!(stream);
    let mut list = List::default();
    let mut failures: u32 = 0;
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = shutdown.cancelled() => return Ok(()),
        };
        match event {
            Some(Ok(event)) => {
                if failures > 0 {
                    tracing::info!("the watch of Pods works again");
                    failures = 0;
                }
                if view.synced() {
                    ready.ready();
                }
                take(event, &view, &queue, &mut list, &ready);
            }
            Some(Err(error)) => {
                failures += 1;
                if failures == 1 {
                    crate::metrics::watch_broke("pods");
                    tracing::warn!(error = %error, "the watch of Pods broke; nothing is concluded until it works again");
                }
                // The first break is usually a connection that was closed; only a second one is an outage.
                if failures > 1 {
                    ready.not_ready("Kubernetes cannot be watched at the moment");
                }
                let wait = (Duration::from_millis(100) * failures.min(20)).min(LONGEST_WAIT);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
            None => anyhow::bail!("the watch of Pods ended"),
        }
    }
}

/// A complete list in the making.
#[derive(Default)]
struct List {
    /// The names of all its Pods.
    names: HashSet<String>,
    /// The rows that it showed something new of and that nobody was told about yet.
    changed: Vec<Uuid>,
}

fn take(event: Event<Pod>, view: &View, queue: &Pusher, list: &mut List, ready: &Flag) {
    match event {
        Event::Apply(pod) => {
            if let Some(seen) = observe(&pod) {
                let uid = seen.uid;
                if view.put(seen, Utc::now()) {
                    queue.push(uid, Trigger::CHANGED);
                }
            }
        }
        Event::Delete(pod) => {
            if let Some(seen) = observe(&pod) {
                view.remove(seen.uid, &seen.name);
                queue.push(seen.uid, Trigger::DELETED);
            }
        }
        Event::Init => *list = List::default(),
        Event::InitApply(pod) => {
            if let Some(seen) = observe(&pod) {
                list.names.insert(seen.name.clone());
                let uid = seen.uid;
                if view.put(seen, Utc::now()) {
                    list.changed.push(uid);
                }
            }
            if list.changed.len() >= CHANGED_AT_ONCE {
                queue.push_all(std::mem::take(&mut list.changed), Trigger::CHANGED);
            }
        }
        Event::InitDone => {
            for uid in view.keep_only(&list.names) {
                queue.push(uid, Trigger::DELETED);
            }
            queue.push_all(std::mem::take(&mut list.changed), Trigger::CHANGED);
            list.names.clear();
            ready.ready();
        }
    }
}
