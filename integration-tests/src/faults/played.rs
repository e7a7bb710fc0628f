//! Nodes without a kubelet: the scheduler and the API server are real, and what a kubelet would say, this says.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use pods_kube::labels;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    cluster::Cluster,
    wait::{LIMIT, await_condition},
};

/// The label by which compute queues select these nodes.
const LABEL: &str = "faults.example/node";
const TAINT: &str = "faults.example/played";
/// A node is given up 20 s after it was heard of last.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// What a played node says about a pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Play {
    /// It runs.
    Ready,
    /// The node takes no more pods.
    Full,
    /// The node is closed.
    Cordoned,
    /// It runs, and then nobody hears from the node.
    Silent,
    /// The container waits and does not come up.
    Waiting(Why),
    /// It runs, and then its Pod fails; the next one is well.
    Failed(Why),
    /// Every one of its Pods fails.
    FailedAlways(Why),
    /// The container is not set up, and only an event says why.
    Event(Why),
}

/// Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// The played nodes; they go when [`Nodes::end`] is called, or with the next start.
pub struct Nodes {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    nodes: Api<Node>,
    pods: Api<Pod>,
    events: Api<Event>,
    plays: Mutex<HashMap<String, Play>>,
    /// Pods that failed once already, by pod id.
    failed: Mutex<HashSet<String>>,
    silent: AtomicBool,
}

const NAMES: [&str; 4] = ["played", "full", "cordoned", "silent"];

fn node_name(kind: &str) -> String {
    format!("faults-{kind}")
}

fn is_played(node: &str) -> bool {
    NAMES.iter().any(|kind| node_name(kind) == node)
}

impl Nodes {
    /// Creates the nodes and begins to play their kubelets.
    pub async fn start(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared {
            nodes: cluster.nodes.clone(),
            pods: cluster.pods.clone(),
            events: cluster.events.clone(),
            plays: Mutex::default(),
            failed: Mutex::default(),
            silent: AtomicBool::new(false),
        });
        for kind in NAMES {
            let _ = shared.nodes.delete(&node_name(kind), &DeleteParams::default()).await;
            let node = serde_json::from_value(node(kind)).expect("a node");
            shared.nodes.create(&PostParams::default(), &node).await.expect("a node can be created");
            shared.beat(kind).await;
        }
        let tasks = vec![tokio::spawn(heartbeats(shared.clone())), tokio::spawn(kubelets(shared.clone()))];
        Self { shared, tasks }
    }

    /// Says how a pod's story goes on.
    pub fn play(&self, pod_id: &str, play: Play) {
        self.shared.plays.lock().expect("nobody panics with the lock").insert(pod_id.to_owned(), play);
    }

    /// Nobody hears from the node `silent` any more, or does again.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// Takes the nodes away, once no Pod is left on them.
    pub async fn end(self) {
        let on_ours = |pod: &Pod| {
            pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).is_some_and(|node| is_played(&node))
        };
        await_condition("the played nodes are empty", LIMIT, || async {
            let pods =
                self.shared.pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let left: Vec<String> =
                pods.items.iter().filter(|pod| on_ours(pod)).map(ResourceExt::name_any).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
        self.tasks.iter().for_each(JoinHandle::abort);
        for kind in NAMES {
            let _ = self.shared.nodes.delete(&node_name(kind), &DeleteParams::default()).await;
        }
    }
}

fn node(kind: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": node_name(kind), "labels": { LABEL: kind } },
        "spec": {
            "unschedulable": kind == "cordoned",
            "taints": [{ "key": TAINT, "value": "yes", "effect": "NoSchedule" }],
        },
    })
}

async fn heartbeats(shared: Arc<Shared>) {
    loop {
        for kind in NAMES {
            if kind != "silent" || !shared.silent.load(Ordering::Relaxed) {
                shared.beat(kind).await;
            }
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn kubelets(shared: Arc<Shared>) {
    let selector = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
    let mut stream =
        watcher(shared.pods.clone(), watcher::Config::default().labels(&selector)).default_backoff().boxed();
    loop {
        match stream.try_next().await {
            Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                if pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(is_played) {
                    let shared = shared.clone();
                    tokio::spawn(async move { shared.sync(&pod).await });
                }
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => return,
        }
    }
}

impl Shared {
    async fn beat(&self, kind: &str) {
        let now = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let room = BTreeMap::from([
            ("cpu", "1"),
            ("memory", "1Gi"),
            ("ephemeral-storage", "10Gi"),
            ("pods", if kind == "full" { "0" } else { "110" }),
        ]);
        let status = json!({ "status": {
            "capacity": room, "allocatable": room,
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played",
                "lastHeartbeatTime": now, "lastTransitionTime": now }],
        } });
        // While the API server is away a heartbeat is missed, as a real one would be.
        let _ =
            self.nodes.patch_status(&node_name(kind), &PatchParams::default(), &Patch::Merge(status)).await;
    }

    /// What a kubelet would do about a Pod that changed.
    async fn sync(&self, pod: &Pod) {
        let name = pod.name_any();
        let on_silent = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("faults-silent");
        if on_silent && self.silent.load(Ordering::Relaxed) {
            return;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            let _ = self.pods.delete(&name, &now).await;
            return;
        }
        let pod_id = pod.labels().get(labels::POD_ID).cloned().unwrap_or_default();
        let play = self.plays.lock().expect("nobody panics with the lock").get(&pod_id).cloned();
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        match play.unwrap_or(Play::Ready) {
            Play::Waiting(why) if phase == "Pending" => {
                self.say(
                    pod,
                    "Pending",
                    json!({ "waiting": { "reason": why.reason, "message": why.message } }),
                )
                .await;
            }
            Play::Event(why) if phase == "Pending" => {
                self.say(pod, "Pending", json!({ "waiting": { "reason": "ContainerCreating" } })).await;
                self.event(pod, &why).await;
            }
            Play::Failed(why) if phase == "Running" && self.first_failure(&pod_id) => {
                self.fail(&name, &why).await
            }
            Play::FailedAlways(why) if phase == "Running" => self.fail(&name, &why).await,
            Play::Waiting(_) | Play::Event(_) => {}
            _ if phase == "Pending" => {
                let now = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                self.say(pod, "Running", json!({ "running": { "startedAt": now } })).await;
            }
            _ => {}
        }
    }

    fn first_failure(&self, pod_id: &str) -> bool {
        self.failed.lock().expect("nobody panics with the lock").insert(pod_id.to_owned())
    }

    async fn say(&self, pod: &Pod, phase: &str, state: Value) {
        let runs = phase == "Running";
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let container = container.map(|container| container.name.as_str()).unwrap_or_default();
        let status = json!({ "status": {
            "phase": phase,
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Ready", "status": if runs { "True" } else { "False" } },
            ],
            "containerStatuses": [{ "name": container, "image": "played", "imageID": "", "restartCount": 0,
                "ready": runs, "started": runs, "state": state }],
        } });
        self.patch(&pod.name_any(), status).await;
    }

    async fn fail(&self, name: &str, why: &Why) {
        // A kubelet that refuses or evicts a Pod says nothing about its containers any more.
        let status = json!({ "status": { "phase": "Failed", "reason": why.reason, "message": why.message,
            "containerStatuses": null, "conditions": null } });
        self.patch(name, status).await;
    }

    async fn patch(&self, name: &str, status: Value) {
        // A Pod that was deleted meanwhile has nothing to say.
        let _ = self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
    }

    async fn event(&self, pod: &Pod, why: &Why) {
        let now = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "generateName": "faults-", "namespace": pod.namespace() },
            "involvedObject": { "apiVersion": "v1", "kind": "Pod", "name": pod.name_any(),
                "namespace": pod.namespace(), "uid": pod.uid() },
            "type": "Warning", "reason": why.reason, "message": why.message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": { "component": "kubelet", "host": pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) },
        });
        let event = serde_json::from_value(event).expect("an event");
        let _ = self.events.create(&PostParams::default(), &event).await;
    }
}
