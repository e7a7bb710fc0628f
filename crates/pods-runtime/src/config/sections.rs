//! The sections that more than one process reads.

use secrecy::SecretString;
use serde::Deserialize;

/// `[service]`: which installation this is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The Tapis site that this service runs for.
    pub site_id: String,
    /// The version that the service reports; the version of the build when not set.
    #[serde(default = "build_version")]
    pub version: String,
}

/// `[log]`: what is logged and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// One JSON object per line, or text for people.
    pub format: LogFormat,
    /// Levels per target, in the syntax of `tracing_subscriber`: `info,pods_db=debug`.
    pub filter: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// `[telemetry]`: where traces go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// A collector that speaks OTLP over gRPC, `http://host:4317`; without it no traces are recorded.
    pub otlp_endpoint: Option<String>,
    /// The part of the traces that begin here that is recorded, 0 to 1. What another process of ours recorded is
    /// always continued.
    pub sample_ratio: f64,
    /// Continue the traces of callers of the API. Only for installations whose callers are trusted: a caller decides
    /// then what is recorded.
    pub accept_traceparent: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample_ratio: 1.0, accept_traceparent: false }
    }
}

/// `[database]`: where Postgres is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// The most connections that this process keeps.
    #[serde(default = "pool_size")]
    pub pool_size: usize,
}

/// `[nats]`: where the message broker is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// `nats://host:port` or `tls://user:password@host:port`.
    pub url: SecretString,
    /// The stream, and in lower case the prefix of the subjects, of this installation.
    #[serde(default = "stream")]
    pub stream: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

fn build_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

fn pool_size() -> usize {
    8
}

fn stream() -> String {
    "PODS".to_owned()
}
