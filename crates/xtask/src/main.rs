//! `cargo xtask`: the development environment, the tests and the benches of Pods.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

mod app;
mod chaos;
mod cli;
mod control;
mod dns_feed;
mod fuzz;
mod gate;
mod given;
mod infra;
mod jetstream;
mod k8s_build;
mod packages;
mod paths;
mod ports;
mod proc;
mod ready;
mod run;
mod test;
mod ui;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    ui::start_clock();
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
