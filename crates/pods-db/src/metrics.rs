//! Metrics of what is written to the database, of the outbox and of the connections.

use std::{
    collections::HashSet,
    fmt,
    sync::{LazyLock, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use pods_core::{
    Status,
    phases::{Phase, Phases},
    reason::Reason,
    transition::Event,
};
use pods_telemetry::metrics::{
    Collector, Counter, Counters, EncodeLabelSet, Gauge, Histograms, Registry, longs,
};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    Db,
    outbox::{self, Relayed},
    pods::PodRow,
    transitions::Applied,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEvent {
    event: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    template: String,
    phase: &'static str,
}

/// Templates that have histograms of their own; starts of any more are counted together.
const TEMPLATES: usize = 50;

static STATUS_WRITES: LazyLock<Counters<ByEvent>> = LazyLock::new(Counters::default);
static ERRORS: LazyLock<Counters<ByCode>> = LazyLock::new(Counters::default);
static LOST: LazyLock<Counters<ByCode>> = LazyLock::new(Counters::default);
static PUBLISHED: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
static OUTBOX_WAITING: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static OUTBOX_AGE: LazyLock<Gauge<f64, std::sync::atomic::AtomicU64>> = LazyLock::new(Gauge::default);
static UNAVAILABLE: LazyLock<Counter> = LazyLock::new(Counter::default);
static PHASES: LazyLock<Histograms<ByPhase>> = LazyLock::new(longs);
static NAMED: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Registers what this crate measures, with the connections of `db` and its shares.
pub fn register(registry: &mut Registry, db: &Db) {
    let running = ByEvent { event: Event::Running.as_str(), result: "done" };
    let _from_the_beginning = STATUS_WRITES.get_or_create(&running);
    for code in Reason::ALL {
        let _from_the_beginning = ERRORS.get_or_create(&ByCode { code: code.as_str() });
    }
    let _from_the_beginning = LOST.get_or_create(&ByCode { code: Reason::Vanished.as_str() });
    registry.register(
        "pods_status_writes",
        "Writes of a status by event and result (done, moved, illegal, underivable)",
        STATUS_WRITES.clone(),
    );
    registry.register("pods_errors", "Pods that ended in ERROR, by reason code", ERRORS.clone());
    registry.register("pods_lost", "Starts that were lost and are made again, by reason code", LOST.clone());
    registry.register(
        "pods_database_unavailable",
        "Times that no connection could be had",
        UNAVAILABLE.clone(),
    );
    registry.register_collector(Box::new(Connections(db.clone())));
}

/// Registers the metrics of the outbox, for a process that relays it.
pub fn register_outbox(registry: &mut Registry) {
    for result in ["acknowledged", "failed"] {
        let _from_the_beginning = PUBLISHED.get_or_create(&ByResult { result });
    }
    registry.register(
        "pods_outbox_published",
        "Wake-ups that this process published, by result; one that failed is published again",
        PUBLISHED.clone(),
    );
    registry.register("pods_outbox_waiting", "Wake-ups that are not published yet", OUTBOX_WAITING.clone());
    registry.register("pods_outbox_oldest_seconds", "Age of the oldest of them", OUTBOX_AGE.clone());
}

/// Asks how much waits in the outbox, before a scrape.
pub async fn refresh_outbox(db: &Db) {
    let Ok(mut conn) = db.get().await else { return };
    if let Ok(waiting) = outbox::waiting(&mut conn).await {
        OUTBOX_WAITING.set(waiting.rows);
        let age = waiting.oldest.map_or(0.0, |oldest| (Utc::now() - oldest).as_seconds_f64().max(0.0));
        OUTBOX_AGE.set(age);
    }
}

/// Registers the times of starts, for a process that learns of this phase.
pub fn register_starts(registry: &mut Registry, phase: Phase) {
    let _from_the_beginning = PHASES.get_or_create(&ByPhase { template: label(""), phase: phase.as_str() });
    registry.register(
        "pods_start_seconds",
        "Time from the acceptance of a start to each of its phases, by template and phase; each is noted once, when it \
         is learned",
        PHASES.clone(),
    );
}

/// A start of a pod with this template, empty for none, was accepted at some time and has reached these phases.
pub fn start_reached(template: &str, accepted: DateTime<Utc>, phases: &Phases) {
    let template = label(template);
    for phase in Phase::ALL.iter().filter(|phase| **phase != Phase::Accepted) {
        let Some(at) = phases.get(*phase) else { continue };
        let by = ByPhase { template: template.clone(), phase: phase.as_str() };
        PHASES.get_or_create(&by).observe((at - accepted).as_seconds_f64().max(0.0));
    }
}

/// The id of a template as a label. Users make templates, so there may be any number of them.
fn label(template: &str) -> String {
    if template.is_empty() {
        return "none".to_owned();
    }
    let id = template.split([':', '@']).next().unwrap_or_default();
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let named = named.get_or_insert_default();
    if !named.contains(id) && named.len() >= TEMPLATES {
        return "other".to_owned();
    }
    named.insert(id.to_owned());
    id.to_owned()
}

pub(crate) fn relayed(relayed: &Relayed) {
    for (result, count) in [("acknowledged", relayed.published), ("failed", relayed.failed)] {
        PUBLISHED.get_or_create(&ByResult { result }).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

pub(crate) fn unavailable() {
    UNAVAILABLE.inc();
}

pub(crate) fn status_write(row: &PodRow, event: Event, applied: &Applied) {
    if let Applied::Done(after) = applied {
        if after.revision == row.revision {
            return;
        }
        if after.status == Status::Error && row.status != Status::Error {
            count(&ERRORS, after.status_container.code);
        }
        if event == Event::Lost {
            count(&LOST, after.status_container.code);
        }
    }
    STATUS_WRITES.get_or_create(&ByEvent { event: event.as_str(), result: applied.label() }).inc();
}

fn count(counters: &Counters<ByCode>, code: Option<Reason>) {
    counters.get_or_create(&ByCode { code: code.map_or("none", Reason::as_str) }).inc();
}

/// The connections of a process.
#[derive(Debug)]
struct Connections(Db);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (mut busy, mut idle, mut free, mut waiting) = (0, 0, 0, 0);
        for status in self.0.pools().iter().map(|pool| pool.status()) {
            busy += status.size.saturating_sub(status.available);
            idle += status.available;
            free += status.max_size.saturating_sub(status.size);
            waiting += status.waiting;
        }
        let mut family = encoder.encode_descriptor(
            "pods_database_connections",
            "Connections to Postgres by state; free are those that may still be opened",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in [("busy", busy), ("idle", idle), ("free", free)] {
            ConstGauge::new(to_i64(count)).encode(family.encode_family(&[("state", state)])?)?;
        }
        let waits = ConstGauge::new(to_i64(waiting));
        let waits_for = encoder.encode_descriptor(
            "pods_database_waiting",
            "Tasks that wait for a connection",
            None,
            MetricType::Gauge,
        )?;
        waits.encode(waits_for)
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_beyond_the_first_share_a_label() {
        assert_eq!((label(""), label("web:1@2026-01-01")), ("none".to_owned(), "web".to_owned()));
        for number in 0..200 {
            label(&format!("template-{number}:latest"));
        }
        assert_eq!((label("web:2"), label("template-199:1")), ("web".to_owned(), "other".to_owned()));
    }
}
