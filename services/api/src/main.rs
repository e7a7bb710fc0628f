//! `pods-api`: the REST API, the edge that Traefik asks, and the migrations, each a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "REST API and edge of Pods")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve the REST API.
    Serve,
    /// Serve the routing document and the status pages to Traefik.
    Edge,
    /// Bring the database up to date, once per release, before the new processes start.
    Migrate,
    /// Load the standard templates, once per release, after the migrations.
    Seed(pods_api::seed::Options),
}

/// Threads of the asynchronous runtime; the HTTP workers come on top.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.role {
        Role::Serve => pods_runtime::process::run("pods-api", THREADS, pods_api::serve::run),
        Role::Edge => pods_runtime::process::run("pods-edge", THREADS, edge),
        Role::Migrate => pods_runtime::process::run("pods-migrate", THREADS, pods_api::migrate::run),
        Role::Seed(options) => {
            pods_runtime::process::run("pods-seed", THREADS, || pods_api::seed::run(options))
        }
    }
}

async fn edge() -> anyhow::Result<()> {
    let config: pods_api::edge::Config = pods_runtime::config::load()?;
    pods_runtime::telemetry::init(&config.log, &config.telemetry, "pods-edge")?;
    pods_api::edge::run(config).await
}
