//! Store, nodes and running containers under one lock, and the clock that moves them.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

pub(crate) use crate::{
    clock::{Step, Task},
    run::{Run, Stage},
};
use crate::{
    log::Log,
    nodes::Node,
    object::{Key, Object, key},
    refusal::Refusal,
    resource::Resource,
    scenario::Scenario,
    settings::Settings,
    store::{Deleted, Store},
};

/// Who plays scheduler and kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A test does, call by call.
    Manual {
        /// Pods run as soon as they are created and end as soon as their deadline is set.
        runs_by_itself: bool,
        /// Deleted Pods stay until they are removed.
        keeps_deleted: bool,
    },
    /// The clock does.
    Scripted,
}

/// Most Kubernetes events that are kept.
const EVENTS_MAX: usize = 20_000;

/// Everything behind the lock.
#[derive(Debug)]
pub struct State {
    /// The objects.
    pub store: Store,
    /// The speed of things.
    pub settings: Settings,
    /// Who plays scheduler and kubelet.
    pub mode: Mode,
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) runs: HashMap<Key, Run>,
    pub(crate) pulled: HashSet<String>,
    pub(crate) tasks: BTreeMap<(Instant, u64), Task>,
    pub(crate) sequence: u64,
    events: VecDeque<Key>,
    /// Tells the clock of an earlier task.
    pub(crate) sooner: Arc<Notify>,
}

impl State {
    /// An empty cluster.
    pub fn new(mode: Mode) -> Self {
        Self {
            store: Store::new(),
            settings: Settings::default(),
            mode,
            nodes: BTreeMap::new(),
            runs: HashMap::new(),
            pulled: HashSet::new(),
            tasks: BTreeMap::new(),
            sequence: 0,
            events: VecDeque::new(),
            sooner: Arc::default(),
        }
    }

    /// Adds a namespace.
    pub fn add_namespace(&mut self, name: &str) {
        let value = json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        // One that is there already is fine.
        let _exists = self.store.create(resource("namespaces"), "", value);
    }

    /// Adds a node.
    pub fn add_node(&mut self, name: &str) {
        let node = Node::new(name);
        let _exists = self.store.create(resource("nodes"), "", node.object(name));
        self.nodes.insert(name.to_owned(), node);
        self.show_node(name);
        let after = Duration::from_millis(self.settings.heartbeat_ms);
        self.later(key("", name), "", Step::Heartbeat, after);
    }

    /// Writes a node's condition into its object.
    pub(crate) fn show_node(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name) else { return };
        let shown = node.object(name);
        let _gone = self.store.update(resource("nodes"), "", name, |value| {
            value["status"] = shown["status"].clone();
            value["spec"] = shown["spec"].clone();
            Ok(())
        });
    }

    /// Creates an object, and begins the life of a Pod.
    ///
    /// # Errors
    /// As [`Store::create`], and what the scenario says.
    pub fn create(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        value: Value,
    ) -> Result<Arc<Object>, Refusal> {
        if resource.plural != "pods" {
            return self.store.create(resource, namespace, value);
        }
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let scenario = Scenario::of(&value);
        match scenario {
            Scenario::Quota => {
                let why = "exceeded quota: scripted, requested: pods=1, used: pods=10, limited: pods=10";
                return Err(Refusal::forbidden("pods", name, why));
            }
            Scenario::Denied => {
                let why = "maximum cpu usage per Container is 1, but limit is 2";
                return Err(Refusal::forbidden("pods", name, why));
            }
            Scenario::Invalid => {
                let why = "spec.containers[0].image: Invalid value: \"scripted\": it is not wanted here";
                return Err(Refusal::invalid("Pod", name, why));
            }
            _ => {}
        }
        let pod = self.store.create(resource, namespace, value)?;
        self.adopt(&pod, scenario);
        Ok(match self.mode {
            Mode::Manual { runs_by_itself: true, .. } => {
                self.set_running(namespace, pod.name()).unwrap_or(pod)
            }
            _ => pod,
        })
    }

    /// Puts an object there as it is, past every rule. A Pod without a node is placed and started by the clock.
    pub fn put(&mut self, resource: &'static Resource, value: Value) -> Arc<Object> {
        let scenario = Scenario::of(&value);
        let object = self.store.put(resource, value);
        if resource.plural == "pods" {
            self.adopt(&object, scenario);
        }
        object
    }

    /// Applies a patch or an update; an active deadline of a Pod takes effect.
    ///
    /// # Errors
    /// As [`Store::update`].
    pub fn change(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Store) -> Result<Arc<Object>, Refusal>,
    ) -> Result<Arc<Object>, Refusal> {
        let stored = change(&mut self.store)?;
        if resource.plural == "pods" {
            self.heed_deadline(namespace, name, &stored);
        }
        Ok(stored)
    }

    fn heed_deadline(&mut self, namespace: &str, name: &str, pod: &Arc<Object>) {
        let Some(seconds) = pod.value()["spec"]["activeDeadlineSeconds"].as_u64() else { return };
        match self.mode {
            Mode::Manual { runs_by_itself: true, .. } => self.end_by_deadline(namespace, name),
            Mode::Manual { .. } => {}
            Mode::Scripted => {
                let Some(run) = self.runs.get(&pod.key).filter(|run| run.stage != Stage::Over) else {
                    return;
                };
                let due = run.begun + Duration::from_secs(seconds);
                let after = due.saturating_duration_since(Instant::now());
                self.later(Arc::clone(&pod.key), &pod.uid, Step::Deadline, after);
            }
        }
    }

    /// Deletes an object as the API server does.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub fn delete(
        &mut self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        options: &Value,
    ) -> Result<Deleted, Refusal> {
        let grace = match resource.plural {
            "pods" => self.grace(namespace, name, options["gracePeriodSeconds"].as_i64()),
            _ => 0,
        };
        let deleted = self.store.delete(resource, namespace, name, &options["preconditions"], grace)?;
        if resource.plural == "pods" {
            match &deleted {
                Deleted::Gone(pod) => self.forget(&pod.key),
                Deleted::Marked(pod) if self.mode == Mode::Scripted => {
                    self.tell_to_end(&Arc::clone(pod), Duration::from_secs(grace.unsigned_abs()));
                }
                Deleted::Marked(_) => {}
            }
        }
        Ok(deleted)
    }

    /// How long a Pod may stay: one that is over or was never placed goes at once.
    fn grace(&self, namespace: &str, name: &str, asked: Option<i64>) -> i64 {
        let Ok(pod) = self.store.get(resource("pods"), namespace, name) else { return 0 };
        let value = pod.value();
        let own = value["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        let grace = asked.unwrap_or(own).max(0);
        match self.mode {
            Mode::Manual { keeps_deleted, .. } => {
                if keeps_deleted {
                    grace
                } else {
                    0
                }
            }
            Mode::Scripted => {
                let over = matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
                if over || value["spec"]["nodeName"].is_null() { 0 } else { grace }
            }
        }
    }

    /// The Pod is gone, as if somebody had deleted it by force.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        if let Some(pod) = self.store.remove(resource("pods"), namespace, name) {
            self.forget(&pod.key);
        }
    }

    /// The log of a Pod's container.
    pub fn log(&mut self, namespace: &str, name: &str) -> Option<Log> {
        self.runs.get(&*key(namespace, name)).map(|run| run.log.clone())
    }

    /// Writes a Kubernetes event about a Pod; one of the same reason is counted.
    pub(crate) fn event(&mut self, pod: &Object, kind: &str, reason: &str, message: &str) {
        if !self.settings.events {
            return;
        }
        let namespace = pod.namespace();
        let uid = pod.uid.get(..8).unwrap_or_default();
        let name = format!("{}.{uid}{}", pod.name(), reason.to_lowercase());
        let now = crate::store::now();
        let events = resource("events");
        let counted = self.store.update(events, namespace, &name, |event| {
            event["count"] = json!(event["count"].as_i64().unwrap_or(1) + 1);
            event["lastTimestamp"] = json!(now);
            event["message"] = json!(message);
            Ok(())
        });
        if counted.is_ok() {
            return;
        }
        let source =
            if reason.contains("chedul") || reason == "Preempted" { "default-scheduler" } else { "kubelet" };
        let event = json!({
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod.name(), "uid": &*pod.uid,
                "resourceVersion": pod.version.to_string(),
            },
            "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now, "source": {"component": source},
            "reportingComponent": source, "reportingInstance": "",
        });
        if let Ok(event) = self.store.create(events, namespace, event) {
            self.events.push_back(Arc::clone(&event.key));
        }
        while self.events.len() > EVENTS_MAX
            && let Some(oldest) = self.events.pop_front()
        {
            let (namespace, name) = oldest.split_once('/').unwrap_or_default();
            self.store.remove(events, namespace, name);
        }
    }
}

/// A kind that exists.
pub(crate) fn resource(plural: &str) -> &'static Resource {
    Resource::named(plural).expect("only kinds of the table are named in this crate")
}
