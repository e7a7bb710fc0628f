//! Configuration of the edge.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use pods_core::routing::RoutingSettings;
use pods_runtime::config::{DatabaseConfig, LogConfig, ServiceConfig, TelemetryConfig, duration};
use serde::Deserialize;

use super::auth::LoginsConfig;

/// The sections of the configuration file that the edge reads.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Which installation this is.
    pub service: ServiceConfig,
    /// What is logged.
    #[serde(default)]
    pub log: LogConfig,
    /// Where traces go.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Where Postgres is.
    pub database: DatabaseConfig,
    /// Where the Services of user pods are.
    pub kubernetes: KubernetesConfig,
    /// The Tapis platform, whose tokens are verified and whose tenants visitors log in to. The edge needs no password
    /// for it.
    pub tapis: tapis::TapisConfig,
    /// The sessions of visitors.
    pub logins: LoginsConfig,
    /// The edge itself.
    pub edge: EdgeConfig,
}

/// The part of `[kubernetes]` that backends are named with.
#[derive(Debug, Clone, Deserialize)]
pub struct KubernetesConfig {
    /// Namespace of the user pods.
    pub namespace: String,
    /// Domain of the cluster's DNS.
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
}

/// `[edge]`: what it listens on and what the routing document says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// Internal address; reachable for Traefik and probes only.
    pub bind: SocketAddr,
    /// Where Traefik finds the REST API.
    pub api_url: String,
    /// Where Traefik finds this service.
    pub self_url: String,
    /// Port of pod hosts that visitors see, for redirects from plain HTTP.
    #[serde(default = "https_port")]
    pub https_port: u16,
    /// Traefik's entry point for plain HTTP.
    #[serde(default = "entry_point_http")]
    pub entry_point_http: String,
    /// Traefik's entry point for TLS; may be the same.
    #[serde(default = "entry_point_https")]
    pub entry_point_https: String,
    /// Traefik's certificate resolver for pod hosts; without it Traefik serves the certificates that it has.
    #[serde(default)]
    pub cert_resolver: Option<String>,
    /// Whether that resolver is asked for `*.pods.<tenant host>` once for each tenant instead of for each host. It must
    /// answer DNS challenges.
    #[serde(default)]
    pub cert_wildcard: bool,
    /// Traefik's certificate resolver for the users' own domains; `cert_resolver` when left out, unless that one is
    /// asked for wildcards.
    #[serde(default)]
    pub domain_cert_resolver: Option<String>,
    /// Folder for what is needed to start while Postgres is away.
    pub state_dir: PathBuf,
    /// After a longer absence what is in `state_dir` is not believed: too much may have happened since.
    #[serde(default = "copy_absence", with = "duration")]
    pub copy_absence: Duration,
    /// The other replicas, as `host:port` of their `bind`; a name may stand for all of them. They are asked before Traefik
    /// gets routes from `state_dir`.
    #[serde(default)]
    pub peers: Vec<String>,
}

impl Config {
    /// What the routing document is made with.
    pub fn routing_settings(&self) -> RoutingSettings {
        RoutingSettings {
            namespace: self.kubernetes.namespace.clone(),
            cluster_domain: self.kubernetes.cluster_domain.clone(),
            api_url: self.edge.api_url.clone(),
            edge_url: self.edge.self_url.clone(),
            entry_point_http: self.edge.entry_point_http.clone(),
            entry_point_https: self.edge.entry_point_https.clone(),
            cert_resolver: self.edge.cert_resolver.clone(),
            cert_wildcard: self.edge.cert_wildcard,
            domain_cert_resolver: self
                .edge
                .domain_cert_resolver
                .clone()
                .or_else(|| self.edge.cert_resolver.clone().filter(|_| !self.edge.cert_wildcard)),
        }
    }
}

fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

fn copy_absence() -> Duration {
    Duration::from_secs(600)
}

fn https_port() -> u16 {
    443
}

fn entry_point_http() -> String {
    "web".to_owned()
}

fn entry_point_https() -> String {
    "websecure".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_documented() {
        let page = include_str!("../../../../docs/networking.md");
        let address = "https://pods.example.org";
        let values = [
            ("bind", "127.0.0.1:8010"),
            ("api_url", address),
            ("self_url", address),
            ("state_dir", "/var/lib/pods"),
        ];
        let values =
            values.map(|(key, value)| (format!("PODS__EDGE__{}", key.to_uppercase()), value.to_owned()));
        #[derive(Deserialize)]
        struct Only {
            edge: EdgeConfig,
        }
        let Only { edge } = pods_runtime::config::load_from(None, values).unwrap();
        assert_eq!((edge.https_port, edge.copy_absence.as_secs()), (443, 600));
        assert!(edge.peers.is_empty());
        assert_eq!((edge.entry_point_http.as_str(), edge.entry_point_https.as_str()), ("web", "websecure"));
        assert_eq!((edge.cert_resolver, edge.cert_wildcard, edge.domain_cert_resolver), (None, false, None));
        for row in [
            "| `https_port` | `443` |",
            "| `entry_point_http`, `entry_point_https` | `web`, `websecure` |",
            "| `state_dir`, `copy_absence`, `peers` | , `10m`, none |",
            "| `cert_resolver`, `cert_wildcard`, `domain_cert_resolver` | none, `false`, none |",
        ] {
            assert!(page.contains(row), "{row}");
        }
    }
}
