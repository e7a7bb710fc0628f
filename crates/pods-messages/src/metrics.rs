//! Metrics of the broker and of wake-ups.

use std::sync::LazyLock;

use pods_telemetry::metrics::{Counter, Counters, EncodeLabelSet, Gauge, Registry};

use crate::delivery::Outcome;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

static CONNECTED: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static CONNECTIONS: LazyLock<Counter> = LazyLock::new(Counter::default);
static DELIVERED: LazyLock<Counter> = LazyLock::new(Counter::default);
static REDELIVERED: LazyLock<Counter> = LazyLock::new(Counter::default);
static SETTLED: LazyLock<Counters<ByOutcome>> = LazyLock::new(Counters::default);

/// Registers the connection.
pub fn register(registry: &mut Registry) {
    registry.register("pods_nats_connected", "Whether the connection to NATS stands", CONNECTED.clone());
    registry.register("pods_nats_connections", "Times that the connection was made", CONNECTIONS.clone());
}

/// Registers what a consumer counts.
pub fn register_consumer(registry: &mut Registry) {
    for outcome in ["done", "retry", "reject"] {
        let _from_the_beginning = SETTLED.get_or_create(&ByOutcome { outcome });
    }
    registry.register("pods_wakeups_delivered", "Wake-ups that NATS delivered", DELIVERED.clone());
    registry.register(
        "pods_wakeups_redelivered",
        "Those among them that were delivered before",
        REDELIVERED.clone(),
    );
    registry.register(
        "pods_wakeups_settled",
        "Wake-ups by outcome: done, retry (given back to come again), reject (given up)",
        SETTLED.clone(),
    );
}

pub(crate) fn connected(stands: bool) {
    CONNECTED.set(i64::from(stands));
    if stands {
        CONNECTIONS.inc();
    }
}

pub(crate) fn delivered(attempt: u64) {
    DELIVERED.inc();
    if attempt > 1 {
        REDELIVERED.inc();
    }
}

pub(crate) fn settled(outcome: &Outcome) {
    SETTLED.get_or_create(&ByOutcome { outcome: outcome.label() }).inc();
}
