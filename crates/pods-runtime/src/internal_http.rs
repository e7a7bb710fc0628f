//! The internal listener of a process: `/healthz` says whether the process is alive, `/readyz` whether it can do its
//! work now and, if not, what it waits for, `/metrics` what it did. Never exposed to users.
//!
//! The listener has a thread of its own and would answer for ever, so being alive is more than answering: each loop
//! that must not stand still has a [`Beat`].

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
pub use pods_telemetry::beat::Beat;
use tokio_util::sync::CancellationToken;

use crate::metrics::{CONTENT_TYPE, Metrics};

/// How long a loop may stand still before the process counts as dead: longer than anything that it may wait for.
pub const BEAT_LIMIT: Duration = Duration::from_secs(60);
const TEXT: &str = "text/plain; charset=utf-8";
const RUNTIME_TICK: Duration = Duration::from_secs(1);

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a process needs in order to be ready, and the loops that tell that it is alive. Clones share both; without
/// checks a process is ready, without beats it is alive.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
    beats: Arc<Mutex<BTreeMap<&'static str, (Beat, Duration)>>>,
}

/// One condition of readiness that a task switches. Clones switch the same condition.
#[derive(Clone)]
pub struct Flag {
    why_not: Arc<Mutex<Option<String>>>,
}

impl Health {
    /// Health without checks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that is not met until [`Flag::ready`] is called. The same name again replaces it.
    pub fn flag(&self, name: &'static str) -> Flag {
        let flag = Flag { why_not: Arc::new(Mutex::new(Some("starting".to_owned()))) };
        let seen = flag.clone();
        self.check(name, move || lock(&seen.why_not).clone().map_or(Ok(()), Err));
        flag
    }

    /// Adds a condition that is asked for at every probe; it must not block. The error says why it is not met.
    pub fn check(&self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        lock(&self.checks).insert(name, Box::new(check));
    }

    /// Watches the beat of a loop: the process counts as dead when it does not tick for [`BEAT_LIMIT`]. The same name
    /// again replaces it.
    pub fn watch(&self, name: &'static str, beat: &Beat) {
        self.watch_within(name, beat, BEAT_LIMIT);
    }

    /// The same with a limit of its own.
    pub fn watch_within(&self, name: &'static str, beat: &Beat, limit: Duration) {
        lock(&self.beats).insert(name, (beat.clone(), limit));
    }

    /// A beat that is watched.
    pub fn beat(&self, name: &'static str) -> Beat {
        let beat = Beat::new();
        self.watch(name, &beat);
        beat
    }

    /// Watches the asynchronous runtime that this is called in: when none of its threads comes to an end with what it
    /// does, nothing else does either.
    pub fn watch_runtime(&self) {
        let beat = self.beat("runtime");
        tokio::spawn(async move {
            loop {
                beat.tick();
                tokio::time::sleep(RUNTIME_TICK).await;
            }
        });
    }

    /// The loops that stand still, each with the time since its last beat; empty means alive.
    pub fn dead(&self) -> Vec<(&'static str, Duration)> {
        let beats = lock(&self.beats);
        let aged = beats.iter().map(|(name, (beat, limit))| (*name, beat.age(), *limit));
        aged.filter(|(_, age, limit)| age > limit).map(|(name, age, _)| (name, age)).collect()
    }

    /// The conditions that are not met now, with the reasons; empty means ready.
    pub fn not_ready(&self) -> Vec<(&'static str, String)> {
        lock(&self.checks).iter().filter_map(|(name, check)| Some((*name, check().err()?))).collect()
    }
}

impl Flag {
    /// The condition is met.
    pub fn ready(&self) {
        *lock(&self.why_not) = None;
    }

    /// The condition is no longer met.
    pub fn not_ready(&self, why: impl Into<String>) {
        *lock(&self.why_not) = Some(why.into());
    }

    /// Whether the condition is met now.
    pub fn is_ready(&self) -> bool {
        lock(&self.why_not).is_none()
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` until the token is cancelled.
pub async fn serve(
    bind: SocketAddr,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(bind).with_context(|| {
        format!("the internal address {bind} cannot be opened; is another process using the port?")
    })?;
    tracing::info!(server.address = %bind, "internal HTTP listens");
    serve_on(listener, health, metrics, shutdown).await
}

/// The same on a socket that is open already.
pub async fn serve_on(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .app_data(web::Data::new(metrics.clone()))
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(scrape))
    })
    .workers(1)
    .worker_max_blocking_threads(1)
    .max_connections(64)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)
    .context("the internal HTTP listener cannot be started")?
    .run();
    let handle = server.handle();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result.context("the internal HTTP listener failed"),
        () = shutdown.cancelled() => {}
    }
    let ((), result) = tokio::join!(handle.stop(true), server);
    result.context("the internal HTTP listener failed while it stopped")
}

/// The answer to `/healthz`; the edge, which has one listener for everything, serves it too.
pub async fn healthz(health: web::Data<Health>) -> HttpResponse {
    let dead = health.dead();
    if dead.is_empty() {
        return HttpResponse::Ok().content_type(TEXT).body("ok\n");
    }
    let lines = dead.iter().map(|(name, age)| format!("{name}: has stood still for {} s\n", age.as_secs()));
    HttpResponse::ServiceUnavailable().content_type(TEXT).body(lines.collect::<String>())
}

/// The answer to `/metrics`; the edge, which has one listener for everything, serves it too.
pub async fn scrape(metrics: web::Data<Metrics>) -> HttpResponse {
    match metrics.scrape().await {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn readyz(health: web::Data<Health>) -> HttpResponse {
    let not_ready = health.not_ready();
    let mut response =
        if not_ready.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let body: String = match not_ready.is_empty() {
        true => "ready\n".to_owned(),
        false => not_ready.iter().map(|(name, why)| format!("{name}: {why}\n")).collect(),
    };
    response.content_type(TEXT).body(body)
}

/// A poisoned lock still guards a whole value: every write here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
