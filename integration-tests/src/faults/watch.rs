//! An independent look at Kubernetes: when did it know what?

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use pods_kube::labels;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::table::Known;
use crate::cluster::Cluster;

/// Something that Kubernetes shows of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The container waits.
    Waiting(String),
    /// The container ended.
    Ended,
    /// The Pod failed.
    Failed,
    /// No node was found.
    Unschedulable,
    /// The Pod is being deleted or is gone.
    Deleting,
    /// An event.
    Event(String),
}

/// Watches Pods, events and nodes until it is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    /// By the name of the Pod in Kubernetes: events name only that.
    sights: HashMap<String, Vec<(Instant, Sight)>>,
    /// Names of Pods in Kubernetes, by pod id.
    names: HashMap<String, Vec<String>>,
    node_of: HashMap<String, String>,
    /// Nodes that do not answer, since when.
    unknown: HashMap<String, Instant>,
}

impl Watch {
    /// Begins to watch everything of the namespace.
    pub fn start(cluster: &Cluster) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let ours = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
        let tasks = vec![
            follow(cluster.pods.clone(), ours, seen.clone(), Seen::pod),
            follow(cluster.events.clone(), watcher::Config::default(), seen.clone(), Seen::event),
            follow(cluster.nodes.clone(), watcher::Config::default(), seen.clone(), Seen::node),
        ];
        Self { seen, tasks }
    }

    /// Since when Kubernetes has known of a fault that was injected then.
    pub fn known_since(&self, pod_id: &str, known: &Known, injected: Instant) -> Option<Instant> {
        if known.injected {
            return Some(injected);
        }
        let seen = lock(&self.seen);
        let names = seen.names.get(pod_id)?;
        if known.failed_times > 0 {
            let failed = |name| seen.sights.get(name)?.iter().find(|(_, sight)| *sight == Sight::Failed);
            return names.iter().filter_map(failed).map(|(at, _)| *at).nth(known.failed_times - 1);
        }
        let of_pod = names.iter().filter_map(|name| seen.sights.get(name)).flatten();
        let sights = of_pod.filter(|(at, sight)| *at >= injected && known.is(sight)).map(|(at, _)| *at);
        let nodes = names.iter().filter(|_| known.node_unknown).filter_map(|name| seen.node_of.get(name));
        let silent = nodes.filter_map(|node| seen.unknown.get(node).copied()).filter(|at| *at >= injected);
        sights.chain(silent).min()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("nobody panics with the lock")
}

fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    seen: Arc<Mutex<Seen>>,
    note: fn(&mut Seen, &K, bool),
) -> JoinHandle<()>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default + Clone + std::hash::Hash + Eq + std::fmt::Debug,
{
    tokio::spawn(async move {
        let mut stream = watcher(api, config).default_backoff().boxed();
        loop {
            match stream.try_next().await {
                Ok(Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => {
                    note(&mut lock(&seen), &object, false);
                }
                Ok(Some(watcher::Event::Delete(object))) => note(&mut lock(&seen), &object, true),
                Ok(Some(watcher::Event::Init | watcher::Event::InitDone)) | Err(_) => {}
                Ok(None) => return,
            }
        }
    })
}

impl Seen {
    /// Notes what is seen for the first time.
    fn sight(&mut self, name: &str, sight: Sight) {
        let sights = self.sights.entry(name.to_owned()).or_default();
        if !sights.iter().any(|(_, known)| *known == sight) {
            sights.push((Instant::now(), sight));
        }
    }

    fn pod(&mut self, pod: &Pod, gone: bool) {
        let name = pod.name_any();
        let pod_id = pod.labels().get(labels::POD_ID).cloned().unwrap_or_default();
        let names = self.names.entry(pod_id).or_default();
        if !names.contains(&name) {
            names.push(name.clone());
        }
        if gone || pod.metadata.deletion_timestamp.is_some() {
            self.sight(&name, Sight::Deleting);
        }
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            self.node_of.insert(name.clone(), node);
        }
        let Some(status) = &pod.status else { return };
        if status.phase.as_deref() == Some("Failed") {
            self.sight(&name, Sight::Failed);
        }
        let unplaced =
            |c: &&k8s_openapi::api::core::v1::PodCondition| c.type_ == "PodScheduled" && c.status == "False";
        if status.conditions.iter().flatten().any(|condition| unplaced(&condition)) {
            self.sight(&name, Sight::Unschedulable);
        }
        let states =
            status.container_statuses.iter().flatten().filter_map(|container| container.state.as_ref());
        for state in states {
            if state.terminated.is_some() {
                self.sight(&name, Sight::Ended);
            }
            if let Some(reason) = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone()) {
                self.sight(&name, Sight::Waiting(reason));
            }
        }
    }

    fn event(&mut self, event: &Event, _gone: bool) {
        let name = event.involved_object.name.clone().unwrap_or_default();
        self.sight(&name, Sight::Event(event.reason.clone().unwrap_or_default()));
    }

    fn node(&mut self, node: &Node, _gone: bool) {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let unknown = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "Unknown");
        if unknown {
            self.unknown.entry(node.name_any()).or_insert_with(Instant::now);
        } else {
            self.unknown.remove(&node.name_any());
        }
    }
}
