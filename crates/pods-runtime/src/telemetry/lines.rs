//! Counts what goes wrong by what is logged, so that an alert needs no search in logs.

use std::sync::LazyLock;

use pods_telemetry::metrics::{Counters, EncodeLabelSet, Registry};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::Context, registry::LookupSpan};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLevel {
    level: &'static str,
}

static LINES: LazyLock<Counters<ByLevel>> = LazyLock::new(Counters::default);

struct Count;

/// Counts warnings and errors, whatever the filter of the lines says.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Count.with_filter(LevelFilter::WARN)
}

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = if *event.metadata().level() == Level::ERROR { "error" } else { "warn" };
        LINES.get_or_create(&ByLevel { level }).inc();
    }
}

pub(crate) fn register(registry: &mut Registry) {
    for level in ["error", "warn"] {
        let _from_the_beginning = LINES.get_or_create(&ByLevel { level });
    }
    registry.register("pods_log_lines", "Warnings and errors of this process by level", LINES.clone());
}
