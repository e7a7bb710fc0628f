//! What `/metrics` of a process shows: its own metrics, those of the crates that it uses, and the process itself.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pods_telemetry::metrics::{Collector, Registry};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
};
use tokio::runtime::Handle;

use crate::telemetry;

/// `Content-Type` of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What is asked of others before a scrape may take so long; what it did not bring stays as it was.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);
/// However often somebody scrapes, nothing is asked more often.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

type Refresh = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The metrics of a process. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    refreshes: Arc<[Refresh]>,
    refreshed: Arc<Mutex<Option<Instant>>>,
    /// The runtime in which connections of the process live; a scrape is answered in another.
    runtime: Handle,
}

/// Metrics that are being put together.
pub struct Builder {
    registry: Registry,
    refreshes: Vec<Refresh>,
}

impl Metrics {
    /// The metrics of the process itself; more are added by [`Builder::with`]. To be called inside of the runtime.
    pub fn builder(process_name: &'static str) -> Builder {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process { runtime: Handle::current().metrics() }));
        registry.register(
            "pods_build",
            "Which program this is",
            Info::new([("process", process_name), ("version", env!("CARGO_PKG_VERSION"))]),
        );
        telemetry::register_lines(&mut registry);
        telemetry::register_export(&mut registry);
        Builder { registry, refreshes: Vec::new() }
    }

    /// The metrics of the process itself and nothing else.
    pub fn new(process_name: &'static str) -> Self {
        Self::builder(process_name).build()
    }

    /// Everything as text, after what only a question can tell was asked.
    pub async fn scrape(&self) -> Result<String, fmt::Error> {
        if self.is_due() {
            let metrics = self.clone();
            let asked = self.runtime.spawn(async move {
                for refresh in &*metrics.refreshes {
                    let _too_late = tokio::time::timeout(REFRESH_LIMIT, refresh()).await;
                }
            });
            let _panicked = asked.await;
        }
        self.text()
    }

    /// Everything as text.
    ///
    /// # Errors
    /// A metric that cannot be written, which is a fault of the code.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// What a page of documentation says differently from what is registered; for tests. The page has a table with
    /// the name, the type and the processes of each metric in its first three columns.
    pub fn differs_from(&self, process: &str, page: &str) -> Vec<String> {
        let text = self.text().unwrap_or_default();
        let of_line = |line: &str| line.strip_prefix("# TYPE ").map(ToOwned::to_owned);
        let registered: BTreeSet<String> = text.lines().filter_map(of_line).collect();
        let documented: BTreeSet<String> =
            page.lines().filter_map(|line| documented(line, process)).collect();
        let missing = registered.difference(&documented).map(|name| format!("not documented: {name}"));
        let gone = documented.difference(&registered).map(|name| format!("not registered: {name}"));
        missing.chain(gone).collect()
    }

    fn is_due(&self) -> bool {
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = refreshed.is_none_or(|at| at.elapsed() >= REFRESH_EVERY);
        if due {
            *refreshed = Some(Instant::now());
        }
        due && !self.refreshes.is_empty()
    }
}

/// Name and type in a row of the documentation's table, if it is about the process.
fn documented(line: &str, process: &str) -> Option<String> {
    let mut columns = line.split('|').skip(1).map(str::trim);
    let (name, kind, processes) = (columns.next()?, columns.next()?, columns.next()?);
    let name = name.strip_prefix('`')?.strip_suffix('`')?;
    // A query names a counter with the ending that the registry adds.
    let name = match kind {
        "counter" => name.strip_suffix("_total")?,
        "info" => name.strip_suffix("_info")?,
        _ => name,
    };
    let is_of = |word: &str| word.trim() == process || word.trim() == "all";
    processes.split(',').any(is_of).then(|| format!("{name} {kind}"))
}

impl Builder {
    /// Adds what `register` registers.
    #[must_use]
    pub fn with(mut self, register: impl FnOnce(&mut Registry)) -> Self {
        register(&mut self.registry);
        self
    }

    /// Has something asked before a scrape, at most every five seconds: what nobody counts but, for example, the
    /// database knows.
    #[must_use]
    pub fn before_scrape<F>(mut self, refresh: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.refreshes.push(Box::new(move || Box::pin(refresh())));
        self
    }

    /// Nothing can be added any more.
    pub fn build(self) -> Metrics {
        Metrics {
            registry: Arc::new(self.registry),
            refreshes: self.refreshes.into(),
            refreshed: Arc::default(),
            runtime: Handle::current(),
        }
    }
}

/// The process as the kernel sees it, under the names that Prometheus' own clients use, and its asynchronous runtime.
#[derive(Debug)]
struct Process {
    runtime: tokio::runtime::RuntimeMetrics,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(kernel) = Kernel::read() {
            counter(&mut encoder, "process_cpu_seconds", "Processor time used", kernel.cpu_seconds)?;
            gauge(&mut encoder, "process_resident_memory_bytes", "Memory in use", kernel.resident_bytes)?;
            gauge(&mut encoder, "process_threads", "Threads", kernel.threads)?;
            gauge(
                &mut encoder,
                "process_start_time_seconds",
                "Start of the process in Unix time",
                kernel.start_time,
            )?;
        }
        if let Some((open, max)) = descriptors() {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", open)?;
            gauge(&mut encoder, "process_max_fds", "Most file descriptors that may be open", max)?;
        }
        let tasks = self.runtime.num_alive_tasks();
        let waiting = self.runtime.global_queue_depth();
        let workers = self.runtime.num_workers();
        gauge(&mut encoder, "pods_runtime_tasks", "Tasks of the asynchronous runtime", tasks as f64)?;
        gauge(&mut encoder, "pods_runtime_waiting_tasks", "Tasks that wait for a thread", waiting as f64)?;
        gauge(&mut encoder, "pods_runtime_threads", "Threads of the asynchronous runtime", workers as f64)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

struct Kernel {
    cpu_seconds: f64,
    resident_bytes: f64,
    threads: f64,
    start_time: f64,
}

impl Kernel {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        // The program's name, in parentheses, may hold anything; the numbers come after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (number(11)? + number(12)?) / ticks,
            threads: number(17)?,
            start_time: boot + number(19)? / ticks,
            resident_bytes: number(21)? * rustix::param::page_size() as f64,
        })
    }
}

fn descriptors() -> Option<(f64, f64)> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some((open as f64, limit.current.map_or(f64::INFINITY, |limit| limit as f64)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use pods_telemetry::metrics::Gauge;

    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    #[tokio::test]
    async fn the_process_shows_itself() {
        let text = Metrics::new("pods-test").scrape().await.unwrap();
        assert!(value(&text, "process_resident_memory_bytes") > 1e6);
        assert!(value(&text, "process_open_fds") >= 3.0);
        assert!(value(&text, "process_cpu_seconds_total") >= 0.0);
        let now = jiff::Timestamp::now().as_second() as f64;
        let started = value(&text, "process_start_time_seconds");
        assert!((now - 3600.0..=now + 2.0).contains(&started), "{started} {now}");
        assert!(text.contains("pods_build_info{process=\"pods-test\"") && text.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn what_is_asked_before_a_scrape_is_asked_once_in_a_while_and_may_hang() {
        let (gauge, asked) = (Gauge::<i64>::default(), Arc::new(AtomicI64::new(0)));
        let (shown, count) = (gauge.clone(), asked.clone());
        let metrics = Metrics::builder("pods-test")
            .with(|registry| registry.register("pods_asked", "How often it was asked", gauge))
            .before_scrape(move || {
                shown.set(count.fetch_add(1, Ordering::Relaxed) + 1);
                std::future::pending()
            })
            .build();
        for _ in 0..3 {
            assert_eq!(value(&metrics.scrape().await.unwrap(), "pods_asked"), 1.0);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
