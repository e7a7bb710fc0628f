//! The types that metrics are made of.
//!
//! ```
//! use std::sync::LazyLock;
//! use pods_telemetry::metrics::{Counters, Registry};
//!
//! #[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
//! struct ByResult {
//!     result: &'static str,
//! }
//!
//! static DEEDS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
//!
//! fn register(registry: &mut Registry) {
//!     registry.register("pods_deeds", "Deeds by their result", DEEDS.clone());
//! }
//!
//! DEEDS.get_or_create(&ByResult { result: "done" }).inc();
//! register(&mut Registry::default());
//! ```

use std::time::Instant;

use prometheus_client::metrics::family::Family;
pub use prometheus_client::{
    collector::Collector,
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Counters by labels.
pub type Counters<L> = Family<L, Counter>;
/// Gauges by labels.
pub type Gauges<L> = Family<L, Gauge>;
/// Histograms by labels.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Bounds for what answers at once: a request, a query, a call.
const SHORT: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds for what people wait for: a start, a phase of it.
const LONG: [f64; 16] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// A histogram of what answers at once, in seconds.
pub fn short() -> Histogram {
    Histogram::new(SHORT)
}

/// A histogram of what people wait for, in seconds.
pub fn long() -> Histogram {
    Histogram::new(LONG)
}

/// Histograms of what answers at once, in seconds, by labels.
pub fn shorts<L: Clone + Eq + std::hash::Hash>() -> Histograms<L> {
    Family::new_with_constructor(short)
}

/// Histograms of what people wait for, in seconds, by labels.
pub fn longs<L: Clone + Eq + std::hash::Hash>() -> Histograms<L> {
    Family::new_with_constructor(long)
}

/// Notes in a histogram how long it lived.
#[derive(Debug)]
pub struct Timer {
    begun: Instant,
    histogram: Histogram,
}

impl Timer {
    /// Begins now.
    pub fn new(histogram: &Histogram) -> Self {
        Self { begun: Instant::now(), histogram: histogram.clone() }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe(self.begun.elapsed().as_secs_f64());
    }
}

/// Counts in a gauge while it lives.
#[derive(Debug)]
pub struct Present(Gauge);

impl Present {
    /// One more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}
