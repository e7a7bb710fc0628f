//! Measures of a running system: `cargo xtask bench pod-start`, `latency`, `api`, `logs`, `memory`, `routing`,
//! `first-byte` and `steady`.
//!
//! Each bench prints its figures beside their targets, deletes what it made, and fails when a target is missed.
#![expect(clippy::print_stdout, reason = "the figures are the purpose of the program")]

mod api;
mod derived;
mod edge;
mod first_byte;
mod latency;
mod logs;
mod memory;
mod numbers;
mod pod_start;
mod routing;
mod service;
mod steady;

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
    /// From the running container to AVAILABLE for users, and starts beside those of bare Pods.
    Latency {
        /// How many starts, and as many of bare Pods.
        #[arg(long, default_value_t = 200)]
        starts: usize,
        /// How many at a time.
        #[arg(long, default_value_t = 2)]
        parallel: usize,
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
    /// A pod that writes as fast as the node lets it: memory of health, latency of other pods, what is kept.
    Logs {
        /// Seconds of the flood.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// How many pods write.
        #[arg(long, default_value_t = 1)]
        writers: usize,
    },
    /// Resident memory of each process.
    Memory,
    /// The routing document of thousands of pods, and what a login costs each request.
    Routing(routing::Options),
    /// From AVAILABLE to the first byte at the public address of new pods, beside thousands of routes.
    FirstByte(first_byte::Options),
    /// Thousands of pods, against a scripted Kubernetes.
    #[command(subcommand)]
    Steady(steady::Steady),
}

#[tokio::main]
async fn main() -> ExitCode {
    let met = match Cli::parse().bench {
        Bench::PodStart { pairs } => pod_start::run(pairs).await,
        Bench::Latency { starts, parallel } => latency::run(starts, parallel).await,
        Bench::Api { seconds, connections } => api::run(seconds, connections).await,
        Bench::Logs { seconds, writers } => logs::run(seconds, writers).await,
        Bench::Memory => memory::run(),
        Bench::Routing(options) => routing::run(options).await,
        Bench::FirstByte(options) => first_byte::run(options).await,
        Bench::Steady(bench) => steady::run(bench).await,
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
