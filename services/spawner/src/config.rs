//! The configuration of this process.

use std::{net::SocketAddr, time::Duration};

use pods_kube::{
    KubernetesConfig,
    build::{ComputeQueue, Settings},
};
use pods_runtime::config::{DatabaseConfig, LogConfig, NatsConfig, SecretsConfig, ServiceConfig, duration};
use serde::Deserialize;

/// Everything that this process reads from the shared file.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Which installation this is.
    pub service: ServiceConfig,
    /// What is logged.
    #[serde(default)]
    pub log: LogConfig,
    /// Where Postgres is.
    pub database: DatabaseConfig,
    /// Where the message broker is.
    pub nats: NatsConfig,
    /// Where the pods of users live.
    pub kubernetes: KubernetesConfig,
    /// The keys that the pods' credentials are sealed with.
    pub secrets: SecretsConfig,
    /// This process alone.
    #[serde(default)]
    pub spawner: SpawnerConfig,
    /// How pods are started.
    #[serde(default)]
    pub spawn: SpawnConfig,
    /// The compute queues.
    #[serde(default)]
    pub compute_queues: Vec<ComputeQueue>,
}

/// `[spawner]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpawnerConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub internal_bind: SocketAddr,
    /// How many pods are worked on at once; each takes one connection to Postgres.
    pub concurrency: usize,
}

impl Default for SpawnerConfig {
    fn default() -> Self {
        Self { internal_bind: SocketAddr::from(([0, 0, 0, 0], 8002)), concurrency: 16 }
    }
}

/// `[spawn]`: shared with health.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpawnConfig {
    /// How long pull, mount and placement may fail before the start is given up; health acts on it.
    #[serde(with = "duration")]
    pub give_up_after: Duration,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Seconds between SIGTERM and SIGKILL.
    pub termination_grace_seconds: u32,
}

impl Default for SpawnConfig {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(600),
            image_pull_policy: "Always".to_owned(),
            termination_grace_seconds: 30,
        }
    }
}

impl Config {
    /// What the installation adds to every pod.
    pub fn build_settings(&self) -> Settings {
        Settings {
            image_pull_policy: self.spawn.image_pull_policy.clone(),
            termination_grace_seconds: i64::from(self.spawn.termination_grace_seconds),
            compute_queues: self.compute_queues.clone(),
        }
    }
}
