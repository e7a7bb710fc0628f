//! Users who change their minds while everything breaks: `cargo xtask chaos`.
//!
//! Every pod has users who create, start, stop, restart, change and delete it; meanwhile processes are killed, stores
//! and Kubernetes go away and come back, connections are cut and messages come twice. When it is over, every pod must be
//! what its last accepted request asked for, and nothing else may exist or be missing.
#![expect(clippy::print_stdout, reason = "the report is the purpose of the program")]

mod bystanders;
mod doubles;
mod driver;
mod injector;
mod judge;
mod messages;
mod model;
mod report;
mod run;
mod script;
mod snapshot;

use std::process::ExitCode;

use clap::Parser;
use integration_tests::random;

/// What is asked for.
#[derive(Debug, Clone, Parser)]
#[command(about = "Chaos in a running system; PODS_TEST_ENV names its env.json")]
pub struct Options {
    /// How long requests and faults go on.
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// How many pods have users; 60 when left out, 2000 against the scripted API server.
    #[arg(long)]
    pub pods: Option<usize>,
    /// Where chance begins; the same seed makes the same requests and the same faults.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Requests in a second, all pods together; 1.5 when left out, 25 against the scripted API server.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Where connections to the API server of Kubernetes are cut by whoever connects.
    #[arg(long)]
    pub gate: Option<String>,
    /// The control address of a scripted API server.
    #[arg(long)]
    pub scripted: Option<String>,
    /// No faults: only the users.
    #[arg(long)]
    pub calm: bool,
    /// Leave the pods as they are in the end.
    #[arg(long)]
    pub keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run::run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("chaos: something was lost, doubled or left behind, see above");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("chaos could not be carried out: {error:#}");
            ExitCode::FAILURE
        }
    }
}
