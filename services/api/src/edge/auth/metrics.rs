//! What is counted about visitors.

use std::sync::LazyLock;

use pods_telemetry::metrics::{Counters, EncodeLabelSet, Registry};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

const DECISIONS: [&str; 8] =
    ["allowed", "open", "login", "forbidden", "foreign", "bad_token", "unavailable", "misdirected"];
const LOGINS: [&str; 4] = ["done", "broken", "unavailable", "logged_out"];

static DECIDED: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
static LOGGED_IN: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);

/// A request of a visitor was decided.
pub(super) fn decided(result: &'static str) {
    DECIDED.get_or_create(&ByResult { result }).inc();
}

/// A login or a session came to an end.
pub(super) fn login(result: &'static str) {
    LOGGED_IN.get_or_create(&ByResult { result }).inc();
}

/// Registers everything.
pub fn register(registry: &mut Registry) {
    for result in DECISIONS {
        let _from_the_beginning = DECIDED.get_or_create(&ByResult { result });
    }
    for result in LOGINS {
        let _from_the_beginning = LOGGED_IN.get_or_create(&ByResult { result });
    }
    registry.register(
        "pods_edge_visits",
        "Requests at entries with tapis_auth by what was decided",
        DECIDED.clone(),
    );
    registry.register(
        "pods_edge_logins",
        "Logins of visitors that ended here, by result, and logouts",
        LOGGED_IN.clone(),
    );
}
