//! Compute queues: where pods are placed and which GPUs they get.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use pods_core::resources::{Queue, QueueError};
use serde::Deserialize;

use crate::labels;

/// One entry of `[[compute_queues]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeQueue {
    /// The name that pods use.
    pub queue_name: String,
    /// Whether pods that name no queue, or one that is gone, are placed by this one.
    #[serde(default)]
    pub default: bool,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// A node label as `key,value`; empty for any node.
    #[serde(default)]
    pub node_selector: String,
    /// Taints that its pods tolerate.
    #[serde(default)]
    pub tolerations: Vec<QueueToleration>,
    /// Which GPUs its nodes have.
    #[serde(default)]
    pub gpu_resources: Vec<GpuResource>,
}

/// A toleration as the configuration spells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueToleration {
    /// The taint's key; without one every key is tolerated.
    pub key: Option<String>,
    /// `Exists` or `Equal`, which it is when nothing is said.
    pub operator: Option<String>,
    /// The taint's value.
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; without one every effect is tolerated.
    pub effect: Option<String>,
    /// How long a `NoExecute` taint is tolerated.
    pub toleration_seconds: Option<i64>,
}

/// A kind of GPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuResource {
    /// The resource that Kubernetes counts, for example `nvidia.com/gpu`.
    pub activation_resource: String,
    /// The most that one pod may ask for.
    pub max_gpu_request: i32,
}

/// What is wrong with the queues of a configuration: Kubernetes would refuse every pod of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("compute_queues: the queue \"{queue}\" {problem}")]
pub struct QueueConfigError {
    queue: String,
    problem: String,
}

impl ComputeQueue {
    /// The queue of this name, else the default one, else one without any rules.
    pub fn find(queues: &[Self], name: &str) -> Self {
        let named = queues.iter().find(|queue| queue.queue_name == name);
        let found = named.or_else(|| queues.iter().find(|queue| queue.default));
        found.cloned().unwrap_or_default()
    }

    /// Checks the queues of a configuration, so that a mistake is found when the process starts and not by the first
    /// user of a queue.
    ///
    /// # Errors
    /// [`QueueConfigError`] with the first mistake.
    pub fn check_all(queues: &[Self]) -> Result<(), QueueConfigError> {
        for (index, queue) in queues.iter().enumerate() {
            let fail = |problem: String| QueueConfigError { queue: queue.queue_name.clone(), problem };
            queue.check().map_err(fail)?;
            if queues[..index].iter().any(|other| other.queue_name == queue.queue_name) {
                return Err(fail("is there twice".to_owned()));
            }
            if queue.default && queues[..index].iter().any(|other| other.default) {
                return Err(fail(
                    "is the second one with default = true; one queue can be the default".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let name_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if self.queue_name.is_empty() || !self.queue_name.chars().all(name_character) {
            return Err("must have a name of lower-case letters and digits".to_owned());
        }
        if !self.node_selector.is_empty() {
            let parts = self.node_selector.split_once(',').map(|(key, value)| (key.trim(), value.trim()));
            if !parts.is_some_and(|(key, value)| labels::is_key(key) && labels::is_value(value)) {
                let found = &self.node_selector;
                return Err(format!(
                    "has the node_selector \"{found}\"; it must be a label of nodes as \"key,value\""
                ));
            }
        }
        self.tolerations.iter().try_for_each(QueueToleration::check)?;
        for gpu in &self.gpu_resources {
            let resource = &gpu.activation_resource;
            if !resource.contains('/') || !labels::is_key(resource) {
                return Err(format!(
                    "has the activation_resource \"{resource}\"; it must be a resource of nodes like nvidia.com/gpu"
                ));
            }
            if gpu.max_gpu_request < 1 {
                return Err(format!(
                    "gives {} of {resource}; max_gpu_request must be at least 1",
                    gpu.max_gpu_request
                ));
            }
        }
        Ok(())
    }

    pub(super) fn selector(&self) -> Option<BTreeMap<String, String>> {
        let (key, value) = self.node_selector.split_once(',')?;
        Some(BTreeMap::from([(key.trim().to_owned(), value.trim().to_owned())]))
    }

    pub(super) fn kube_tolerations(&self) -> Option<Vec<Toleration>> {
        let all = self.tolerations.iter().cloned().map(|t| Toleration {
            key: t.key,
            operator: t.operator,
            value: t.value,
            effect: t.effect,
            toleration_seconds: t.toleration_seconds,
        });
        (!self.tolerations.is_empty()).then(|| all.collect())
    }

    /// The resource to count `gpus` in; `None` when none are asked for. A pod gets GPUs of one kind: the first that
    /// gives as many.
    pub(super) fn gpu_resource(&self, gpus: i32) -> Result<Option<&str>, QueueError> {
        if gpus <= 0 {
            return Ok(None);
        }
        if let Some(kind) = self.gpu_resources.iter().find(|kind| gpus <= kind.max_gpu_request) {
            return Ok(Some(&kind.activation_resource));
        }
        let most_gpus = self.gpu_resources.iter().map(|kind| kind.max_gpu_request).max().unwrap_or(0);
        Queue { name: self.queue_name.clone(), most_gpus }.check_gpus(gpus).map(|()| None)
    }
}

impl QueueToleration {
    fn check(&self) -> Result<(), String> {
        let operator = self.operator.as_deref().unwrap_or("Equal");
        let problem = if !matches!(operator, "Exists" | "Equal") {
            format!("has the operator \"{operator}\"; it must be Exists or Equal")
        } else if !self.key.as_deref().is_none_or(labels::is_key) {
            "has a key that no taint can have".to_owned()
        } else if self.key.is_none() && operator != "Exists" {
            "has no key; only the operator Exists is possible then".to_owned()
        } else if operator == "Exists" && self.value.as_deref().is_some_and(|value| !value.is_empty()) {
            "has the operator Exists and a value; leave out one of them".to_owned()
        } else if !self.value.as_deref().is_none_or(labels::is_value) {
            "has a value that no taint can have".to_owned()
        } else if !matches!(
            self.effect.as_deref(),
            None | Some("NoSchedule" | "PreferNoSchedule" | "NoExecute")
        ) {
            "has an effect that is none of NoSchedule, PreferNoSchedule and NoExecute".to_owned()
        } else if self.toleration_seconds.is_some() && self.effect.as_deref() != Some("NoExecute") {
            "has toleration_seconds, which needs the effect NoExecute".to_owned()
        } else {
            return Ok(());
        };
        Err(format!("has a toleration that {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(entries: &str) -> Result<(), String> {
        let queues: Vec<ComputeQueue> = serde_json::from_str(&format!("[{entries}]")).unwrap();
        ComputeQueue::check_all(&queues).map_err(|error| error.to_string())
    }

    #[test]
    fn queues_that_kubernetes_would_refuse_are_found_at_the_start() {
        for good in [
            r#"{"queue_name": "default", "default": true}, {"queue_name": "gpu2"}"#,
            r#"{"queue_name": "gpu", "node_selector": "cloud.example.org/pool, a100",
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists"},
                    {"key": "a", "value": "b", "effect": "NoExecute", "toleration_seconds": 60}],
                "gpu_resources": [{"activation_resource": "nvidia.com/gpu", "max_gpu_request": 2}]}"#,
        ] {
            assert_eq!(parsed(good), Ok(()), "{good}");
        }
        let with = |rest: &str| format!(r#"{{"queue_name": "gpu", {rest}}}"#);
        let toleration = |rest: &str| with(&format!(r#""tolerations": [{{{rest}}}]"#));
        let gpu = |name: &str, most: i32| {
            let kind = format!(r#"{{"activation_resource": "{name}", "max_gpu_request": {most}}}"#);
            with(&format!(r#""gpu_resources": [{kind}]"#))
        };
        for (bad, expected) in [
            (r#"{"queue_name": ""}"#.to_owned(), "must have a name"),
            (r#"{"queue_name": "a-b"}"#.to_owned(), "must have a name"),
            (r#"{"queue_name": "a"}, {"queue_name": "a"}"#.to_owned(), "is there twice"),
            (
                r#"{"queue_name": "a", "default": true}, {"queue_name": "b", "default": true}"#.to_owned(),
                "second one with default",
            ),
            (with(r#""node_selector": "pool""#), "node_selector"),
            (with(r#""node_selector": "pool,a b""#), "node_selector"),
            (with(r#""node_selector": "-pool,a""#), "node_selector"),
            (toleration(r#""key": "a", "operator": "Like""#), "Exists or Equal"),
            (toleration(r#""value": "b""#), "has no key"),
            (toleration(r#""key": "a b", "operator": "Exists""#), "no taint can have"),
            (toleration(r#""key": "a", "operator": "Exists", "value": "b""#), "leave out one"),
            (toleration(r#""key": "a", "value": "b c""#), "no taint can have"),
            (toleration(r#""key": "a", "value": "b", "effect": "Never""#), "an effect that"),
            (
                toleration(r#""key": "a", "value": "b", "toleration_seconds": 3"#),
                "needs the effect NoExecute",
            ),
            (gpu("gpu", 1), "activation_resource"),
            (gpu("nvidia.com/gpu", 0), "at least 1"),
        ] {
            let problem = parsed(&bad).unwrap_err();
            assert!(problem.contains(expected), "{bad}: {problem}");
        }
    }

    #[test]
    fn gpus_are_of_one_kind_that_has_enough() {
        let kind =
            |name: &str, most| GpuResource { activation_resource: name.to_owned(), max_gpu_request: most };
        let queue = ComputeQueue {
            queue_name: "gpu".to_owned(),
            gpu_resources: vec![kind("nvidia.com/mig", 1), kind("nvidia.com/gpu", 4), kind("amd.com/gpu", 8)],
            ..ComputeQueue::default()
        };
        let got = |gpus| queue.gpu_resource(gpus);
        assert_eq!(got(0), Ok(None));
        assert_eq!(got(1), Ok(Some("nvidia.com/mig")));
        assert_eq!(got(4), Ok(Some("nvidia.com/gpu")));
        assert_eq!(got(5), Ok(Some("amd.com/gpu")));
        // Not 13: kinds do not add up in one container.
        assert_eq!(got(9), Err(QueueError::Gpus { asked: 9, queue: "gpu".to_owned(), most: 8 }));
        let none = ComputeQueue { gpu_resources: Vec::new(), ..queue.clone() };
        assert_eq!(none.gpu_resource(1), Err(QueueError::NoGpus { asked: 1, queue: "gpu".to_owned() }));
    }
}
