//! Pod definitions with hostile strings against the real Traefik: `cargo xtask fuzz routing`.
#![expect(clippy::print_stdout, reason = "the report is the purpose of the program")]

use std::process::ExitCode;

use clap::Parser;
use integration_tests::routing_fuzz;

/// What is asked for.
#[derive(Debug, Parser)]
#[command(about = "Hostile pod definitions against the real Traefik; PODS_TEST_TRAEFIK names it")]
struct Options {
    /// How many definitions.
    #[arg(long, default_value_t = 100_000)]
    cases: usize,
    /// Where chance begins; the same seed makes the same definitions.
    #[arg(long)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let progress = |tally: &routing_fuzz::Tally| {
        if tally.documents.is_multiple_of(20) {
            println!(
                "  {} definitions, {} accepted, {} routers",
                tally.generated, tally.accepted, tally.routers
            );
        }
    };
    match routing_fuzz::run(options.cases, options.seed, progress).await {
        Ok(tally) => {
            println!(
                "{} definitions, {} accepted, {} routers in {} documents: all taken over by Traefik, none touched another",
                tally.generated, tally.accepted, tally.routers, tally.documents
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("seed {}: {error:#}", options.seed);
            ExitCode::FAILURE
        }
    }
}
