//! Measures each call of the API server and records it as a span of the trace that it belongs to.
//!
//! A layer of the client, so that no caller can forget it. Verb and kind come from the request's method and path, of
//! which nothing else is kept: a path holds names, and labels of metrics must be few.

use std::{
    future::Future,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
    time::Instant,
};

use http::{Method, Request, Response, Uri};
use pods_telemetry::metrics::{Counters, EncodeLabelSet, Histograms, Registry, shorts};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field::Empty};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    verb: &'static str,
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCall {
    verb: &'static str,
    kind: &'static str,
}

static CALLS: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);
static SECONDS: LazyLock<Histograms<ByCall>> = LazyLock::new(shorts);

/// The kinds that are told apart.
const KINDS: [&str; 12] = [
    "configmaps",
    "endpoints",
    "events",
    "leases",
    "limitranges",
    "namespaces",
    "networkpolicies",
    "nodes",
    "persistentvolumeclaims",
    "pods",
    "secrets",
    "services",
];

pub(crate) fn register(registry: &mut Registry) {
    let (verb, kind) = ("list", "pods");
    let _from_the_beginning = CALLS.get_or_create(&ByResult { verb, kind, result: "ok" });
    let _from_the_beginning = SECONDS.get_or_create(&ByCall { verb, kind });
    registry.register(
        "pods_kubernetes_requests",
        "Calls of the Kubernetes API by verb, kind and result; abandoned are those that took too long",
        CALLS.clone(),
    );
    registry.register(
        "pods_kubernetes_request_seconds",
        "Time to the first byte of the answer, by verb and kind",
        SECONDS.clone(),
    );
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls;

impl<S> Layer<S> for Calls {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Measured { inner }
    }
}

/// A client whose calls are measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured<S> {
    inner: S,
}

impl<S, B, A> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    A: 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = ByCall::of(request.method(), request.uri());
        let span = call.span();
        let answer = self.inner.call(request);
        let mut count = Count { call, begun: Instant::now(), result: "abandoned" };
        let recorded = span.clone();
        let counted = async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            count.result = result_of(code);
            recorded.record("result", count.result);
            if let Some(code) = code {
                recorded.record("http.response.status_code", code);
            }
            drop(count);
            answer
        };
        Box::pin(counted.instrument(span))
    }
}

impl ByCall {
    fn of(method: &Method, uri: &Uri) -> Self {
        let place = Place::of(uri.path());
        let watches = uri.query().is_some_and(|query| {
            query.split('&').any(|part| part.starts_with("watch=true") || part == "watch=1")
        });
        let verb = match (method, place.named) {
            (&Method::GET, _) if watches => "watch",
            (&Method::GET, true) if place.part == Some("log") => "log",
            (&Method::GET, true) => "get",
            (&Method::GET, false) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, _) => "delete",
            _ => "other",
        };
        Self { verb, kind: place.kind }
    }

    /// A part of the trace that is at work; calls that belong to none, such as watches, are no traces of their own.
    fn span(&self) -> Span {
        if Span::current().is_none() {
            return Span::none();
        }
        tracing::debug_span!(
            "kubernetes",
            otel.name = format!("kubernetes {} {}", self.verb, self.kind),
            otel.kind = "client",
            verb = self.verb,
            kind = self.kind,
            result = Empty,
            http.response.status_code = Empty,
        )
    }
}

/// What a path of the API names.
struct Place<'a> {
    kind: &'static str,
    named: bool,
    part: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let known = match parts.next() {
            Some("api") => parts.next().is_some(),
            Some("apis") => parts.next().is_some() && parts.next().is_some(),
            _ => false,
        };
        if !known {
            return Self { kind: "none", named: true, part: None };
        }
        let rest: Vec<&str> = parts.collect();
        let rest = match rest.as_slice() {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let kind = rest.first().and_then(|kind| KINDS.into_iter().find(|known| known == kind));
        Self { kind: kind.unwrap_or("other"), named: rest.len() > 1, part: rest.get(2).copied() }
    }
}

/// Counts a call when it ends, however it ends.
struct Count {
    call: ByCall,
    begun: Instant,
    result: &'static str,
}

impl Drop for Count {
    fn drop(&mut self) {
        let ByCall { verb, kind } = self.call;
        CALLS.get_or_create(&ByResult { verb, kind, result: self.result }).inc();
        SECONDS.get_or_create(&self.call).observe(self.begun.elapsed().as_secs_f64());
    }
}

fn result_of(code: Option<u16>) -> &'static str {
    match code {
        None => "unreachable",
        Some(404) => "not_found",
        Some(409) => "conflict",
        Some(401 | 403) => "denied",
        Some(408 | 429) => "throttled",
        Some(400..=499) => "refused",
        Some(500..=599) => "server_error",
        Some(_) => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verb_and_kind_are_read_and_names_are_not() {
        for (method, uri, verb, kind) in [
            (Method::GET, "/version", "get", "none"),
            (Method::GET, "/api/v1/namespaces/x/pods?labelSelector=a", "list", "pods"),
            (Method::GET, "/api/v1/namespaces/x/pods?watch=true&a=b", "watch", "pods"),
            (Method::GET, "/api/v1/pods?&watch=true", "watch", "pods"),
            (Method::GET, "/api/v1/namespaces/x/pods/secrets", "get", "pods"),
            (Method::GET, "/api/v1/namespaces/x/pods/y/log?follow=true", "log", "pods"),
            (Method::POST, "/api/v1/namespaces/x/secrets?", "create", "secrets"),
            (Method::DELETE, "/api/v1/namespaces/x/services/s", "delete", "services"),
            (
                Method::PATCH,
                "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies/n",
                "patch",
                "networkpolicies",
            ),
            (Method::GET, "/api/v1/nodes", "list", "nodes"),
            (Method::GET, "/api/v1/namespaces/x", "get", "namespaces"),
            (Method::GET, "/apis/example.org/v1/namespaces/x/gadgets/secret-name", "get", "other"),
        ] {
            let call = ByCall::of(&method, &uri.parse().unwrap());
            assert_eq!((call.verb, call.kind), (verb, kind), "{method} {uri}");
        }
    }

    #[tokio::test]
    async fn calls_are_counted_however_they_end() {
        let count =
            |result| CALLS.get_or_create(&ByResult { verb: "list", kind: "limitranges", result }).get();
        let request = || Request::get("/api/v1/namespaces/x/limitranges").body(()).unwrap();
        let answering = |code: u16| {
            let answer = move |_: Request<()>| async move {
                if code == 0 {
                    std::future::pending::<()>().await
                }
                if code == 1 {
                    return Err("no route");
                }
                Ok(Response::builder().status(code).body(()).unwrap())
            };
            Calls.layer(tower::service_fn(answer))
        };
        for (code, result) in [(200, "ok"), (404, "not_found"), (503, "server_error"), (1, "unreachable")] {
            let before = count(result);
            let _answer = answering(code).call(request()).await;
            assert_eq!(count(result), before + 1, "{code}");
        }
        let before = count("abandoned");
        drop(answering(0).call(request()));
        assert_eq!(count("abandoned"), before + 1);
    }
}
