//! Metrics of the API and of the edge.

use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use actix_web::http::{Method, StatusCode};
use pods_core::phases::Phase;
use pods_db::Db;
use pods_runtime::metrics::Metrics;
use pods_telemetry::metrics::{
    Counter, Counters, EncodeLabelSet, Gauge, Histogram, Histograms, Present, Registry, short, shorts,
};
use serde_json::Value;

use crate::openapi;

/// The operation of a request that belongs to none: unknown paths, methods that are not possible, the documentation.
const NONE: &str = "none";
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    operation: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

static REQUESTS: LazyLock<Counters<ByStatus>> = LazyLock::new(Counters::default);
static SECONDS: LazyLock<Histograms<ByOperation>> = LazyLock::new(shorts);
static IN_FLIGHT: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static RATE_LIMITED: LazyLock<Counter> = LazyLock::new(Counter::default);
static STREAMS: LazyLock<Gauge> = LazyLock::new(Gauge::default);
static DOCUMENTS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
static PAGES: LazyLock<Counter> = LazyLock::new(Counter::default);
static FEED_LOOKS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
static FEED_SECONDS: LazyLock<Histogram> = LazyLock::new(short);

/// Everything that `pods-api serve` measures.
pub fn of_api(db: &Db) -> Metrics {
    let scraped = db.clone();
    Metrics::builder("pods-api")
        .with(register_api)
        .with(|registry| pods_db::metrics::register(registry, db))
        .with(pods_db::metrics::register_outbox)
        .with(pods_messages::metrics::register)
        .with(pods_kube::metrics::register)
        .before_scrape(move || {
            let db = scraped.clone();
            async move { pods_db::metrics::refresh_outbox(&db).await }
        })
        .build()
}

/// Everything that `pods-api edge` measures.
pub fn of_edge(db: &Db) -> Metrics {
    Metrics::builder("pods-edge")
        .with(register_edge)
        .with(crate::edge::auth::metrics::register)
        .with(|registry| pods_db::metrics::register_starts(registry, Phase::Routed))
        .with(|registry| pods_db::metrics::register(registry, db))
        .build()
}

fn register_api(registry: &mut Registry) {
    let _from_the_beginning = REQUESTS.get_or_create(&ByStatus { operation: NONE, status: "2xx" });
    let _from_the_beginning = SECONDS.get_or_create(&ByOperation { operation: NONE });
    registry.register(
        "pods_http_requests",
        "Requests by operation and class of the status code",
        REQUESTS.clone(),
    );
    registry.register(
        "pods_http_request_seconds",
        "Time from a request to the head of its answer, by operation",
        SECONDS.clone(),
    );
    registry.register("pods_http_requests_in_flight", "Requests that are being answered", IN_FLIGHT.clone());
    registry.register(
        "pods_http_rate_limited",
        "Requests refused because a user sent too many",
        RATE_LIMITED.clone(),
    );
    registry.register("pods_http_streams", "Open streams of server-sent events", STREAMS.clone());
}

fn register_edge(registry: &mut Registry) {
    for result in ["ok", "unavailable"] {
        let _from_the_beginning = DOCUMENTS.get_or_create(&ByResult { result });
    }
    for result in ["ok", "failed"] {
        let _from_the_beginning = FEED_LOOKS.get_or_create(&ByResult { result });
    }
    registry.register(
        "pods_edge_documents",
        "Routing documents that Traefik asked for, by result; unavailable lets it keep its last one",
        DOCUMENTS.clone(),
    );
    registry.register(
        "pods_edge_pages",
        "Visitors that were shown a status page or a redirect",
        PAGES.clone(),
    );
    registry.register("pods_edge_feed_looks", "Looks at the change feed by result", FEED_LOOKS.clone());
    registry.register(
        "pods_edge_feed_seconds",
        "Time spent on a look at the change feed",
        FEED_SECONDS.clone(),
    );
}

/// The operation that a request asked for, by the pattern of its route.
pub fn operation(method: &Method, pattern: Option<&str>) -> &'static str {
    static KNOWN: LazyLock<HashMap<(String, String), &'static str>> = LazyLock::new(operations);
    let Some(pattern) = pattern else { return NONE };
    let pattern = short_path(&pattern.replace(":.+}", "}")).to_owned();
    let method = match *method {
        Method::HEAD => "get".to_owned(),
        ref method => method.as_str().to_ascii_lowercase(),
    };
    // What is documented as GET may also be sent as POST where it acts.
    let found = KNOWN.get(&(method, pattern.clone()));
    found.or_else(|| KNOWN.get(&("get".to_owned(), pattern))).copied().unwrap_or(NONE)
}

/// Operation ids by method and path. They live as long as the process, and there are as many as operations.
fn operations() -> HashMap<(String, String), &'static str> {
    let document: Value = serde_json::from_str(openapi::json()).unwrap_or_default();
    let mut known = HashMap::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            if let Some(id) = operations[method]["operationId"].as_str() {
                let place = (method.to_owned(), short_path(path).to_owned());
                known.insert(place, &*id.to_owned().leak());
            }
        }
    }
    known
}

/// The same for `/v3/pods/..` and `/pods/..`.
fn short_path(path: &str) -> &str {
    path.strip_prefix("/v3").unwrap_or(path)
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Request {
    begun: Instant,
    _in_flight: Present,
}

impl Request {
    /// It arrived.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), _in_flight: Present::new(&IN_FLIGHT) }
    }

    /// It was answered.
    pub fn end(self, operation: &'static str, status: StatusCode) {
        REQUESTS.get_or_create(&ByStatus { operation, status: class(status) }).inc();
        SECONDS.get_or_create(&ByOperation { operation }).observe(self.begun.elapsed().as_secs_f64());
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "denied",
        429 => "throttled",
        ..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// A request was refused because its user sent too many.
pub fn rate_limited() {
    RATE_LIMITED.inc();
}

/// A stream of server-sent events, counted while it lives.
pub fn stream() -> Present {
    Present::new(&STREAMS)
}

/// Traefik asked for the routing document.
pub fn document(served: bool) {
    DOCUMENTS.get_or_create(&ByResult { result: if served { "ok" } else { "unavailable" } }).inc();
}

/// A visitor was shown a page.
pub fn page() {
    PAGES.inc();
}

/// The change feed was looked at.
pub fn feed_look(well: bool, time: Duration) {
    FEED_LOOKS.get_or_create(&ByResult { result: if well { "ok" } else { "failed" } }).inc();
    FEED_SECONDS.observe(time.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_and_never_by_path() {
        for (method, pattern, expected) in [
            (Method::GET, Some("/v3/pods/{pod_id}"), "get_pod"),
            (Method::HEAD, Some("/pods/{pod_id}"), "get_pod"),
            (Method::POST, Some("/pods/{pod_id}/start"), "start_pod"),
            (Method::PUT, Some("/v3/pods/images/{image_id:.+}"), "update_image"),
            (Method::GET, Some("/v3/pods"), "list_pods"),
            (Method::POST, Some("/v3/pods"), "create_pod"),
            (Method::GET, Some("/v3/pods/{word:events|x}{rest:(/.*)?}"), NONE),
            (Method::GET, None, NONE),
        ] {
            assert_eq!(operation(&method, pattern), expected, "{method} {pattern:?}");
        }
    }

    #[tokio::test]
    async fn every_metric_is_documented() {
        let db = Db::connect("postgres://nowhere", 1).unwrap();
        let page = include_str!("../../../docs/observability.md");
        assert_eq!(of_api(&db).differs_from("api", page), Vec::<String>::new());
        assert_eq!(of_edge(&db).differs_from("edge", page), Vec::<String>::new());
    }

    #[test]
    fn every_route_has_an_operation() {
        for (path, methods) in crate::routes::listed() {
            for method in methods {
                let method: Method = method.parse().unwrap();
                let pattern = format!("/v3/pods{path}");
                assert_ne!(operation(&method, Some(&pattern)), NONE, "{method} {pattern}");
            }
        }
    }
}
