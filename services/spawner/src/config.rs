//! The configuration of this process.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use pods_core::image::ImageReference;
use pods_kube::{
    KubernetesConfig,
    build::{ComputeQueue, NetworkPolicySettings, Settings},
    labels,
};
use pods_runtime::config::{
    DatabaseConfig, LogConfig, NatsConfig, SecretsConfig, ServiceConfig, TelemetryConfig, duration,
};
use serde::Deserialize;

/// Everything that this process reads from the shared file.
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
    /// Who may reach whom.
    #[serde(default)]
    pub network_policy: NetworkPolicySettings,
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
    /// The service account of the pods, in their namespace; they do not get its token, and it needs no rights.
    pub service_account: String,
    /// Images whose processes may gain privileges, for example with sudo; each is a reference as in the list of allowed
    /// images.
    pub allow_privilege_escalation: Vec<String>,
    /// Whether a Pod without a volume gets an empty one, so that old kubelets let its container end in its own time.
    pub shutdown_volume: ShutdownVolume,
}

/// Whether a Pod without a volume gets an empty one.
///
/// Kubelets before 1.22 kill what runs in a Pod without a volume within two seconds after its end has begun, whatever
/// its grace period. The volume prevents that and costs a fraction of a second per start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownVolume {
    /// When the version of the API server allows kubelets that old.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Default for SpawnConfig {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(600),
            image_pull_policy: "Always".to_owned(),
            termination_grace_seconds: 30,
            service_account: "default".to_owned(),
            allow_privilege_escalation: Vec::new(),
            shutdown_volume: ShutdownVolume::default(),
        }
    }
}

impl Config {
    /// What the installation adds to every pod, checked: a mistake is found when the process starts, not by the first
    /// pod that meets it.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn build_settings(&self) -> anyhow::Result<Settings> {
        let spawn = &self.spawn;
        if !matches!(spawn.image_pull_policy.as_str(), "Always" | "IfNotPresent" | "Never") {
            bail!(
                "spawn.image_pull_policy is \"{}\"; it must be Always, IfNotPresent or Never",
                spawn.image_pull_policy
            );
        }
        if !labels::is_dns_name(&spawn.service_account) {
            bail!(
                "spawn.service_account is \"{}\", which no service account can be called",
                spawn.service_account
            );
        }
        let image = |text: &String| ImageReference::parse(text).context("spawn.allow_privilege_escalation");
        ComputeQueue::check_all(&self.compute_queues)?;
        self.network_policy.check()?;
        Ok(Settings {
            image_pull_policy: spawn.image_pull_policy.clone(),
            termination_grace_seconds: i64::from(spawn.termination_grace_seconds),
            service_account: spawn.service_account.clone(),
            escalation_images: spawn
                .allow_privilege_escalation
                .iter()
                .map(image)
                .collect::<Result<_, _>>()?,
            compute_queues: self.compute_queues.clone(),
            network_policy: self.network_policy.clone(),
        })
    }
}
