//! What every `main` of Pods shares: configuration, telemetry, shutdown and the internal HTTP listener.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use pods_runtime::{config, internal_http, metrics::Metrics, process, shutdown::Supervisor, telemetry};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     #[serde(default)]
//!     log: config::LogConfig,
//!     #[serde(default)]
//!     telemetry: config::TelemetryConfig,
//! }
//!
//! fn main() -> ExitCode {
//!     process::run("pods-example", 2, || async {
//!         let config: Config = config::load()?;
//!         telemetry::init(&config.log, &config.telemetry, "pods-example")?;
//!         let mut supervisor = Supervisor::new();
//!         let health = internal_http::Health::new();
//!         let metrics = Metrics::new("pods-example");
//!         let bind = ([127, 0, 0, 1], 18002).into();
//!         supervisor.spawn("internal http", internal_http::serve(bind, health, metrics, supervisor.token()));
//!         supervisor.run().await
//!     })
//! }
//! ```

pub mod config;
pub mod internal_http;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod telemetry;

/// Makes aws-lc-rs the TLS provider of the process. Call it before anything opens a connection; calling it
/// again changes nothing.
pub fn install_tls_provider() {
    // The only error is "there is one already", and this crate is the only place that installs one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
