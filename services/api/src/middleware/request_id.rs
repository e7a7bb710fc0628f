//! Every request has an id: it is in the answer, in all log lines and in the text of internal errors. Here is also
//! where a request is measured and its trace begins.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    web::Data,
};
use pods_telemetry::trace;
use tracing::{Instrument, Span, field::Empty};
use uuid::Uuid;

use super::adjust;
use crate::{metrics, state::AppState};

/// The header that carries the id, in both directions.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const TRACKING_HEADER: &str = "x-tapis-tracking-id";
const LENGTH_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that this task works on.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Notes on the request's log span who is asking.
pub fn record_caller(tenant: &str, user: &str) {
    Span::current().record("tenant", tenant).record("user", user);
}

/// Gives the request an id, the client's own if it is well-formed, and a log span.
pub async fn request_id(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let id = well_formed(request.headers(), HEADER.as_str())
        .map_or_else(|| Uuid::now_v7().to_string(), ToOwned::to_owned);
    let measured = metrics::Request::begin();
    let method = request.method().clone();
    // Of the highest level, so that the id stands in every line, whatever the filter.
    let span = tracing::error_span!(
        "request", request.id = id, %method, route = Empty, operation = Empty, status = Empty, tenant = Empty,
        user = Empty, trace.id = Empty, tracking.id = well_formed(request.headers(), TRACKING_HEADER),
    );
    trace::adopt(&span, continued(&request));
    // Valid: it was checked, or made here.
    let value = HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"));
    // Inside of the span and the scope also where an error becomes an answer: it names the id and is logged.
    let answer = async {
        let result = next.call(request).await;
        // The pattern, never the path: what users type into a path may be anything, a secret included.
        let route = result.as_ref().ok().and_then(|answer| answer.request().match_pattern());
        adjust(result, |status, headers| {
            headers.insert(HEADER, value);
            let operation = metrics::operation(&method, route.as_deref());
            measured.end(operation, *status);
            Span::current()
                .record("route", route.as_deref().unwrap_or("none"))
                .record("operation", operation)
                .record("status", status.as_u16());
            tracing::debug!("request finished");
        })
    };
    CURRENT.scope(id, answer.instrument(span)).await
}

/// The trace that the caller began, where the installation trusts its callers with that.
fn continued(request: &ServiceRequest) -> Option<&str> {
    let trusted = request.app_data::<Data<AppState>>().is_some_and(|app| app.http.accept_traceparent);
    request.headers().get(trace::HEADER).filter(|_| trusted)?.to_str().ok()
}

/// A header of 1 to 128 letters, digits, `.`, `_` and `-`; anything else could forge log lines.
fn well_formed<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let text = headers.get(name)?.to_str().ok()?;
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    ((1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_taken_only_when_harmless() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
            headers
        };
        let longest = "x".repeat(LENGTH_MAX);
        for good in ["a", "A.b_c-9", longest.as_str()] {
            assert_eq!(well_formed(&with(good.as_bytes()), "x-request-id"), Some(good));
        }
        let too_long = "x".repeat(LENGTH_MAX + 1);
        for bad in ["", "a b", "a\tb", "{}", "é", too_long.as_str()] {
            assert_eq!(well_formed(&with(bad.as_bytes()), "x-request-id"), None, "{bad}");
        }
    }
}
