//! The internal listener of a process, for probes: `/healthz` says that the process is alive, `/readyz` whether it
//! can do its work now and, if not, what it waits for. Never exposed to users.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use tokio_util::sync::CancellationToken;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a process needs in order to be ready. Clones share their checks; without checks a process is ready.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
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

/// Serves `/healthz` and `/readyz` until the token is cancelled.
pub async fn serve(bind: SocketAddr, health: Health, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
    })
    .workers(1)
    .worker_max_blocking_threads(1)
    .max_connections(64)
    .backlog(64)
    .disable_signals()
    .shutdown_timeout(1)
    .bind(bind)
    .with_context(|| {
        format!("the internal address {bind} cannot be opened; is another process using the port?")
    })?
    .run();
    tracing::info!(server.address = %bind, "internal HTTP listens");
    let handle = server.handle();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result.context("the internal HTTP listener failed"),
        () = shutdown.cancelled() => {}
    }
    let ((), result) = tokio::join!(handle.stop(true), server);
    result.context("the internal HTTP listener failed while it stopped")
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

async fn readyz(health: web::Data<Health>) -> HttpResponse {
    let not_ready = health.not_ready();
    let mut response =
        if not_ready.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let body: String = match not_ready.is_empty() {
        true => "ready\n".to_owned(),
        false => not_ready.iter().map(|(name, why)| format!("{name}: {why}\n")).collect(),
    };
    response.content_type("text/plain; charset=utf-8").body(body)
}

/// A poisoned lock still guards a whole value: every write here is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
