//! Metrics of health.

use std::{
    future::Future,
    sync::{LazyLock, atomic::AtomicU64},
    time::{Duration, Instant},
};

use pods_core::{Status, phases::Phase};
use pods_db::{Db, pods::PodRow};
use pods_runtime::metrics::Metrics;
use pods_telemetry::metrics::{Counter, Counters, EncodeLabelSet, Gauge, Gauges, Histogram, Registry, short};

use crate::shards::Shards;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWatch {
    watch: &'static str,
}

static PODS: LazyLock<Gauges<ByStatus>> = LazyLock::new(Gauges::default);
static WATCH_BREAKS: LazyLock<Counters<ByWatch>> = LazyLock::new(Counters::default);
static QUEUE: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static LOOKS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
static LOOK_SECONDS: LazyLock<Histogram> = LazyLock::new(short);
static SHARES: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static SHARES_LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
static FOLLOWED: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static LOG_BYTES: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG_LAG: LazyLock<Histogram> = LazyLock::new(short);
static LOG_SKIPS: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG_LEFT_OUT: LazyLock<Counter<f64, AtomicU64>> = LazyLock::new(Counter::default);
static LOG_DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG_WAITING: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static DOMAIN_LOOKS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);

/// Everything that this process measures.
pub(crate) fn of(db: &Db, site_id: String, shards: Shards) -> Metrics {
    let scraped = (db.clone(), site_id, shards);
    Metrics::builder("pods-health")
        .with(register)
        .with(|registry| pods_db::metrics::register_starts(registry, Phase::Ready))
        .with(|registry| pods_db::metrics::register(registry, db))
        .with(pods_db::metrics::register_outbox)
        .with(pods_messages::metrics::register)
        .with(pods_kube::metrics::register)
        .before_scrape(move || {
            let (db, site_id, shards) = scraped.clone();
            async move {
                pods_db::metrics::refresh_outbox(&db).await;
                refresh(&db, &site_id, &shards).await;
            }
        })
        .build()
}

fn register(registry: &mut Registry) {
    let _until_somebody_counts = PODS.get_or_create(&ByStatus { status: Status::Available.as_str() });
    for watch in ["pods", "nodes", "events"] {
        let _from_the_beginning = WATCH_BREAKS.get_or_create(&ByWatch { watch });
    }
    for result in ["answered", "silent", "failed"] {
        let _from_the_beginning = DOMAIN_LOOKS.get_or_create(&ByResult { result });
    }
    registry.register(
        "pods_count",
        "Pods of the site by status; only the replica that holds the first share tells",
        PODS.clone(),
    );
    registry.register("pods_health_watch_breaks", "Times that a watch broke", WATCH_BREAKS.clone());
    registry.register("pods_health_queue", "Rows that wait for a look or are looked at", QUEUE.clone());
    for result in ["ok", "failed"] {
        let _from_the_beginning = LOOKS.get_or_create(&ByResult { result });
    }
    registry.register(
        "pods_health_looks",
        "Looks at a row by result; one that failed is repeated",
        LOOKS.clone(),
    );
    registry.register("pods_health_look_seconds", "Time spent on a look at a row", LOOK_SECONDS.clone());
    registry.register(
        "pods_health_shares",
        "Shares of the pods that this replica holds, of 16",
        SHARES.clone(),
    );
    registry.register(
        "pods_health_shares_lost",
        "Shares that could not be renewed in time; those given up on purpose do not count",
        SHARES_LOST.clone(),
    );
    registry.register("pods_health_logs_followed", "Containers whose log is being read", FOLLOWED.clone());
    registry.register("pods_health_log_bytes", "Bytes of logs that were stored", LOG_BYTES.clone());
    registry.register(
        "pods_health_log_skips",
        "Times that the middle of a log was left out because it was written faster than it can be read",
        LOG_SKIPS.clone(),
    );
    registry.register(
        "pods_health_log_left_out_seconds",
        "Time from the last line before to the first line after what was left out of a log",
        LOG_LEFT_OUT.clone(),
    );
    registry.register(
        "pods_health_log_dropped_bytes",
        "Bytes of logs that were stored and dropped for newer ones of the same run",
        LOG_DROPPED.clone(),
    );
    registry.register(
        "pods_health_log_lag_seconds",
        "Age of the newest line of a container when it was stored",
        LOG_LAG.clone(),
    );
    registry.register(
        "pods_health_log_waiting_bytes",
        "Bytes of logs that wait for Postgres",
        LOG_WAITING.clone(),
    );
    registry.register(
        "pods_health_domain_looks",
        "Looks at custom domains by result: answered or silent (DNS), failed (what was found could not be stored)",
        DOMAIN_LOOKS.clone(),
    );
}

/// A custom domain was looked at: `answered`, `silent` or `failed`.
pub(crate) fn domain_look(result: &'static str) {
    DOMAIN_LOOKS.get_or_create(&ByResult { result }).inc();
}

/// Asks how many pods there are in each status, before a scrape.
async fn refresh(db: &Db, site_id: &str, shards: &Shards) {
    SHARES.set(
        i64::try_from((0..crate::shards::SHARDS).filter(|shard| shards.holds(*shard)).count()).unwrap_or(0),
    );
    if !shards.holds(0) {
        PODS.clear();
        return;
    }
    let Ok(mut conn) = db.get().await else { return };
    let Ok(counts) = PodRow::count_by_status(&mut conn, site_id).await else { return };
    for status in Status::ALL {
        let count = counts.iter().find(|(known, _)| known == status).map_or(0, |(_, count)| *count);
        PODS.get_or_create(&ByStatus { status: status.as_str() }).set(count);
    }
}

/// A watch of `pods`, `nodes` or `events` broke.
pub(crate) fn watch_broke(watch: &'static str) {
    WATCH_BREAKS.get_or_create(&ByWatch { watch }).inc();
}

/// So many rows wait for a look.
pub(crate) fn queued(rows: usize) {
    QUEUE.set(i64::try_from(rows).unwrap_or(i64::MAX));
}

/// A share could not be renewed in time.
pub(crate) fn share_lost() {
    SHARES_LOST.inc();
}

/// So many logs are followed, with so many bytes on their way to Postgres.
pub(crate) fn logs(followed: usize, waiting: usize) {
    FOLLOWED.set(i64::try_from(followed).unwrap_or(i64::MAX));
    LOG_WAITING.set(i64::try_from(waiting).unwrap_or(i64::MAX));
}

/// The bytes that were on their way to Postgres when they were measured last.
pub(crate) fn log_waiting() -> usize {
    usize::try_from(LOG_WAITING.get()).unwrap_or(0)
}

/// So many bytes of logs were stored.
pub(crate) fn log_stored(bytes: usize) {
    LOG_BYTES.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
}

/// The newest line of a container was of this age when it was stored.
pub(crate) fn log_lag(age: Duration) {
    LOG_LAG.observe(age.as_secs_f64());
}

/// The middle of a log was left out, of so much time.
pub(crate) fn log_left_out(time: Duration) {
    LOG_SKIPS.inc();
    LOG_LEFT_OUT.inc_by(time.as_secs_f64());
}

/// So many bytes were dropped for newer ones.
pub(crate) fn log_dropped(bytes: usize) {
    LOG_DROPPED.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
}

/// A look at a row ended.
pub(crate) fn looked(well: bool) {
    LOOKS.get_or_create(&ByResult { result: if well { "ok" } else { "failed" } }).inc();
}

/// A look at a row, measured.
pub(crate) async fn look<T>(look: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = look.await;
    LOOK_SECONDS.observe(begun.elapsed().as_secs_f64());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_metric_is_documented() {
        let db = Db::connect("postgres://nowhere", 1).unwrap();
        let metrics = of(&db, "dev".to_owned(), Shards::new("dev"));
        let page = include_str!("../../../docs/observability.md");
        assert_eq!(metrics.differs_from("health", page), Vec::<String>::new());
    }
}
