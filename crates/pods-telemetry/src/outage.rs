//! Failures that go on are told once, and that they are over as well.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

/// Something that is tried again and again, and that fails at times.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    lasts: AtomicBool,
}

impl Outage {
    /// Nothing has failed yet. `what` is the sentence that is logged, for example "logs cannot be written".
    pub const fn new(what: &'static str) -> Self {
        Self { what, lasts: AtomicBool::new(false) }
    }

    /// Notes how an attempt ended: warns of the first failure in a row, and tells when the row is over.
    pub fn note<T, E: Display>(&self, attempt: &Result<T, E>) {
        let lasted = self.lasts.swap(attempt.is_err(), Ordering::Relaxed);
        match attempt {
            Err(error) if !lasted => {
                tracing::warn!(error = format!("{error:#}"), "{}; it is tried again", self.what);
            }
            Ok(_) if lasted => tracing::info!(what = self.what, "what failed before works again"),
            Ok(_) | Err(_) => {}
        }
    }

    /// Whether the last attempt failed.
    pub fn lasts(&self) -> bool {
        self.lasts.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;

    /// Counts lines by level.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn an_outage_is_two_lines() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let outage = Outage::new("it does not work");
            for attempt in [Ok(()), Err("a"), Err("b"), Ok(()), Ok(()), Err("c")] {
                outage.note(&attempt);
                assert_eq!(outage.lasts(), attempt.is_err());
            }
        });
        assert_eq!(*lines.0.lock().unwrap(), [Level::WARN, Level::INFO, Level::WARN]);
    }
}
