//! What thousands of pods cost, against a scripted Kubernetes: `cargo xtask bench steady idle|resync|creates`.
//!
//! Everything but Kubernetes is real: API, spawner, health, Postgres and NATS as processes of their own. The profile
//! `scripted` belongs to these benches; each of them begins by emptying it.

mod creates;
mod fill;
mod idle;
mod resync;
mod stage;

use anyhow::Result;
use clap::Subcommand;

/// The benches of many pods.
#[derive(Subcommand)]
pub enum Steady {
    /// Pods that run and do nothing: CPU time of health and spawner, and rows that are written.
    Idle {
        /// How many pods.
        #[arg(long, default_value_t = 2000)]
        pods: usize,
        /// For how long.
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
    },
    /// Health is started anew, and its watch loses its place: time until every row is true again, and memory.
    Resync {
        /// How many pods.
        #[arg(long, default_value_t = 10_000)]
        pods: usize,
        /// How often each.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Creates at a steady rate: whether the queue grows, and how long each takes until AVAILABLE.
    Creates {
        /// How many a minute.
        #[arg(long, default_value_t = 200)]
        per_minute: usize,
        /// For how long.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
    },
    /// All three in a short form.
    Short,
}

/// Runs one of them; answers whether its targets are met.
pub async fn run(bench: Steady) -> Result<bool> {
    match bench {
        Steady::Idle { pods, minutes } => idle::run(pods, minutes).await,
        Steady::Resync { pods, rounds } => resync::run(pods, rounds).await,
        Steady::Creates { per_minute, minutes } => creates::run(per_minute, minutes).await,
        Steady::Short => {
            let idle = idle::run(500, 0.5).await?;
            let resync = resync::run(2000, 1).await?;
            Ok(creates::run(200, 1.0).await? && resync && idle)
        }
    }
}
