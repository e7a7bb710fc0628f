//! The frame of a `main`: TLS provider, runtime with a fixed number of threads, exit code.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

/// Runs `main` on a multi-thread runtime of `workers` threads and turns its result into an exit code.
///
/// The number of threads is explicit because the default (one per core) costs memory on large machines that a
/// process waiting for I/O has no use for. An error is printed to standard error with its causes: telemetry may
/// not be up yet when a process fails to start.
pub fn run<M, F>(name: &'static str, workers: usize, main: M) -> ExitCode
where
    M: FnOnce() -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    crate::install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .max_blocking_threads(16)
        .thread_name(name)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(main());
            crate::telemetry::flush();
            // What was asked to stop has stopped, or did not within its time: nothing more is waited for.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("the async runtime cannot be started")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
