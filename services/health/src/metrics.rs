//! Metrics of health.

use std::{
    collections::HashSet,
    future::Future,
    sync::{LazyLock, Mutex, PoisonError},
    time::Instant,
};

use pods_core::{
    Status,
    phases::{Phase, Phases},
};
use pods_db::{Db, pods::PodRow};
use pods_runtime::metrics::Metrics;
use pods_telemetry::metrics::{
    Counter, Counters, EncodeLabelSet, Gauge, Gauges, Histogram, Histograms, Registry, longs, short,
};

use crate::shards::Shards;

/// Templates that have histograms of their own; starts of any more are counted together.
const TEMPLATES: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    template: String,
    phase: &'static str,
}

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

static PHASES: LazyLock<Histograms<ByPhase>> = LazyLock::new(longs);
static NAMED: Mutex<Option<HashSet<String>>> = Mutex::new(None);
static PODS: LazyLock<Gauges<ByStatus>> = LazyLock::new(Gauges::default);
static WATCH_BREAKS: LazyLock<Counters<ByWatch>> = LazyLock::new(Counters::default);
static QUEUE: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static LOOKS: LazyLock<Histogram> = LazyLock::new(short);
static SHARES: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static SHARES_LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
static FOLLOWED: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static LOG_BYTES: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG_SKIPS: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG_WAITING: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static DOMAIN_LOOKS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);

/// Everything that this process measures.
pub(crate) fn of(db: &Db, site_id: String, shards: Shards) -> Metrics {
    let scraped = (db.clone(), site_id, shards);
    Metrics::builder("pods-health")
        .with(register)
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
    let none = ByPhase { template: label(None), phase: Phase::Ready.as_str() };
    let _from_the_beginning = PHASES.get_or_create(&none);
    let _until_somebody_counts = PODS.get_or_create(&ByStatus { status: Status::Available.as_str() });
    for watch in ["pods", "nodes", "events"] {
        let _from_the_beginning = WATCH_BREAKS.get_or_create(&ByWatch { watch });
    }
    for answered in [true, false] {
        let _from_the_beginning = DOMAIN_LOOKS.get_or_create(&by_answer(answered));
    }
    registry.register(
        "pods_start_seconds",
        "Time from the acceptance of a start to each of its phases, by template and phase, noted when the pod \
         becomes AVAILABLE",
        PHASES.clone(),
    );
    registry.register(
        "pods_count",
        "Pods of the site by status; only the replica that holds the first share tells",
        PODS.clone(),
    );
    registry.register("pods_health_watch_breaks", "Times that a watch broke", WATCH_BREAKS.clone());
    registry.register("pods_health_queue", "Rows that wait for a look or are looked at", QUEUE.clone());
    registry.register("pods_health_look_seconds", "Time spent on a look at a row", LOOKS.clone());
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
        "pods_health_log_waiting_bytes",
        "Bytes of logs that wait for Postgres",
        LOG_WAITING.clone(),
    );
    registry.register(
        "pods_health_domain_looks",
        "Times that DNS was asked about a custom domain, by result: answered or silent",
        DOMAIN_LOOKS.clone(),
    );
}

fn by_answer(answered: bool) -> ByResult {
    ByResult { result: if answered { "answered" } else { "silent" } }
}

/// DNS was asked about a custom domain.
pub(crate) fn domain_look(answered: bool) {
    DOMAIN_LOOKS.get_or_create(&by_answer(answered)).inc();
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

/// A pod became AVAILABLE: notes how long each phase took to come.
pub(crate) fn started(template: Option<&str>, phases: &Phases) {
    let template = label(template);
    for phase in Phase::ALL {
        if let Some(time) = phases.between(Phase::Accepted, *phase).filter(|_| *phase != Phase::Accepted) {
            let by = ByPhase { template: template.clone(), phase: phase.as_str() };
            PHASES.get_or_create(&by).observe(time.as_seconds_f64());
        }
    }
}

/// The id of a template as a label. Users make templates, so there may be any number of them.
fn label(template: Option<&str>) -> String {
    let Some(template) = template else { return "none".to_owned() };
    let id = template.split([':', '@']).next().unwrap_or_default();
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let named = named.get_or_insert_default();
    if !named.contains(id) && named.len() >= TEMPLATES {
        return "other".to_owned();
    }
    named.insert(id.to_owned());
    id.to_owned()
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

/// The middle of a log is left out.
pub(crate) fn log_skipped() {
    LOG_SKIPS.inc();
}

/// A look at a row, measured.
pub(crate) async fn look<T>(look: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = look.await;
    LOOKS.observe(begun.elapsed().as_secs_f64());
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

    #[test]
    fn templates_beyond_the_first_share_a_label() {
        assert_eq!((label(None), label(Some("web:1@2026-01-01"))), ("none".to_owned(), "web".to_owned()));
        for number in 0..200 {
            label(Some(&format!("template-{number}:latest")));
        }
        assert_eq!(
            (label(Some("web:2")), label(Some("template-199:1"))),
            ("web".to_owned(), "other".to_owned())
        );
    }
}
