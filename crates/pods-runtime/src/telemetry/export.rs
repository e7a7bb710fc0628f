//! Traces: what is recorded and how it reaches the collector.
//!
//! Recorded are the spans of our own code, no events and nothing of libraries: a span's fields are chosen, what a
//! library notes is not. Spans wait in a queue of fixed size for a thread of their own; while the collector is away
//! they are dropped and counted, and nothing waits for it.

use std::{
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter as Export,
    },
};
use pods_telemetry::metrics::{Counters, EncodeLabelSet, Registry};
use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::config::TelemetryConfig;

/// Spans that may wait for the collector; more are dropped.
const QUEUE: usize = 4096;
const BATCH: usize = 512;
const EXPORT_EVERY: Duration = Duration::from_secs(1);
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How long the end of a process waits for its last spans.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
static EXPORTED: LazyLock<Counters<ByResult>> = LazyLock::new(Counters::default);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// The layer that records spans, if a collector is configured.
///
/// # Errors
/// An endpoint or ratio that cannot be used.
pub(super) fn layer<S>(
    config: &TelemetryConfig,
    process_name: &'static str,
) -> anyhow::Result<Option<impl Layer<S>>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(endpoint) = config.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(None);
    };
    if !(0.0..=1.0).contains(&config.sample_ratio) {
        bail!("telemetry.sample_ratio is {}; it must be between 0 and 1", config.sample_ratio);
    }
    let provider = provider(exporter(endpoint)?, config.sample_ratio, process_name);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("pods"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false);
    let _only_one = PROVIDER.set(provider);
    let ours = filter_fn(|metadata| {
        metadata.is_span() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with("pods_")
    });
    Ok(Some(layer.with_filter(ours)))
}

fn exporter(endpoint: &str) -> anyhow::Result<SpanExporter> {
    let mut exporter =
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_LIMIT);
    if endpoint.starts_with("https:") {
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    exporter.build().with_context(|| {
        format!(
            "telemetry.otlp_endpoint `{endpoint}` cannot be used; write http://host:4317 or https://host:4317"
        )
    })
}

fn provider<E: Export + 'static>(exporter: E, ratio: f64, process_name: &'static str) -> SdkTracerProvider {
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(EXPORT_EVERY)
        .build();
    let processor = BatchSpanProcessor::builder(Reporting { exporter, failing: AtomicBool::new(false) })
        .with_batch_config(batches)
        .build();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let instance = format!("{}-{}", host.trim(), std::process::id());
    let resource = Resource::builder()
        .with_service_name(process_name)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ])
        .build();
    SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build()
}

/// Sends the spans that still wait, for at most two seconds. For the end of a process.
pub fn flush() {
    if let Some(provider) = PROVIDER.get() {
        let _too_late = provider.shutdown_with_timeout(FLUSH_LIMIT);
    }
}

pub(crate) fn register(registry: &mut Registry) {
    for result in ["sent", "dropped"] {
        let _from_the_beginning = EXPORTED.get_or_create(&ByResult { result });
    }
    registry.register(
        "pods_trace_spans",
        "Recorded spans by what became of them: sent to the collector, or dropped because it did not take them",
        EXPORTED.clone(),
    );
}

/// An exporter that counts, and that logs changes only: a collector that is away for a day is two lines.
#[derive(Debug)]
struct Reporting<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E: Export> Export for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let exported = self.exporter.export(batch).await;
        let failing = exported.is_err();
        let result = if failing { "dropped" } else { "sent" };
        EXPORTED.get_or_create(&ByResult { result }).inc_by(spans);
        match (self.failing.swap(failing, Ordering::Relaxed), &exported) {
            (false, Err(error)) => {
                tracing::warn!(
                    error = error.to_string(),
                    "the trace collector does not take spans; they are dropped"
                );
            }
            (true, Ok(())) => tracing::info!("the trace collector takes spans again"),
            (false, Ok(())) | (true, Err(_)) => {}
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
