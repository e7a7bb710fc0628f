//! Port numbers, each movable by an environment variable.

use crate::proc::Port;

/// `PODS_DEV_PORT_<NAME>` when set, else the default.
pub fn port(name: &str, default: u16) -> Port {
    let variable = format!("PODS_DEV_PORT_{}", name.to_uppercase().replace('-', "_"));
    let number = std::env::var(&variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    Port { number, variable }
}

/// Ports of the shared parts: (name, default).
pub const INFRA: &[(&str, u16)] = &[
    ("postgres", 15432),
    ("nats", 14222),
    ("nats-monitor", 18222),
    ("etcd", 12379),
    ("etcd-peer", 12380),
    ("kube-apiserver", 16443),
    ("kubelet", 10250),
    ("kubelet-healthz", 10248),
    ("kube-proxy-healthz", 10256),
    ("kube-proxy-metrics", 10249),
];

/// A port of the shared parts.
pub fn infra(name: &str) -> Port {
    let default = INFRA.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    port(name, default.expect("every shared part's port is in the table"))
}

/// Ports of the services: (name, default of the profile `dev`); profile `test` adds 1000, profile `scripted` 2000.
pub const APP: &[(&str, u16)] = &[
    ("api", 18000),
    ("api-internal", 18001),
    ("spawner-internal", 18002),
    ("health-internal", 18003),
    ("dev-tapis", 18004),
    ("spawner-internal-2", 18005),
    ("health-internal-2", 18006),
    ("kube-gate", 18007),
    ("kube-gate-control", 18008),
    ("scripted-kube", 18009),
    ("edge", 18010),
    ("dns", 18011),
    ("web", 8080),
    ("websecure", 8443),
];

/// A port of a profile's services; for a profile other than `dev` its name is part of the variable.
pub fn app(profile: &str, offset: u16, name: &str) -> Port {
    let default = APP.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let default = default.expect("every service's port is in the table") + offset;
    if profile == "dev" { port(name, default) } else { port(&format!("{profile}-{name}"), default) }
}
