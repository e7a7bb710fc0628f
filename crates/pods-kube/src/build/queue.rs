//! Compute queues: where pods are placed and which GPUs they get.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use serde::Deserialize;

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
    /// The taint's key.
    pub key: Option<String>,
    /// `Exists` or `Equal`.
    pub operator: Option<String>,
    /// The taint's value.
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
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

/// The queue cannot give what the pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// More GPUs than the queue gives.
    #[error(
        "{asked} GPUs are requested, but compute queue \"{queue}\" gives at most {most}; ask for fewer or use another queue"
    )]
    Gpus {
        /// How many the pod asks for.
        asked: i32,
        /// The name of the queue.
        queue: String,
        /// How many the queue gives.
        most: i32,
    },
}

impl ComputeQueue {
    /// The queue of this name, else the default one, else one without any rules.
    pub fn find(queues: &[Self], name: &str) -> Self {
        let named = queues.iter().find(|queue| queue.queue_name == name);
        let found = named.or_else(|| queues.iter().find(|queue| queue.default));
        found.cloned().unwrap_or_default()
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

    /// The resource to count `gpus` in; `None` when none are asked for.
    pub(super) fn gpu_resource(&self, gpus: i32) -> Result<Option<&str>, QueueError> {
        if gpus <= 0 {
            return Ok(None);
        }
        let most = self.gpu_resources.iter().map(|gpu| gpu.max_gpu_request).sum();
        match self.gpu_resources.last() {
            Some(gpu) if gpus <= most => Ok(Some(&gpu.activation_resource)),
            _ => Err(QueueError::Gpus { asked: gpus, queue: self.queue_name.clone(), most }),
        }
    }
}
