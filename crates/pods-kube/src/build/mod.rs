//! The objects of one start, built from its frozen definition; Service and NetworkPolicy follow the pod's networking
//! entries as they are now. Pure: equal input gives equal objects.
//!
//! Values that a placeholder stood for come as [`Resolved`](pods_core::resolve::Resolved). They go into the Secret and
//! nowhere else; the Pod refers to them by key.

mod files;
mod network_policy;
mod pod;
mod probe;
mod queue;
mod secret;
mod service;
mod shutdown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pods_core::{Tenant, definition::EffectivePod, ids, image::ImageReference};
use uuid::Uuid;

pub use network_policy::{
    Cidr, CidrError, Entries, NetworkPolicyConfigError, NetworkPolicySettings, Peer, network_policy, rules,
};
pub use pod::{BuildError, pod};
pub use queue::{ComputeQueue, GpuResource, QueueConfigError, QueueToleration};
pub use secret::secret;
pub use service::{Face, service};

use crate::labels;

/// Everything that the objects of one start are built from.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The tenant of the pod.
    pub tenant: &'a Tenant,
    /// The pod's id.
    pub pod_id: &'a str,
    /// The uid of its row.
    pub uid: Uuid,
    /// The name of its Service.
    pub k8_name: &'a str,
    /// The start.
    pub instance_id: Uuid,
    /// The definition that the start froze.
    pub effective: &'a EffectivePod,
    /// What the installation adds.
    pub settings: &'a Settings,
    /// The W3C trace context of what led to the start; an annotation of the Pod.
    pub traceparent: Option<&'a str>,
    /// Whether the Pod has an empty volume when it has no other: without one, old kubelets kill a container that is
    /// being ended before its grace period is over.
    pub shutdown_volume: bool,
}

/// What the installation adds to every pod.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Seconds between SIGTERM and SIGKILL.
    pub termination_grace_seconds: i64,
    /// The service account of the pods. They never get its token, so it needs no rights.
    pub service_account: String,
    /// Images whose processes may gain privileges, for example with sudo.
    pub escalation_images: Vec<ImageReference>,
    /// The compute queues that a pod may name.
    pub compute_queues: Vec<ComputeQueue>,
    /// Who may reach whom.
    pub network_policy: NetworkPolicySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image_pull_policy: "Always".to_owned(),
            termination_grace_seconds: 30,
            service_account: "default".to_owned(),
            escalation_images: Vec::new(),
            compute_queues: Vec::new(),
            network_policy: NetworkPolicySettings::default(),
        }
    }
}

impl Build<'_> {
    /// Whether visitors are led to the container although a probe says that it is not ready.
    fn open_unready(&self) -> bool {
        let checks = self.effective.definition.healthchecks.as_ref();
        checks.is_some_and(|checks| {
            !checks.networking_requires_ready && (checks.readiness.is_some() || checks.startup.is_some())
        })
    }

    /// The name of the Pod, its Secret and its NetworkPolicy.
    pub fn instance_name(&self) -> String {
        ids::instance_name(self.k8_name, self.instance_id)
    }

    fn meta(&self, name: String) -> ObjectMeta {
        let labels = [
            (labels::APP, self.k8_name.to_owned()),
            (labels::MANAGED_BY, labels::MANAGER.to_owned()),
            (labels::SITE, self.tenant.site_id.clone()),
            (labels::TENANT, self.tenant.tenant_id.clone()),
            (labels::POD_ID, self.pod_id.to_owned()),
            (labels::UID, self.uid.to_string()),
            (labels::INSTANCE, self.instance_id.to_string()),
        ];
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        ObjectMeta { name: Some(name), labels: Some(labels), ..ObjectMeta::default() }
    }
}

/// The ports of networking entries, each once, with the names of its entries. A port name may have 15 characters and an
/// entry's name 64, so ports are counted and the annotation says which is which.
fn ports(entries: &Entries) -> Vec<Port<'_>> {
    let mut ports: Vec<Port<'_>> = Vec::new();
    for (entry, networking) in entries {
        match ports.iter_mut().find(|port| port.number == networking.port) {
            Some(port) => port.entries.push(entry),
            None => {
                let name = format!("p{}", ports.len());
                ports.push(Port { name, number: networking.port, entries: vec![entry] });
            }
        }
    }
    ports
}

fn ports_annotation(ports: &[Port<'_>]) -> Option<BTreeMap<String, String>> {
    let names: BTreeMap<&str, String> =
        ports.iter().map(|port| (port.name.as_str(), port.entries.join(","))).collect();
    let text = serde_json::to_string(&names).expect("a map of texts is JSON");
    (!names.is_empty()).then(|| BTreeMap::from([(labels::PORTS_ANNOTATION.to_owned(), text)]))
}

/// A port of the container.
struct Port<'a> {
    name: String,
    number: i32,
    entries: Vec<&'a str>,
}
