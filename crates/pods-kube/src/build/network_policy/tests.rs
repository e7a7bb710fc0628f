use std::{collections::BTreeMap, net::IpAddr};

use pods_core::{Networking, PodDefinition, Protocol, Resources, Tenant, definition::EffectivePod};
use uuid::Uuid;

use super::{
    super::{Build, NetworkPolicySettings, Settings},
    Entries, NetworkPolicy, network_policy,
    reachability::{Endpoint, Pod, Policies},
    rules,
};

const NAMESPACE: &str = "pods";

fn entry(port: i32) -> Networking {
    Networking { port, ..Networking::default() }
}

fn guarded(port: i32) -> Networking {
    Networking { tapis_auth: true, ..entry(port) }
}

fn listed(port: i32) -> Networking {
    Networking { ip_allow_list: vec!["198.51.100.0/24".to_owned()], ..entry(port) }
}

fn with_protocol(protocol: Protocol, entry: Networking) -> Networking {
    Networking { protocol, ..entry }
}

fn entries(all: impl IntoIterator<Item = (&'static str, Networking)>) -> Entries {
    all.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect()
}

fn built(
    tenant: &Tenant,
    instance: u128,
    entries: &Entries,
    network_policy_of: NetworkPolicySettings,
) -> Option<NetworkPolicy> {
    let effective = EffectivePod { definition: PodDefinition::with_resources(Resources::default()) };
    let settings = Settings { network_policy: network_policy_of, ..Settings::default() };
    let build = Build {
        tenant,
        pod_id: "shop",
        uid: Uuid::from_u128(7),
        k8_name: "pods-tacc-dev-shop",
        instance_id: Uuid::from_u128(instance),
        effective: &effective,
        settings: &settings,
        traceparent: None,
        shutdown_volume: false,
    };
    network_policy(&build, entries)
}

fn policy(entries: &Entries) -> NetworkPolicy {
    built(&Tenant::new("tacc", "dev"), 1, entries, NetworkPolicySettings::default()).unwrap()
}

fn settings(json: &str) -> NetworkPolicySettings {
    let settings: NetworkPolicySettings = serde_json::from_str(json).unwrap();
    settings.check().unwrap();
    settings
}

#[test]
fn one_http_entry() {
    insta::assert_yaml_snapshot!("http", policy(&entries([("default", entry(5000))])));
}

#[test]
fn several_entries() {
    let all = entries([
        ("admin", guarded(9000)),
        ("bolt", with_protocol(Protocol::Tcp, entry(7687))),
        ("default", entry(7474)),
        ("metrics", with_protocol(Protocol::LocalOnly, entry(9100))),
    ]);
    insta::assert_yaml_snapshot!("several", policy(&all).spec);
}

#[test]
fn no_networking_lets_nobody_in() {
    insta::assert_yaml_snapshot!("none", policy(&Entries::new()).spec);
}

#[test]
fn a_port_is_as_closed_as_its_most_guarded_entry() {
    let ingress =
        |all: Entries| serde_json::to_string(&policy(&all).spec.unwrap().ingress.unwrap()[1..]).unwrap();
    let none = "[]";
    assert_eq!(ingress(entries([("a", entry(80)), ("b", guarded(80))])), none);
    assert_eq!(
        ingress(entries([("a", listed(80)), ("b", with_protocol(Protocol::LocalOnly, entry(80)))])),
        none
    );
    assert!(
        ingress(entries([("a", entry(80)), ("b", guarded(81))]))
            .contains(r#"[{"port":80,"protocol":"TCP"}]"#)
    );
}

#[test]
fn an_installation_says_where_proxy_dns_and_internet_are() {
    let of =
        |json| built(&Tenant::new("tacc", "dev"), 1, &entries([("default", entry(5000))]), settings(json));
    let with_addresses = r#"{
        "proxy": [{"cidr": "192.0.2.10/32"}, {"namespace_labels": {"team": "edge"}}],
        "dns": [{"cidr": "169.254.20.10/32"}, {"pod_labels": {"app": "dns"}}], "dns_port": 5353,
        "egress_cidrs": ["0.0.0.0/0", "10.5.1.7/32"], "blocked_cidrs": ["10.0.0.0/8", "203.0.113.0/24"]
    }"#;
    insta::assert_yaml_snapshot!("configured", of(with_addresses).unwrap().spec);
    insta::assert_yaml_snapshot!("no_internet", of(r#"{"egress_cidrs": []}"#).unwrap().spec.unwrap().egress);
    assert_eq!(of(r#"{"enabled": false}"#), None);
}

#[test]
fn a_change_of_the_rules_is_a_change_of_the_digest() {
    let open = policy(&entries([("default", entry(5000))]));
    let closed = policy(&entries([("default", guarded(5000))]));
    let other_text = Networking { tapis_ui_uri: "/lab".to_owned(), ..entry(5000) };
    assert_ne!(rules(&open), rules(&closed));
    assert_eq!(rules(&open), rules(&policy(&entries([("main", other_text)]))));
    assert_eq!(rules(&open).unwrap().len(), 32);
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn outside(text: &str) -> Endpoint {
    Endpoint { address: address(text), pod: None }
}

fn pod_of(namespace: &'static str, pod_labels: &[(&str, &str)], at: &str) -> Endpoint {
    let namespace_labels = labels(&[("kubernetes.io/metadata.name", namespace)]);
    Endpoint {
        address: address(at),
        pod: Some(Pod { namespace, namespace_labels, labels: labels(pod_labels) }),
    }
}

/// A pod of a user under its own policy, which is added to `policies`.
fn user_pod(
    policies: &mut Vec<NetworkPolicy>,
    site: &str,
    tenant: &str,
    at: &str,
    all: &Entries,
) -> Endpoint {
    let instance = 100 + policies.len() as u128;
    let policy = built(&Tenant::new(site, tenant), instance, all, NetworkPolicySettings::default()).unwrap();
    // The labels of a policy are those of the Pod that it is for.
    let labels = policy.metadata.labels.clone().unwrap();
    policies.push(policy);
    let namespace_labels = self::labels(&[("kubernetes.io/metadata.name", NAMESPACE)]);
    Endpoint { address: address(at), pod: Some(Pod { namespace: NAMESPACE, namespace_labels, labels }) }
}

fn traefik() -> Endpoint {
    pod_of("pods-system", &[("app.kubernetes.io/name", "traefik")], "10.42.9.1")
}

fn word(allowed: bool) -> &'static str {
    if allowed { "yes" } else { "no" }
}

/// The table of docs/kubernetes.md, "Who reaches whom": in.
fn table_in() -> String {
    let mut policies = Vec::new();
    let plain = entries([("default", entry(5000))]);
    let sources = [
        ("Traefik", traefik()),
        ("pod of the same tenant", user_pod(&mut policies, "tacc", "dev", "10.42.0.2", &plain)),
        ("pod of another tenant", user_pod(&mut policies, "tacc", "other", "10.42.0.3", &plain)),
        (
            "pod of a tenant of this name at another site",
            user_pod(&mut policies, "eu", "dev", "10.42.0.4", &plain),
        ),
        ("the service's own API", pod_of("pods-system", &[("app", "pods-api")], "10.42.9.2")),
        ("any other address", outside("203.0.113.9")),
    ];
    let targets = [
        ("`http`", plain.clone(), 5000),
        ("`http` with `tapis_auth`", entries([("default", guarded(5000))]), 5000),
        ("`http` with `ip_allow_list`", entries([("default", listed(5000))]), 5000),
        ("`tcp`", entries([("default", with_protocol(Protocol::Tcp, entry(5000)))]), 5000),
        (
            "`tcp` with `ip_allow_list`",
            entries([("default", with_protocol(Protocol::Tcp, listed(5000)))]),
            5000,
        ),
        ("`postgres`", entries([("default", with_protocol(Protocol::Postgres, entry(5432)))]), 5432),
        ("`local_only`", entries([("default", with_protocol(Protocol::LocalOnly, entry(5000)))]), 5000),
        (
            "two entries of one port, one with `tapis_auth`",
            entries([("one", entry(5000)), ("two", guarded(5000))]),
            5000,
        ),
        ("a port of no entry", plain.clone(), 8080),
        ("a pod without entries", Entries::new(), 5000),
    ];
    let mut table = String::from("| Entry |");
    table.extend(sources.iter().map(|(name, _)| format!(" {name} |")));
    table += &format!("\n|---|{}\n", "---|".repeat(sources.len()));
    for (name, all, port) in targets {
        let mut policies = policies.clone();
        let target = user_pod(&mut policies, "tacc", "dev", "10.42.0.1", &all);
        let policies = Policies { namespace: NAMESPACE, policies: &policies };
        table += &format!("| {name} |");
        for (_, source) in &sources {
            table += &format!(" {} |", word(policies.allow(source, &target, "TCP", port)));
        }
        table.push('\n');
    }
    table
}

/// The table of docs/kubernetes.md, "Who reaches whom": out.
fn table_out() -> String {
    let mut policies = Vec::new();
    let plain = entries([("default", entry(5000))]);
    let source = user_pod(&mut policies, "tacc", "dev", "10.42.0.1", &plain);
    let dns = || pod_of("kube-system", &[("k8s-app", "kube-dns")], "10.42.8.1");
    let system = |name, at| pod_of("pods-system", &[("app", name)], at);
    let destinations = [
        ("the cluster's DNS, UDP 53", dns(), "UDP", 53),
        ("the cluster's DNS, TCP 53", dns(), "TCP", 53),
        ("another port of the DNS servers, TCP 9153", dns(), "TCP", 9153),
        (
            "a pod of the same tenant, at an open port",
            user_pod(&mut policies, "tacc", "dev", "10.42.0.2", &plain),
            "TCP",
            5000,
        ),
        (
            "a pod of another tenant",
            user_pod(&mut policies, "tacc", "other", "10.42.0.3", &plain),
            "TCP",
            5000,
        ),
        ("the internet, IPv4", outside("203.0.113.9"), "TCP", 443),
        ("the internet, IPv6", outside("2001:db8::9"), "TCP", 443),
        ("the metadata service of a cloud, 169.254.169.254", outside("169.254.169.254"), "TCP", 80),
        ("the same by IPv6, fd00:ec2::254", outside("fd00:ec2::254"), "TCP", 80),
        ("other link-local addresses", outside("169.254.1.1"), "TCP", 80),
        ("the Kubernetes API, at its Service address", outside("10.43.0.1"), "TCP", 443),
        ("the Kubernetes API, at the address of its machine", outside("192.168.7.10"), "TCP", 6443),
        ("the kubelet of a node", outside("192.168.7.11"), "TCP", 10250),
        ("the service's own API", system("pods-api", "10.42.9.2"), "TCP", 8000),
        ("its PostgreSQL", system("postgres", "10.42.9.3"), "TCP", 5432),
        ("its NATS", system("nats", "10.42.9.4"), "TCP", 4222),
        ("Traefik, past its public address", traefik(), "TCP", 8080),
    ];
    let mut table = String::from("| From a pod to | Reachable |\n|---|---|\n");
    let policies = Policies { namespace: NAMESPACE, policies: &policies };
    for (name, destination, protocol, port) in &destinations {
        let allowed = policies.allow(&source, destination, protocol, *port);
        table += &format!("| {name} | {} |\n", word(allowed));
    }
    table
}

#[test]
fn who_reaches_whom_is_the_documented_table() {
    let page = include_str!("../../../../../docs/kubernetes.md");
    for table in [table_in(), table_out()] {
        assert!(page.contains(&table), "docs/kubernetes.md lacks this table:\n{table}");
    }
}

#[test]
fn without_policies_everybody_reaches_everybody() {
    let policies = Policies { namespace: NAMESPACE, policies: &[] };
    let (a, b) = (outside("203.0.113.9"), pod_of(NAMESPACE, &[], "10.42.0.1"));
    assert!(policies.allow(&a, &b, "TCP", 1) && policies.allow(&b, &a, "UDP", 1));
}
