//! The process `pods-spawner`.

use std::process::ExitCode;

use pods_runtime::{config, process, telemetry};
use pods_spawner::Config;

/// Waiting for Postgres, NATS and Kubernetes is all that this process does.
const THREADS: usize = 2;

fn main() -> ExitCode {
    process::run("pods-spawner", THREADS, || async {
        let config: Config = config::load()?;
        telemetry::init(&config.log, &config.telemetry, "pods-spawner")?;
        pods_spawner::run(config).await
    })
}
