//! Who reaches whom under a set of policies: the rules of the Kubernetes documentation, "Network Policies", computed.
//!
//! The answer is what a network that follows the letter does. An `ipBlock` is taken to apply to pods too, which
//! networks are free to do: so nothing is called unreachable that is reachable in one of them.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::Cidr;

/// A pod, or something outside of the cluster.
pub(super) struct Endpoint {
    pub address: IpAddr,
    /// `None` for what is no pod.
    pub pod: Option<Pod>,
}

pub(super) struct Pod {
    pub namespace: &'static str,
    pub namespace_labels: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// Policies of one namespace.
pub(super) struct Policies<'a> {
    pub namespace: &'static str,
    pub policies: &'a [NetworkPolicy],
}

impl Policies<'_> {
    /// Whether a connection comes about: the source may go out, and the destination lets it in.
    pub fn allow(&self, from: &Endpoint, to: &Endpoint, protocol: &str, port: i32) -> bool {
        let out: Vec<&NetworkPolicySpec> = self.isolating(from, "Egress").collect();
        let may_leave = out.is_empty()
            || out.iter().flat_map(|spec| spec.egress.iter().flatten()).any(|rule| {
                self.any_peer(rule.to.as_deref(), to) && any_port(rule.ports.as_deref(), protocol, port)
            });
        let in_: Vec<&NetworkPolicySpec> = self.isolating(to, "Ingress").collect();
        let may_enter = in_.is_empty()
            || in_.iter().flat_map(|spec| spec.ingress.iter().flatten()).any(|rule| {
                self.any_peer(rule.from.as_deref(), from) && any_port(rule.ports.as_deref(), protocol, port)
            });
        may_leave && may_enter
    }

    fn isolating(&self, endpoint: &Endpoint, direction: &str) -> impl Iterator<Item = &NetworkPolicySpec> {
        let pod = endpoint.pod.as_ref().filter(|pod| pod.namespace == self.namespace);
        let specs = self.policies.iter().filter_map(|policy| policy.spec.as_ref());
        specs.filter(move |spec| {
            let types = spec.policy_types.as_deref().unwrap_or_default();
            let selects = |pod: &Pod| spec.pod_selector.as_ref().is_none_or(|s| matches(s, &pod.labels));
            types.iter().any(|kind| kind == direction) && pod.is_some_and(selects)
        })
    }

    /// No list, or an empty one, is everybody.
    fn any_peer(&self, peers: Option<&[NetworkPolicyPeer]>, other: &Endpoint) -> bool {
        let peers = peers.unwrap_or_default();
        peers.is_empty() || peers.iter().any(|peer| self.is_peer(peer, other))
    }

    fn is_peer(&self, peer: &NetworkPolicyPeer, other: &Endpoint) -> bool {
        if let Some(block) = &peer.ip_block {
            let within = |cidr: &String| cidr.parse::<Cidr>().unwrap().contains(other.address);
            return within(&block.cidr) && !block.except.iter().flatten().any(within);
        }
        let Some(pod) = &other.pod else { return false };
        let in_namespace = match &peer.namespace_selector {
            Some(selector) => matches(selector, &pod.namespace_labels),
            None => pod.namespace == self.namespace,
        };
        in_namespace && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels))
    }
}

fn any_port(ports: Option<&[NetworkPolicyPort]>, protocol: &str, number: i32) -> bool {
    let ports = ports.unwrap_or_default();
    ports.is_empty()
        || ports.iter().any(|port| {
            port.protocol.as_deref().unwrap_or("TCP") == protocol
                && port.port.as_ref().is_none_or(|wanted| *wanted == IntOrString::Int(number))
        })
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    assert!(selector.match_expressions.is_none(), "not needed so far");
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}
