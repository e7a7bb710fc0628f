//! Metrics of the spawner, and the span of the trace in which a wake-up is handled.

use std::{future::Future, sync::LazyLock, time::SystemTime};

use pods_db::Db;
use pods_messages::{Delivery, Outcome};
use pods_runtime::metrics::Metrics;
use pods_telemetry::{
    metrics::{Counter, EncodeLabelSet, Gauge, Histogram, Histograms, Present, Registry, long, shorts},
    trace,
};
use tracing::{Instrument, field::Empty};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

static HANDLED: LazyLock<Histograms<ByOutcome>> = LazyLock::new(shorts);
static DELAY: LazyLock<Histogram> = LazyLock::new(long);
static AT_WORK: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static BUSY: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Everything that this process measures.
pub(crate) fn of(db: &Db) -> Metrics {
    Metrics::builder("pods-spawner")
        .with(register)
        .with(|registry| pods_db::metrics::register(registry, db))
        .with(pods_messages::metrics::register)
        .with(pods_messages::metrics::register_consumer)
        .with(pods_kube::metrics::register)
        .build()
}

fn register(registry: &mut Registry) {
    for outcome in ["done", "retry", "reject"] {
        let _from_the_beginning = HANDLED.get_or_create(&ByOutcome { outcome });
    }
    registry.register(
        "pods_spawner_wakeup_seconds",
        "Time spent on a wake-up, by outcome: done, retry, reject",
        HANDLED.clone(),
    );
    registry.register(
        "pods_spawner_delay_seconds",
        "Time from the transaction that made a wake-up necessary to its first delivery",
        DELAY.clone(),
    );
    registry.register("pods_spawner_at_work", "Wake-ups that are being handled", AT_WORK.clone());
    registry.register(
        "pods_spawner_lock_busy",
        "Wake-ups that were put off because another one of the same pod was being handled",
        BUSY.clone(),
    );
}

/// Another one works on the pod.
pub(crate) fn busy() {
    BUSY.inc();
}

/// Handles a wake-up, measured, as a part of the trace that made it necessary.
pub(crate) async fn observed<F>(delivery: Delivery, handle: impl FnOnce(Delivery) -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    // Of the highest level, so that its fields stand in every line, whatever the filter.
    let span = tracing::error_span!(
        "wake-up",
        otel.kind = "consumer",
        pod.uid = delivery.wake_up.pod_uid,
        reason = delivery.wake_up.reason,
        attempt = delivery.attempt,
        outcome = Empty,
        trace.id = Empty,
    );
    trace::adopt(&span, delivery.traceparent.as_deref());
    if let Some(requested) = delivery.wake_up.requested_at_time().filter(|_| delivery.attempt == 1)
        && let Ok(delay) = SystemTime::now().duration_since(requested)
    {
        DELAY.observe(delay.as_secs_f64());
    }
    let _at_work = Present::new(&AT_WORK);
    let begun = std::time::Instant::now();
    let outcome = handle(delivery).instrument(span.clone()).await;
    span.record("outcome", outcome.label());
    let by = ByOutcome { outcome: outcome.label() };
    HANDLED.get_or_create(&by).observe(begun.elapsed().as_secs_f64());
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_metric_is_documented() {
        let db = Db::connect("postgres://nowhere", 1).expect("nothing is connected");
        let page = include_str!("../../../docs/observability.md");
        assert_eq!(of(&db).differs_from("spawner", page), Vec::<String>::new());
    }
}
