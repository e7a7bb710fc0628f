//! Measures of a running system: `cargo xtask bench pod-start`, `api` and `memory`.
//!
//! Each bench prints its figures beside their targets, deletes what it made, and fails when a target is missed.
#![expect(clippy::print_stdout, reason = "the figures are the purpose of the program")]

mod api;
mod derived;
mod memory;
mod numbers;
mod pod_start;
mod service;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures of a running system; PODS_TEST_ENV names its env.json")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From `POST /pods` to AVAILABLE, against a bare Pod from its creation to Ready.
    PodStart {
        /// How many pairs; product and bare Pod take turns.
        #[arg(long, default_value_t = 30)]
        pairs: usize,
    },
    /// Requests per second, latency and CPU time of the API.
    Api {
        /// Seconds for each kind of request.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Requests at once.
        #[arg(long, default_value_t = 8)]
        connections: usize,
    },
    /// Resident memory of each process.
    Memory,
}

#[tokio::main]
async fn main() -> ExitCode {
    let met = match Cli::parse().bench {
        Bench::PodStart { pairs } => pod_start::run(pairs).await,
        Bench::Api { seconds, connections } => api::run(seconds, connections).await,
        Bench::Memory => memory::run(),
    };
    match met {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("a target was missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("the bench could not be carried out: {error:#}");
            ExitCode::FAILURE
        }
    }
}
