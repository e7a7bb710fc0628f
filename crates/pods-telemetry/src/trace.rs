//! The trace context of W3C (`traceparent`): taken out of a span in one process, continued in another.
//!
//! Everything here does nothing while the process records no traces.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Name of the header, in HTTP and in NATS.
pub const HEADER: &str = "traceparent";
/// Field of a root span that carries the id of its trace into log lines; declare it as `trace.id = Empty`.
pub const ID_FIELD: &str = "trace.id";

/// The context of the current span, for another process.
pub fn current() -> Option<String> {
    of(&Span::current())
}

/// The context of a span, for another process.
pub fn of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context
        .is_valid()
        .then(|| format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags()))
}

/// Makes a span, before it is entered, a part of the trace that another process began, and notes the trace's id on
/// it. A text that is no trace context, or none, leaves the span the first of a trace of its own.
pub fn adopt(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(parse) {
        // Fails when no traces are recorded, and there is nothing to do then.
        let _off = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    let context = span.context();
    let root = context.span();
    if root.span_context().is_valid() {
        span.record(ID_FIELD, tracing::field::display(root.span_context().trace_id()));
    }
}

/// Whether a text is a trace context that [`adopt`] takes.
pub fn is_valid(traceparent: &str) -> bool {
    parse(traceparent).is_some()
}

/// Version 00 exactly as specified; what comes from outside is checked before it is stored or sent on.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let shaped = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !shaped || parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::field::Empty;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_well_formed_contexts_are_taken() {
        assert!(is_valid(PARENT));
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\n-01",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn a_trace_goes_on_in_the_span_that_adopts_it() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("work", trace.id = Empty);
            adopt(&span, Some(PARENT));
            let inner = span.in_scope(current).unwrap();
            assert!(inner.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && inner.ends_with("-01"));
            assert!(is_valid(&inner) && inner != PARENT);
            let alone = tracing::info_span!("work", trace.id = Empty);
            adopt(&alone, Some("nonsense"));
            assert!(!of(&alone).unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
        });
    }

    #[test]
    fn without_tracing_there_is_no_context() {
        let span = tracing::info_span!("work", trace.id = Empty);
        adopt(&span, Some(PARENT));
        assert_eq!(span.in_scope(current), None);
    }
}
