//! What is due when.

use std::time::Duration;

use tokio::time::Instant;

use crate::{object::Key, state::State};

/// What the clock brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Place,
    Create,
    Setup,
    PullFailed,
    PullBackOff,
    Pulled,
    Start,
    Ready,
    Unhealthy,
    End,
    Deadline,
    TermEnd,
    Kill,
    Log,
    /// A node that runs short evicts its next Pod.
    Evict,
    /// A node that is lost for too long loses its Pods.
    Taint,
    Heartbeat,
}

/// For a Pod its key and uid; for a node its name as key and no uid.
#[derive(Debug)]
pub(crate) struct Task {
    pub key: Key,
    pub uid: Box<str>,
    pub step: Step,
}

impl State {
    pub(crate) fn later(&mut self, key: Key, uid: &str, step: Step, after: Duration) {
        self.sequence += 1;
        let at = (Instant::now() + after, self.sequence);
        if self.tasks.first_key_value().is_none_or(|(first, _)| at < *first) {
            self.sooner.notify_one();
        }
        self.tasks.insert(at, Task { key, uid: uid.into(), step });
    }

    /// When the clock has something to do next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due, at most `limit` steps.
    pub(crate) fn tick(&mut self, now: Instant, limit: usize) {
        for _ in 0..limit {
            match self.tasks.first_entry() {
                Some(entry) if entry.key().0 <= now => {
                    let task = entry.remove();
                    self.step(&task);
                }
                _ => return,
            }
        }
    }
}
