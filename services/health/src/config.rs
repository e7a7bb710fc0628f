//! What this process reads of the shared configuration file.

use std::{net::SocketAddr, time::Duration};

use pods_kube::client::KubernetesConfig;
use pods_runtime::config::{DatabaseConfig, LogConfig, NatsConfig, ServiceConfig, TelemetryConfig, duration};
use serde::Deserialize;

use crate::domains::DomainsConfig;

/// The configuration of `pods-health`.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Which installation this is.
    pub service: ServiceConfig,
    /// What is logged and how.
    #[serde(default)]
    pub log: LogConfig,
    /// Where traces go.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Where Postgres is.
    pub database: DatabaseConfig,
    /// Where the broker is.
    pub nats: NatsConfig,
    /// Where the pods of users live.
    pub kubernetes: KubernetesConfig,
    /// Settings of this process.
    pub health: HealthConfig,
    /// Settings of starts that concern this process too.
    #[serde(default)]
    pub spawn: SpawnLimits,
    /// How much of the logs of earlier runs is kept.
    #[serde(default)]
    pub logs: LogsConfig,
    /// How custom domains are proven.
    #[serde(default)]
    pub domains: DomainsConfig,
}

/// `[logs]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// How many runs of a pod keep their log as it is; older ones are compressed.
    pub runs_to_keep: u16,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self { runs_to_keep: 3 }
    }
}

impl LogsConfig {
    /// The current or last run is always kept as it is.
    pub fn keep(&self) -> i64 {
        i64::from(self.runs_to_keep.max(1))
    }
}

/// `[health]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// Where `/healthz` and `/readyz` listen.
    pub internal_bind: SocketAddr,
    /// How long a node may be silent before its pods count as lost.
    #[serde(default = "node_lost_after", with = "duration")]
    pub node_lost_after: Duration,
    /// How long a pod may wait without progress before its wake-up is repeated.
    #[serde(default = "sweep_interval", with = "duration")]
    pub sweep_interval: Duration,
}

/// The part of `[spawn]` that says when a start has failed.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct SpawnLimits {
    /// How long pulling, mounting or placing may keep failing.
    #[serde(with = "duration")]
    pub give_up_after: Duration,
}

impl Default for SpawnLimits {
    fn default() -> Self {
        Self { give_up_after: Duration::from_secs(600) }
    }
}

fn node_lost_after() -> Duration {
    Duration::from_secs(60)
}

fn sweep_interval() -> Duration {
    Duration::from_secs(5)
}
