//! `[network_policy]`: what an installation says about the network of its pods.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cidr::Cidr;
use crate::labels;

/// Never reachable, whatever else is configured: link-local addresses, where machines of a cloud find their metadata and
/// the credentials of their nodes.
const LINK_LOCAL: [&str; 4] = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"];
/// The ranges that cluster networks and the machines around them are made of.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// `[network_policy]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkPolicySettings {
    /// Whether pods get a NetworkPolicy at all.
    pub enabled: bool,
    /// Where Traefik's connections to pods come from.
    pub proxy: Vec<Peer>,
    /// Where the cluster's DNS servers are.
    pub dns: Vec<Peer>,
    /// The port that DNS servers listen on, behind their Service.
    pub dns_port: u16,
    /// Where pods may go besides the pods of their tenant.
    pub egress_cidrs: Vec<Cidr>,
    /// What of it they may not reach: pods, Services and nodes of the cluster, the parts of this service.
    pub blocked_cidrs: Vec<Cidr>,
}

impl Default for NetworkPolicySettings {
    fn default() -> Self {
        let label = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        let proxy = Peer {
            namespace_labels: Some(BTreeMap::new()),
            pod_labels: label("app.kubernetes.io/name", "traefik"),
            cidr: None,
        };
        let dns = Peer {
            namespace_labels: label("kubernetes.io/metadata.name", "kube-system"),
            pod_labels: label("k8s-app", "kube-dns"),
            cidr: None,
        };
        Self {
            enabled: true,
            proxy: vec![proxy],
            dns: vec![dns],
            dns_port: 53,
            egress_cidrs: cidrs(&EVERYWHERE),
            blocked_cidrs: cidrs(&PRIVATE),
        }
    }
}

/// One side of a connection: pods by their labels, or a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    /// Labels of the namespace; `{}` is every namespace, left out is the one that the pods of users are in.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Labels of the pods; left out, all pods of the namespace.
    pub pod_labels: Option<BTreeMap<String, String>>,
    /// A network instead of labels.
    pub cidr: Option<Cidr>,
}

/// What is wrong with `[network_policy]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network_policy.{key} {problem}")]
pub struct NetworkPolicyConfigError {
    key: &'static str,
    problem: String,
}

impl NetworkPolicySettings {
    /// Checks what the types alone do not: that every rule means something, and that none opens everything.
    ///
    /// # Errors
    /// [`NetworkPolicyConfigError`] with the first mistake.
    pub fn check(&self) -> Result<(), NetworkPolicyConfigError> {
        let fail = |key, problem: &str| Err(NetworkPolicyConfigError { key, problem: problem.to_owned() });
        if !self.enabled {
            return Ok(());
        }
        for (key, peers) in [("proxy", &self.proxy), ("dns", &self.dns)] {
            if peers.is_empty() {
                return fail(
                    key,
                    "must name somebody; pods could not be reached, or could not resolve any name",
                );
            }
            peers.iter().try_for_each(|peer| peer.check(key))?;
        }
        if self.dns_port == 0 {
            return fail("dns_port", "must not be 0");
        }
        for cidr in &self.egress_cidrs {
            let never = cidrs(&LINK_LOCAL).into_iter().find(|range| range == cidr || range.is_around(*cidr));
            if let Some(range) = never {
                return fail(
                    "egress_cidrs",
                    &format!("has {cidr}; {range} can never be reached, metadata services are there"),
                );
            }
            if self.blocked_cidrs.contains(cidr) {
                return fail(
                    "egress_cidrs",
                    &format!("has {cidr}, and so has blocked_cidrs; remove it from one of them"),
                );
            }
        }
        Ok(())
    }

    /// What of `cidr` is not reachable.
    pub(super) fn exceptions(&self, cidr: Cidr) -> Vec<Cidr> {
        let all = cidrs(&LINK_LOCAL).into_iter().chain(self.blocked_cidrs.iter().copied());
        let mut inside: Vec<Cidr> = Vec::new();
        for range in all.filter(|range| cidr.is_around(*range)) {
            if !inside.contains(&range) {
                inside.push(range);
            }
        }
        inside
    }
}

impl Peer {
    fn check(&self, key: &'static str) -> Result<(), NetworkPolicyConfigError> {
        let fail = |problem: &str| Err(NetworkPolicyConfigError { key, problem: problem.to_owned() });
        let of_labels = self.namespace_labels.is_some() || self.pod_labels.is_some();
        match self.cidr {
            Some(_) if of_labels => return fail("has an entry with labels and cidr; make two of it"),
            Some(cidr) if cidr.is_everything() => {
                return fail("has a cidr that is everywhere; set enabled = false if there shall be no rules");
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let labels = || self.namespace_labels.iter().chain(&self.pod_labels).flatten();
        if labels().next().is_none() {
            return fail("has an entry without any label or cidr: that is every pod of every tenant");
        }
        match labels().all(|(key, value)| labels::is_key(key) && labels::is_value(value)) {
            true => Ok(()),
            false => fail("has labels that Kubernetes does not accept"),
        }
    }
}

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().expect("the constants of this file are networks")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<(), String> {
        let settings: NetworkPolicySettings =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_mean_nothing_or_everything_are_refused() {
        for good in [
            "{}",
            r#"{"enabled": false, "proxy": []}"#,
            r#"{"proxy": [{"cidr": "10.244.0.1/32"}], "dns": [{"cidr": "169.254.20.10/32"}], "dns_port": 5353}"#,
            r#"{"proxy": [{"pod_labels": {"app": "traefik"}}]}"#,
            r#"{"proxy": [{"namespace_labels": {"kubernetes.io/metadata.name": "ingress"}}]}"#,
            r#"{"egress_cidrs": [], "blocked_cidrs": []}"#,
            r#"{"egress_cidrs": ["0.0.0.0/0", "10.5.1.7/32"]}"#,
        ] {
            assert_eq!(parsed(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            (r#"{"proxy": []}"#, "must name somebody"),
            (r#"{"dns": []}"#, "must name somebody"),
            (r#"{"proxy": [{}]}"#, "every pod of every tenant"),
            (r#"{"proxy": [{"namespace_labels": {}, "pod_labels": {}}]}"#, "every pod of every tenant"),
            (r#"{"proxy": [{"cidr": "0.0.0.0/0"}]}"#, "everywhere"),
            (r#"{"proxy": [{"cidr": "10.0.0.0/8", "pod_labels": {"a": "b"}}]}"#, "make two of it"),
            (r#"{"proxy": [{"pod_labels": {"a b": "c"}}]}"#, "does not accept"),
            (r#"{"dns": [{"cidr": "10.0.0.1"}]}"#, "is no network"),
            (r#"{"dns_port": 0}"#, "must not be 0"),
            (r#"{"egress_cidrs": ["169.254.169.254/32"]}"#, "can never be reached"),
            (r#"{"egress_cidrs": ["169.254.0.0/16"]}"#, "can never be reached"),
            (r#"{"egress_cidrs": ["10.0.0.0/8"]}"#, "remove it from one"),
            (r#"{"proxies": []}"#, "unknown field"),
        ] {
            let problem = parsed(bad).unwrap_err();
            assert!(problem.contains(expected), "{bad}: {problem}");
        }
    }
}
