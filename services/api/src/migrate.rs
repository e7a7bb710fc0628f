//! `pods-api migrate`.

use pods_runtime::config::{DatabaseConfig, ExposeSecret, LogConfig, TelemetryConfig, load};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    log: LogConfig,
    database: DatabaseConfig,
}

/// Applies the migrations that the database does not have yet.
///
/// # Errors
/// A bad configuration, an unreachable database, or a failing migration.
pub async fn run() -> anyhow::Result<()> {
    let config: Config = load()?;
    pods_runtime::telemetry::init(&config.log, &TelemetryConfig::default(), "pods-migrate")?;
    let applied = pods_db::migrate::run(config.database.url.expose_secret()).await?;
    tracing::info!(migrations.applied = applied.len(), "the database is up to date");
    Ok(())
}
