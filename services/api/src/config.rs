//! Configuration of `pods-api serve`.

use std::net::SocketAddr;

use pods_core::{PodPolicy, image::ImageReference, resources::ResourceLimits};
use pods_runtime::config::{DatabaseConfig, LogConfig, NatsConfig, ServiceConfig};
use serde::Deserialize;

/// Everything that `pods-api serve` reads from the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The installation.
    pub service: ServiceConfig,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// NATS.
    pub nats: NatsConfig,
    /// The Tapis platform.
    pub tapis: tapis::TapisConfig,
    /// The listeners.
    pub api: ApiConfig,
    /// Bounds and defaults of resources.
    #[serde(default)]
    pub resources: ResourceLimits,
    /// Images that may be run.
    #[serde(default)]
    pub images: ImagesConfig,
    /// Queues that pods may name.
    #[serde(default = "default_queues")]
    pub compute_queues: Vec<ComputeQueue>,
}

/// Section `[api]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Address of the REST API.
    pub bind: SocketAddr,
    /// Address of `/healthz` and `/readyz`; never reachable from outside.
    pub internal_bind: SocketAddr,
    /// HTTP worker threads.
    #[serde(default = "two")]
    pub workers: usize,
}

fn two() -> usize {
    2
}

/// Section `[images]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// Image references, each `registry/path[:tag][@digest]`; a tag or digest restricts to it.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// The part of `[[compute_queues]]` that requests are checked against; the spawner reads the rest.
#[derive(Debug, Clone, Deserialize)]
pub struct ComputeQueue {
    /// The name that pods use.
    pub queue_name: String,
}

fn default_queues() -> Vec<ComputeQueue> {
    vec![ComputeQueue { queue_name: "default".to_owned() }]
}

impl Config {
    /// The rules that requests are checked against.
    ///
    /// # Errors
    /// An allowlist entry that is no image reference.
    pub fn policy(&self) -> anyhow::Result<PodPolicy> {
        let images = self
            .images
            .allow
            .iter()
            .map(|text| ImageReference::parse(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| anyhow::anyhow!("images.allow: {error}"))?;
        Ok(PodPolicy {
            resources: self.resources.clone(),
            compute_queues: self.compute_queues.iter().map(|queue| queue.queue_name.clone()).collect(),
            images,
        })
    }
}
