//! Logging of a process. Later also where traces and metrics start.

use anyhow::{Context, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

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
    // The NATS client reports every attempt to connect at level info; pods-messages logs the changes.
    let text = format!("async_nats=warn,{levels}");
    let filter = EnvFilter::builder().parse(text).with_context(|| {
        format!("log.filter `{levels}` is not a list of levels such as `info,pods_db=debug`")
    })?;
    NEVER.into_iter().try_fold(filter, |filter, never| Ok(filter.add_directive(never.parse()?)))
}

/// Starts logging to standard output and writes the first line. May be called once per process.
pub fn init(log: &LogConfig, process_name: &'static str) -> anyhow::Result<()> {
    let filter = filter(&log.filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    match log.format {
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
            registry.with(layer).try_init()
        }
        LogFormat::Text => registry.with(tracing_subscriber::fmt::layer().with_ansi(false)).try_init(),
    }
    .map_err(|_| anyhow!("logging was started twice in one process"))?;
    tracing::info!(
        process.name = process_name,
        process.version = env!("CARGO_PKG_VERSION"),
        process.pid = std::process::id(),
        "{process_name} starts"
    );
    Ok(())
}
