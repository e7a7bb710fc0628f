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
