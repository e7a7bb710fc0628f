//! What happens to a node, and to the Pods on it.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    object::{Key, Object},
    settings::ms,
    state::{Stage, State, Step, resource},
    status,
};

impl State {
    pub(crate) fn heartbeat(&mut self, node: &str) {
        if self.nodes.get(node).is_some_and(|node| node.ready != "Unknown") {
            self.show_node(node);
        }
        let after = ms(self.settings.heartbeat_ms.max(100));
        if self.nodes.contains_key(node) {
            self.later(crate::object::key("", node), "", Step::Heartbeat, after);
        }
    }

    pub(crate) fn on_silent_node(&self, key: &Key) -> bool {
        let node = self.runs.get(key).and_then(|run| run.node.as_ref());
        node.and_then(|name| self.nodes.get(name)).is_some_and(|node| node.ready == "Unknown")
    }

    fn pods_on(&self, node: &str) -> Vec<Arc<Object>> {
        let on_it =
            self.runs.iter().filter(|(_, run)| run.node.as_deref() == Some(node) && run.stage != Stage::Over);
        let mut keys: Vec<&Key> = on_it.map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.into_iter()
            .filter_map(|key| key.split_once('/'))
            .filter_map(|(namespace, name)| self.store.get(resource("pods"), namespace, name).ok())
            .collect()
    }

    pub(crate) fn evict_next(&mut self, node: &str) {
        let Some(pressure) = self.nodes.get(node).and_then(|node| node.pressure.clone()) else { return };
        let what = match pressure.as_str() {
            "disk" => "ephemeral-storage",
            "pid" => "pids",
            _ => "memory",
        };
        if let Some(pod) = self.pods_on(node).first() {
            let message = format!("The node was low on resource: {what}. ");
            self.evict(&Arc::clone(pod), &message);
        }
        let after = ms(self.settings.retry_ms);
        self.later(crate::object::key("", node), "", Step::Evict, after);
    }

    /// The node has been lost for so long that its Pods are marked for deletion.
    pub(crate) fn taint(&mut self, node: &str) {
        if self.nodes.get(node).is_none_or(|node| node.ready != "Unknown") {
            return;
        }
        for pod in self.pods_on(node) {
            let message = "Taint manager: deleting due to NoExecute taint";
            self.show(&pod, |pod| status::disrupted(pod, "DeletionByTaintManager", message));
            let _gone = self.delete(resource("pods"), pod.namespace(), pod.name(), &Value::Null);
        }
    }

    /// A node's condition changed: what the controllers of Kubernetes do then.
    pub fn set_node(&mut self, name: &str, ready: Option<&str>, pressure: Option<Option<&str>>) -> bool {
        let Some(node) = self.nodes.get_mut(name) else { return false };
        if let Some(ready) = ready {
            ready.clone_into(&mut node.ready);
        }
        if let Some(pressure) = pressure {
            node.pressure = pressure.map(str::to_owned);
        }
        let silent = node.ready == "Unknown";
        let short = node.pressure.is_some();
        self.show_node(name);
        let key = crate::object::key("", name);
        if silent && ready.is_some() {
            let after = Duration::from_secs(self.settings.node_eviction_s);
            self.later(Arc::clone(&key), "", Step::Taint, after);
            for pod in self.pods_on(name) {
                self.show(&pod, status::node_silent);
            }
        } else if ready == Some("True") {
            for pod in self
                .pods_on(name)
                .iter()
                .filter(|pod| self.stage(pod) == Stage::Running)
                .cloned()
                .collect::<Vec<_>>()
            {
                self.show(&pod, status::ready);
            }
        }
        if short && pressure.is_some() {
            self.later(key, "", Step::Evict, Duration::ZERO);
        }
        true
    }

    /// A node is removed from the cluster, and its Pods with it.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let pods = self.pods_on(name);
        for pod in pods {
            self.show(&pod, |pod| {
                status::failed(pod, "", "");
                status::disrupted(pod, "DeletionByPodGC", "PodGC: node no longer exists");
            });
            self.remove_pod(pod.namespace(), pod.name());
        }
        self.store.remove(resource("nodes"), "", name);
        self.nodes.remove(name).is_some()
    }
}
