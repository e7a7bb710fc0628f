//! Configuration of `pods-api serve`.

use std::{net::SocketAddr, time::Duration};

use pods_core::{
    PodPolicy,
    image::{DEFAULT_MAIN_TENANTS, ImageRule, check_tenant_entry},
    resources::{Queue, ResourceLimits},
};
use pods_kube::{KubernetesConfig, build::GpuResource};
use pods_runtime::config::{
    DatabaseConfig, LogConfig, NatsConfig, SecretsConfig, ServiceConfig, TelemetryConfig,
};
use serde::Deserialize;

use crate::{
    middleware::{cors::Origins, rate_limit::RateLimit},
    sse::StreamLimits,
    state::HttpPolicy,
};

/// Everything that `pods-api serve` reads from the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The installation.
    pub service: ServiceConfig,
    /// Log output.
    #[serde(default)]
    pub log: LogConfig,
    /// Where traces go.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// NATS.
    pub nats: NatsConfig,
    /// The Tapis platform.
    pub tapis: tapis::TapisConfig,
    /// The keys that credentials are sealed with.
    pub secrets: SecretsConfig,
    /// The cluster whose events are shown; without it there are none.
    #[serde(default)]
    pub kubernetes: Option<KubernetesConfig>,
    /// The listeners.
    pub api: ApiConfig,
    /// Bounds and defaults of resources.
    #[serde(default)]
    pub resources: ResourceLimits,
    /// Images that may be run.
    #[serde(default)]
    pub images: ImagesConfig,
    /// Behaviour of the service that this one replaces.
    #[serde(default)]
    pub compat: CompatConfig,
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
    /// Origins whose pages may call the API with credentials: `scheme://host[:port]`, or `*`.
    #[serde(default)]
    pub cors_allow_origins: Vec<String>,
    /// How much a user may send.
    #[serde(default)]
    pub rate_limit: RateLimitConfig,
    /// Port of pod hosts that visitors see, for the way back from a login.
    #[serde(default = "https_port")]
    pub pods_https_port: u16,
    /// The template of the pods that `GET /pods/jupyter/ensure` creates.
    #[serde(default = "jupyter_template")]
    pub jupyter_template: String,
    /// Streams of server-sent events.
    #[serde(default)]
    pub streams: StreamsConfig,
}

/// Section `[api.streams]`: counted in each process for itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamsConfig {
    /// Open streams of one user of a tenant.
    pub per_user: usize,
    /// Open streams of all users.
    pub total: usize,
    /// Longest silence of a stream, in seconds.
    pub heartbeat_seconds: u64,
    /// A stream ends after so many seconds, and its client comes back.
    pub lifetime_seconds: u64,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        let StreamLimits { per_user, total, heartbeat, lifetime, .. } = StreamLimits::default();
        let (heartbeat_seconds, lifetime_seconds) = (heartbeat.as_secs(), lifetime.as_secs());
        Self { per_user, total, heartbeat_seconds, lifetime_seconds }
    }
}

impl StreamsConfig {
    /// The limits; silence and life of a stream are at least a second.
    pub fn limits(&self) -> StreamLimits {
        StreamLimits {
            per_user: self.per_user,
            total: self.total,
            heartbeat: Duration::from_secs(self.heartbeat_seconds.max(1)),
            lifetime: Duration::from_secs(self.lifetime_seconds.max(1)),
            ..StreamLimits::default()
        }
    }
}

/// Section `[api.rate_limit]`: counted per tenant and user, and in each process for itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Requests per second in the long run; 0 switches the limit off.
    pub per_second: u32,
    /// Requests that may come at once after a pause.
    pub burst: u32,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { per_second: 100, burst: 400 }
    }
}

/// Section `[compat]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompatConfig {
    /// Answer 400 instead of 401 and 403.
    pub auth_errors_400: bool,
}

fn jupyter_template() -> String {
    "jupyterlab:noauth".to_owned()
}

fn https_port() -> u16 {
    443
}

fn two() -> usize {
    2
}

/// Section `[images]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    /// Image references, each `registry/path[:tag][@digest]`; a tag or digest restricts to it.
    #[serde(default)]
    pub allow: Vec<AllowedImage>,
    /// The tenants that `*` stands for in the `tenants` of an image.
    #[serde(default = "main_tenants")]
    pub main_tenants: Vec<String>,
}

/// An entry of `images.allow`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum AllowedImage {
    /// A reference, for the main tenants.
    Everywhere(String),
    /// A reference with the tenants that may use it, as in `POST /pods/images`.
    For {
        /// The reference.
        image: String,
        /// Ids of tenants, `*`, `**`, `-tenant`.
        tenants: Vec<String>,
    },
}

impl AllowedImage {
    fn rule(&self) -> Result<ImageRule, String> {
        let (image, tenants) = match self {
            Self::Everywhere(image) => (image, vec!["*".to_owned()]),
            Self::For { image, tenants } => (image, tenants.clone()),
        };
        tenants.iter().try_for_each(|entry| check_tenant_entry(entry))?;
        ImageRule::new(image, tenants).map_err(|error| error.to_string())
    }
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), main_tenants: main_tenants() }
    }
}

fn main_tenants() -> Vec<String> {
    DEFAULT_MAIN_TENANTS.iter().map(|tenant| (*tenant).to_owned()).collect()
}

/// The part of `[[compute_queues]]` that requests are checked against; the spawner reads the rest.
#[derive(Debug, Clone, Deserialize)]
pub struct ComputeQueue {
    /// The name that pods use.
    pub queue_name: String,
    /// Which GPUs its nodes have.
    #[serde(default)]
    pub gpu_resources: Vec<GpuResource>,
}

impl ComputeQueue {
    fn queue(&self) -> Queue {
        let most_gpus = self.gpu_resources.iter().map(|kind| kind.max_gpu_request).max().unwrap_or(0);
        Queue { name: self.queue_name.clone(), most_gpus }
    }
}

fn default_queues() -> Vec<ComputeQueue> {
    vec![ComputeQueue { queue_name: "default".to_owned(), gpu_resources: Vec::new() }]
}

impl Config {
    /// How requests are treated before a handler sees them.
    ///
    /// # Errors
    /// An origin that is none.
    pub fn http(&self) -> anyhow::Result<HttpPolicy> {
        let cors = Origins::parse(&self.api.cors_allow_origins)
            .map_err(|error| anyhow::anyhow!("api.cors_allow_origins: {error}"))?;
        let RateLimitConfig { per_second, burst } = self.api.rate_limit;
        Ok(HttpPolicy {
            cors,
            rate_limit: RateLimit::new(per_second, burst),
            auth_errors_400: self.compat.auth_errors_400,
            accept_traceparent: self.telemetry.accept_traceparent,
        })
    }

    /// The rules that requests are checked against.
    ///
    /// # Errors
    /// An allowlist entry that is no image reference.
    pub fn policy(&self) -> anyhow::Result<PodPolicy> {
        let images = self
            .images
            .allow
            .iter()
            .map(AllowedImage::rule)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| anyhow::anyhow!("images.allow: {error}"))?;
        Ok(PodPolicy {
            resources: self.resources.clone(),
            compute_queues: self.compute_queues.iter().map(ComputeQueue::queue).collect(),
            images,
            main_tenants: self.images.main_tenants.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(allow: &str) -> anyhow::Result<ImagesConfig> {
        pods_runtime::config::load_from(None, [("PODS__ALLOW".to_owned(), allow.to_owned())])
    }

    #[test]
    fn allowed_images_are_texts_or_have_tenants() {
        let config = images(r#"["busybox", { image = "acme/web:2", tenants = ["dev", "-guest"] }]"#).unwrap();
        let rules: Vec<ImageRule> = config.allow.iter().map(|image| image.rule().unwrap()).collect();
        assert_eq!(rules[0].tenants, ["*"]);
        assert_eq!(rules[1].tenants, ["dev", "-guest"]);
        assert_eq!(rules[1].reference.canonical(), "docker.io/acme/web:2");
        for bad in [r#"["busy box"]"#, r#"[{ image = "busybox", tenants = ["a b"] }]"#] {
            assert!(images(bad).unwrap().allow[0].rule().is_err(), "{bad}");
        }
        assert!(images(r#"[{ image = "busybox" }]"#).is_err());
    }
}
