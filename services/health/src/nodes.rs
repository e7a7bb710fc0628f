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

impl Nodes {
    /// All nodes are fine until the watch says otherwise. A node counts as lost after `lost_after`, as seen by this
    /// process: the clocks of nodes are not trusted.
    pub fn new(lost_after: Duration) -> Self {
        Self { silent: Arc::default(), lost_after }
    }

    /// Whether a node has been silent for too long.
    pub fn lost(&self, node: &str) -> bool {
        self.lock().get(node).is_some_and(|since| since.elapsed() >= self.lost_after)
    }

    fn note(&self, node: &Node) {
        let Some(name) = node.metadata.name.clone() else { return };
        if is_silent(node) {
            self.lock().entry(name).or_insert_with(Instant::now);
        } else {
            self.lock().remove(&name);
        }
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
                for node in lost.iter().filter(|node| !failing && nodes.lost(node)) {
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
                    Event::Apply(node) | Event::InitApply(node) => nodes.note(&node),
                    Event::Delete(node) => {
                        // Kubernetes removes the Pods of a node that was removed; the watch of Pods tells.
                        nodes.lock().remove(node.metadata.name.as_deref().unwrap_or_default());
                    }
                    Event::Init | Event::InitDone => {}
                }
            }
            Some(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
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
        nodes.note(&node("Unknown"));
        tokio::time::advance(Duration::from_secs(59)).await;
        nodes.note(&node("Unknown"));
        assert!(!nodes.lost("n"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(nodes.lost("n"));
        nodes.note(&node("True"));
        assert!(!nodes.lost("n"));
    }
}
