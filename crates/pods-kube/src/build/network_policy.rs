//! The NetworkPolicy of a start: who may reach its container, and what it may reach.
//!
//! - In: Traefik on every port that it routes to. Pods of the same tenant on ports that anybody may use: an entry with
//!   `tapis_auth` or `ip_allow_list` is guarded by Traefik, and a neighbour that comes directly would pass the guard
//!   by. A port with several entries is as closed as the most guarded one of them.
//! - Out: names (DNS), pods of the same tenant, the internet. Not the cluster's own networks, where the parts of this
//!   service and of Kubernetes are, and never link-local addresses.
//!
//! The rules follow the entries as they are now, as routing does, not those that the start froze: who adds `tapis_auth`
//! to a running pod closes its port at once.

mod cidr;
#[cfg(test)]
mod reachability;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use pods_core::{Networking, Protocol};
use sha2::{Digest, Sha256};

pub use cidr::{Cidr, CidrError};
pub use settings::{NetworkPolicyConfigError, NetworkPolicySettings, Peer};

use super::Build;
use crate::labels;

/// The entries of a pod, by name.
pub type Entries = BTreeMap<String, Networking>;

/// The NetworkPolicy of the start, for a pod whose entries are `entries`; `None` when the installation has none.
pub fn network_policy(build: &Build<'_>, entries: &Entries) -> Option<NetworkPolicy> {
    let settings = &build.settings.network_policy;
    if !settings.enabled {
        return None;
    }
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector([(labels::INSTANCE, build.instance_id.to_string())])),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        ingress: Some(ingress(build, settings, entries)),
        egress: Some(egress(build, settings)),
    };
    let mut metadata = build.meta(build.instance_name());
    metadata.annotations = Some(BTreeMap::from([(labels::RULES_ANNOTATION.to_owned(), digest(&spec))]));
    Some(NetworkPolicy { metadata, spec: Some(spec) })
}

/// The digest of a policy's rules that its annotation carries.
pub fn rules(policy: &NetworkPolicy) -> Option<&str> {
    policy.metadata.annotations.as_ref()?.get(labels::RULES_ANNOTATION).map(String::as_str)
}

fn digest(spec: &NetworkPolicySpec) -> String {
    let text = serde_json::to_vec(spec).expect("an object of Kubernetes is JSON");
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn ingress(
    build: &Build<'_>,
    settings: &NetworkPolicySettings,
    entries: &Entries,
) -> Vec<NetworkPolicyIngressRule> {
    let routed = entries.values().filter(|entry| entry.protocol != Protocol::LocalOnly);
    let routed: BTreeSet<i32> = routed.map(|entry| entry.port).collect();
    let guarded = entries.values().filter(|entry| entry.tapis_auth || !entry.ip_allow_list.is_empty());
    let guarded: BTreeSet<i32> = guarded.map(|entry| entry.port).collect();
    let open: BTreeSet<i32> =
        entries.values().map(|entry| entry.port).filter(|port| !guarded.contains(port)).collect();
    let rule = |from: Vec<NetworkPolicyPeer>, ports: BTreeSet<i32>| {
        // Without ports a rule would mean all of them.
        (!ports.is_empty()).then(|| NetworkPolicyIngressRule {
            from: Some(from),
            ports: Some(ports.into_iter().map(|number| port("TCP", number)).collect()),
        })
    };
    let from_proxy = rule(settings.proxy.iter().map(peer).collect(), routed);
    let from_tenant = rule(vec![same_tenant(build)], open);
    from_proxy.into_iter().chain(from_tenant).collect()
}

fn egress(build: &Build<'_>, settings: &NetworkPolicySettings) -> Vec<NetworkPolicyEgressRule> {
    let dns_port = i32::from(settings.dns_port);
    let names = NetworkPolicyEgressRule {
        to: Some(settings.dns.iter().map(peer).collect()),
        ports: Some(vec![port("UDP", dns_port), port("TCP", dns_port)]),
    };
    let neighbours = NetworkPolicyEgressRule { to: Some(vec![same_tenant(build)]), ports: None };
    let outside: Vec<NetworkPolicyPeer> = settings
        .egress_cidrs
        .iter()
        .map(|cidr| {
            let except: Vec<String> = settings.exceptions(*cidr).iter().map(ToString::to_string).collect();
            NetworkPolicyPeer {
                ip_block: Some(IPBlock {
                    cidr: cidr.to_string(),
                    except: (!except.is_empty()).then_some(except),
                }),
                ..NetworkPolicyPeer::default()
            }
        })
        .collect();
    // A rule without destinations would mean everywhere.
    let outside = (!outside.is_empty()).then_some(NetworkPolicyEgressRule { to: Some(outside), ports: None });
    [names, neighbours].into_iter().chain(outside).collect()
}

/// Pods of the same tenant of the same site; they are all in one namespace.
fn same_tenant(build: &Build<'_>) -> NetworkPolicyPeer {
    let labels = [
        (labels::MANAGED_BY, labels::MANAGER.to_owned()),
        (labels::SITE, build.tenant.site_id.clone()),
        (labels::TENANT, build.tenant.tenant_id.clone()),
    ];
    NetworkPolicyPeer { pod_selector: Some(selector(labels)), ..NetworkPolicyPeer::default() }
}

fn peer(peer: &Peer) -> NetworkPolicyPeer {
    let labels = |labels: &BTreeMap<String, String>| LabelSelector {
        match_labels: (!labels.is_empty()).then(|| labels.clone()),
        ..LabelSelector::default()
    };
    NetworkPolicyPeer {
        namespace_selector: peer.namespace_labels.as_ref().map(labels),
        pod_selector: peer.pod_labels.as_ref().map(labels),
        ip_block: peer.cidr.map(|cidr| IPBlock { cidr: cidr.to_string(), except: None }),
    }
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        end_port: None,
    }
}

fn selector<'k>(labels: impl IntoIterator<Item = (&'k str, String)>) -> LabelSelector {
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}
