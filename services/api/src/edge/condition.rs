//! Whether a disk works that nobody has to wait for.

use std::time::{Duration, Instant};

/// Nobody waits longer for the disk.
pub const LIMIT: Duration = Duration::from_secs(2);
/// How long a disk that failed is left alone.
const REST: Duration = Duration::from_secs(10);

/// How the last write ended; only changes of that are logged.
#[derive(Debug, Default)]
pub struct Condition {
    failed: Option<Instant>,
}

impl Condition {
    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether it failed a moment ago.
    pub fn rests(&self) -> bool {
        self.failed.is_some_and(|at| at.elapsed() < REST)
    }

    /// `what` was written, or was not.
    pub fn note(&mut self, what: &'static str, result: &anyhow::Result<()>) {
        match result {
            Ok(()) if self.is_failing() => tracing::info!("{what} can be written to disk again"),
            Err(error) if !self.is_failing() => {
                let error = format!("{error:#}");
                tracing::warn!(error, "{what} cannot be written to disk, trying again");
            }
            Ok(()) | Err(_) => {}
        }
        self.failed = result.is_err().then(Instant::now);
    }

    /// `what` was not written in time; it may be later.
    pub fn waited_in_vain(&mut self, what: &'static str) {
        self.note(what, &Err(anyhow::anyhow!("the disk did not answer in time")));
    }
}

#[cfg(test)]
impl Condition {
    /// As if the last failure were a while ago.
    pub fn has_rested(&mut self) {
        self.failed = self.failed.and_then(|at| at.checked_sub(REST));
    }
}
