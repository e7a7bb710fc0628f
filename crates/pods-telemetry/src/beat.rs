//! Signs of life: a loop that must not stand still ticks, and somebody who watches it sees since when it has not.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The beat of one loop. Clones are the same beat.
#[derive(Debug, Clone)]
pub struct Beat {
    origin: Instant,
    /// Nanoseconds from the origin to the last tick; coarser, and a tick could seem to lie before what led to it.
    last: Arc<AtomicU64>,
}

impl Default for Beat {
    fn default() -> Self {
        Self::new()
    }
}

impl Beat {
    /// A beat that ticked just now.
    pub fn new() -> Self {
        Self { origin: Instant::now(), last: Arc::default() }
    }

    /// The loop came round.
    pub fn tick(&self) {
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// A task that ticks whenever it makes a step: right for a loop that never waits for long, for whatever it waits.
    pub fn over<F: Future>(self, task: F) -> impl Future<Output = F::Output> {
        let mut task = Box::pin(task);
        poll_fn(move |context| {
            self.tick();
            task.as_mut().poll(context)
        })
    }

    /// How long ago the last tick was.
    pub fn age(&self) -> Duration {
        self.origin.elapsed().saturating_sub(Duration::from_nanos(self.last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_makes_it_young_again() {
        let beat = Beat { origin: Instant::now() - Duration::from_secs(100), last: Arc::default() };
        let clone = beat.clone();
        assert!(beat.age() >= Duration::from_secs(100));
        clone.tick();
        assert!(beat.age() < Duration::from_secs(10));
    }
}
