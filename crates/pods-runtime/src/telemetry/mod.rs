//! Logging and tracing of a process.
//!
//! Log lines and traces share the spans of the code: a request, a wake-up, a look. A line carries the fields of the
//! spans around it, among them the request's id and, while traces are recorded, the trace's.

mod export;
mod json;
mod lines;

use anyhow::{Context, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat, TelemetryConfig};

pub use export::flush;
pub(crate) use export::register as register_export;
pub use json::JsonLines;
pub(crate) use lines::register as register_lines;

/// What libraries would log although it may hold what users keep secret: the Postgres client shows, at level debug,
/// the values of every statement, the Kubernetes client refusals as they came, which may quote what was refused. It
/// wins over what the configuration says.
const NEVER: [&str; 4] =
    ["tokio_postgres=info", "tokio_postgres::query=info", "kube_client=info", "kube_client::client=info"];

/// The filter for a list of levels such as `info,pods_db=debug`.
///
/// # Errors
/// When the text is no such list.
pub fn filter(levels: &str) -> anyhow::Result<EnvFilter> {
    // The NATS client reports every attempt to connect at level info, the trace exporter every batch that a collector
    // did not take; in both cases we log the changes ourselves.
    let text =
        format!("async_nats=warn,opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,{levels}");
    let filter = EnvFilter::builder().parse(text).with_context(|| {
        format!("log.filter `{levels}` is not a list of levels such as `info,pods_db=debug`")
    })?;
    NEVER.into_iter().try_fold(filter, |filter, never| Ok(filter.add_directive(never.parse()?)))
}

/// Starts logging to standard output, and recording traces where a collector is configured, and writes the first
/// line. May be called once per process, inside of its runtime.
///
/// # Errors
/// A filter, an endpoint or a ratio that is none, or a second call.
pub fn init(log: &LogConfig, telemetry: &TelemetryConfig, process_name: &'static str) -> anyhow::Result<()> {
    let format = tracing_subscriber::fmt::layer();
    let lines = match log.format {
        LogFormat::Json => format.fmt_fields(JsonLines::fields()).event_format(JsonLines).boxed(),
        LogFormat::Text => format.with_ansi(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter(&log.filter)?))
        .with(lines::layer())
        .with(export::layer(telemetry, process_name)?)
        .try_init()
        .map_err(|_| anyhow!("logging was started twice in one process"))?;
    tracing::info!(
        process.name = process_name,
        process.version = env!("CARGO_PKG_VERSION"),
        process.pid = std::process::id(),
        traces = telemetry.otlp_endpoint.is_some(),
        "{process_name} starts"
    );
    Ok(())
}
