//! How a process stops: on a signal, or because one of its tasks could not go on.
//!
//! Every long-lived task gets a clone of one [`CancellationToken`]. It is cancelled by SIGTERM and SIGINT, and when
//! any task ends although nobody asked it to; then the others have a bounded time to finish what they are doing.

use std::future::Future;
use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
pub use tokio_util::sync::CancellationToken;

const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Owns the long-lived tasks of a process.
pub struct Supervisor {
    token: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    names: Vec<(Id, &'static str)>,
    drain_limit: Duration,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// A supervisor without tasks, with ten seconds for draining.
    pub fn new() -> Self {
        Self {
            token: CancellationToken::new(),
            tasks: JoinSet::new(),
            names: Vec::new(),
            drain_limit: DRAIN_LIMIT,
        }
    }

    /// Sets how long tasks may take to end once they were asked to.
    pub fn with_drain(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// The token that is cancelled when the process shall stop.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task that is to run until the token is cancelled. When it ends earlier, well or badly, the process
    /// stops with an error.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.tasks.spawn(task);
        self.names.push((handle.id(), name));
    }

    /// Waits for a signal or for the end of a task, then stops everything. An error means: exit with a failure.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut failure = None;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: the process stops"),
            _ = interrupt.recv() => tracing::info!("SIGINT: the process stops"),
            () = self.token.cancelled() => tracing::info!("the process was asked to stop"),
            Some(ended) = self.tasks.join_next_with_id() => failure = Some(self.early_end(ended)),
        }
        self.token.cancel();
        let drained = tokio::select! {
            drained = tokio::time::timeout(self.drain_limit, Self::drain(&mut self.tasks, &mut self.names)) => drained.ok(),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        };
        let late = match drained {
            Some(result) => result,
            None => {
                let names: Vec<_> = self.names.iter().map(|(_, name)| *name).collect();
                tracing::error!(tasks = ?names, "these tasks did not end in time and are cut off");
                Err(anyhow!("these tasks did not end in time: {}", names.join(", ")))
            }
        };
        match failure {
            Some(failure) => Err(failure),
            None => late,
        }
    }

    fn early_end(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> anyhow::Error {
        let error = match take(&mut self.names, ended) {
            (name, Ok(())) => anyhow!("the task `{name}` ended although nobody asked it to"),
            (name, Err(error)) => error.context(format!("the task `{name}` failed")),
        };
        tracing::error!(error = format!("{error:#}"), "the process stops because one of its tasks ended");
        error
    }

    /// Waits for the remaining tasks; the first error among them is the result.
    async fn drain(
        tasks: &mut JoinSet<anyhow::Result<()>>,
        names: &mut Vec<(Id, &'static str)>,
    ) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next_with_id().await {
            if let (name, Err(error)) = take(names, ended) {
                let error = error.context(format!("the task `{name}` failed while the process stopped"));
                tracing::error!(error = format!("{error:#}"), "a task failed while the process stopped");
                result = result.and(Err(error));
            }
        }
        result
    }
}

/// The name of an ended task (then forgotten) and its result; a panic is an error like any other.
fn take(
    names: &mut Vec<(Id, &'static str)>,
    ended: Result<(Id, anyhow::Result<()>), JoinError>,
) -> (&'static str, anyhow::Result<()>) {
    let (id, result) = match ended {
        Ok((id, result)) => (id, result),
        Err(error) => (error.id(), Err(anyhow!("{error}"))),
    };
    let name = names.iter().position(|(known, _)| *known == id).map(|at| names.swap_remove(at).1);
    (name.unwrap_or("unnamed"), result)
}
