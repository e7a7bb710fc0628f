//! Metrics of the calls of the API server.

use pods_telemetry::metrics::Registry;

/// Registers what this crate measures.
pub fn register(registry: &mut Registry) {
    crate::calls::register(registry);
}
