//! Which nodes have been silent for too long.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    runtime::watcher::{self, Event},
};
use pods_runtime::shutdown::CancellationToken;
use tokio::time::Instant;

use crate::{
    queue::{Pusher, Trigger},
    view::View,
};

/// The nodes that do not answer, shared by all tasks.
#[derive(Clone)]
pub struct Nodes {
    silent: Arc<Mutex<HashMap<String, Instant>>>,
    lost_after: Duration,
}

/// A node that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// For how long.
    pub lasted: Duration,
    /// How long until its pods are lost.
    pub limit: Duration,
}

impl Silence {
    /// Whether its pods count as lost.
    pub fn is_loss(self) -> bool {
        self.lasted >= self.limit
    }
}

impl Nodes {
    /// All nodes are fine until the watch says otherwise. A node counts as lost after `lost_after`, as seen by this
    /// process: the clocks of nodes are not trusted.
    pub fn new(lost_after: Duration) -> Self {
        Self { silent: Arc::default(), lost_after }
    }

    /// For how long a node has been silent, if it is, and how long that may last.
    pub fn silence(&self, node: &str) -> Option<Silence> {
        let lasted = self.lock().get(node)?.elapsed();
        Some(Silence { lasted, limit: self.lost_after })
    }

    /// Notes what a node says of itself; its name when it fell silent or spoke again.
    fn note(&self, node: &Node) -> Option<String> {
        let name = node.metadata.name.clone()?;
        let mut silent = self.lock();
        let changed = match is_silent(node) {
            true if silent.contains_key(&name) => false,
            true => silent.insert(name.clone(), Instant::now()).is_none(),
            false => silent.remove(&name).is_some(),
        };
        changed.then_some(name)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `Ready` is `Unknown` when the node's own agent stopped reporting; `False` is the agent's own word, and then its
/// containers go on.
fn is_silent(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

/// Watches the nodes for ever and pushes the pods of those that are lost. While Kubernetes does not answer, nothing
/// is concluded: the silence of a node counts anew from the next word about it.
pub async fn watch(
    api: Api<Node>,
    nodes: Nodes,
    view: View,
    queue: Pusher,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let stream = watcher::watcher(api, watcher::Config::default().timeout(60));
    futures::pin_mut!(stream);
    let mut failing = false;
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            _ = tick.tick() => {
                let lost: Vec<String> = nodes.lock().keys().cloned().collect();
                let is_lost = |node: &str| nodes.silence(node).is_some_and(Silence::is_loss);
                for node in lost.iter().filter(|node| !failing && is_lost(node)) {
                    view.on_node(node).into_iter().for_each(|uid| queue.push(uid, Trigger::TIMER));
                }
                continue;
            }
            () = shutdown.cancelled() => return Ok(()),
        };
        match event {
            Some(Ok(event)) => {
                failing = false;
                match event {
                    Event::Apply(node) | Event::InitApply(node) => {
                        // Its users learn of it at once, long before the pods count as lost.
                        if let Some(name) = nodes.note(&node) {
                            view.on_node(&name).into_iter().for_each(|uid| queue.push(uid, Trigger::TIMER));
                        }
                    }
                    Event::Delete(node) => {
                        // Kubernetes removes the Pods of a node that was removed; the watch of Pods tells.
                        nodes.lock().remove(node.metadata.name.as_deref().unwrap_or_default());
                    }
                    Event::Init | Event::InitDone => {}
                }
            }
            Some(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    crate::metrics::watch_broke("nodes");
                    tracing::debug!(error = %error, "the watch of nodes broke");
                }
                // What was silent before an outage of the API server may only look so because of it.
                nodes.lock().clear();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            None => anyhow::bail!("the watch of nodes ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str) -> Node {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_lost_after_a_while_and_comes_back() {
        let nodes = Nodes::new(Duration::from_secs(60));
        assert_eq!(nodes.note(&node("True")), None);
        assert_eq!(nodes.note(&node("Unknown")).as_deref(), Some("n"));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(nodes.note(&node("Unknown")), None, "no news");
        assert!(!nodes.silence("n").unwrap().is_loss());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(nodes.silence("n").unwrap().is_loss());
        assert_eq!(nodes.note(&node("True")).as_deref(), Some("n"));
        assert_eq!(nodes.silence("n"), None);
    }
}
