//! `pods-health`: observes Kubernetes and records what happened.

use std::process::ExitCode;

/// One thread watches and decides while another carries logs.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    pods_runtime::process::run("pods-health", WORKERS, || async {
        let config: pods_health::Config = pods_runtime::config::load()?;
        pods_runtime::telemetry::init(&config.log, &config.telemetry, "pods-health")?;
        pods_health::run(config).await
    })
}
