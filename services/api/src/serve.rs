//! `pods-api serve`: the REST API.

use std::net::{SocketAddr, TcpListener};

use actix_web::{
    App, HttpServer,
    middleware::{NormalizePath, from_fn},
    web,
};
use anyhow::Context;
use pods_db::{Db, outbox::OutboxRow};
use pods_messages::{Broker, Publisher, WakeUp};
use pods_runtime::{
    config::ExposeSecret,
    internal_http::{self, Health},
    shutdown::{CancellationToken, Supervisor},
};
use pods_secrets::KeyRing;
use std::time::Duration;
use tapis::Tapis;

use crate::{config::Config, envelope, error::ApiError, middleware, routes, state::AppState};

/// Runs the API until it is told to stop.
///
/// # Errors
/// A bad configuration, a port that is taken, or a task that cannot go on.
pub async fn run() -> anyhow::Result<()> {
    let config: Config = pods_runtime::config::load()?;
    pods_runtime::telemetry::init(&config.log, "pods-api")?;
    envelope::set_version(&config.service.version);

    let db = Db::connect(config.database.url.expose_secret(), config.database.pool_size)?;
    let tapis = Tapis::new(&config.tapis, &config.service.site_id)?;
    let broker = pods_messages::connect(config.nats.url.expose_secret(), "pods-api").await?;
    let publisher = broker.stream(&config.nats.stream, &config.service.site_id)?.publisher();
    let state = AppState {
        db: db.clone(),
        tapis: tapis.clone(),
        policy: config.policy()?,
        keys: KeyRing::parse(config.secrets.read()?)?,
        http: config.http()?,
        jupyter_template: config.api.jupyter_template.clone(),
    };

    let mut supervisor = Supervisor::new();
    let token = supervisor.token();
    let health = Health::new();
    let database_ready = health.flag("database");
    supervisor.spawn("database probe", probe(db.clone(), database_ready, token.clone()));
    supervisor.spawn("tenant list", load_tenants(tapis, health.flag("tenants"), token.clone()));
    // A broker that is down is no reason to stop answering: wake-ups wait in the outbox.
    report_broker(&broker);
    supervisor.spawn("internal HTTP", internal_http::serve(config.api.internal_bind, health, token.clone()));
    supervisor.spawn("relay", relay(db, publisher, token.clone()));
    supervisor.spawn("HTTP", http(config.api.bind, config.api.workers, state, token));
    supervisor.run().await
}

fn report_broker(broker: &Broker) {
    if !broker.is_connected() {
        tracing::info!("NATS is not connected yet; requests are accepted and wake-ups are kept until it is");
    }
}

async fn probe(
    db: Db,
    flag: pods_runtime::internal_http::Flag,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        match db.answers().await {
            true => flag.ready(),
            false => flag.not_ready("Postgres does not answer"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }
}

async fn load_tenants(
    tapis: Tapis,
    flag: pods_runtime::internal_http::Flag,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while !tapis.directory().is_loaded() {
        if let Err(error) = tapis.directory().refresh().await {
            flag.not_ready("the list of tenants could not be loaded");
            tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "no list of tenants yet");
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
        }
    }
    flag.ready();
    shutdown.cancelled().await;
    Ok(())
}

/// Publishes the outbox; health does the same, so wake-ups go out while either runs.
async fn relay(db: Db, publisher: Publisher, shutdown: CancellationToken) -> anyhow::Result<()> {
    let publish = |row: OutboxRow| {
        let publisher = publisher.clone();
        async move {
            let wake_up = WakeUp::new(row.pod_uid, &row.reason, row.id, row.created_ts.into());
            publisher.publish(&wake_up, &row.message_id.to_string()).await.is_ok()
        }
    };
    pods_db::relay::run(db, publish, shutdown.cancelled_owned()).await;
    Ok(())
}

/// The HTTP server on a socket that is bound already; `configure` registers the routes.
///
/// # Errors
/// When the socket cannot be listened on.
pub fn server(
    listener: TcpListener,
    workers: usize,
    state: AppState,
    configure: fn(&mut web::ServiceConfig),
) -> std::io::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || {
        let paths = web::PathConfig::default().error_handler(|_, _| ApiError::no_path().into());
        App::new()
            .app_data(web::Data::new(state.for_worker(workers)))
            .app_data(paths)
            // The last one is the outermost.
            .wrap(from_fn(middleware::time_limit::time_limit))
            .wrap(NormalizePath::trim())
            .wrap(from_fn(middleware::panics::catch_panics))
            .wrap(from_fn(middleware::request_id::request_id))
            .wrap(from_fn(middleware::compat::auth_errors))
            .wrap(from_fn(middleware::cors::cors))
            .configure(configure)
    })
    .workers(workers)
    .worker_max_blocking_threads(2)
    .disable_signals()
    .shutdown_timeout(5)
    .listen(listener)?
    .run();
    Ok(server)
}

async fn http(
    bind: SocketAddr,
    workers: usize,
    state: AppState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let server =
        listen(bind).and_then(|listener| server(listener, workers, state, routes::configure)).with_context(
            || format!("the address {bind} cannot be opened; is another process using the port?"),
        )?;
    tracing::info!(server.address = %bind, "the API listens");
    let handle = server.handle();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result.context("the HTTP listener failed"),
        () = shutdown.cancelled() => {}
    }
    let ((), result) = tokio::join!(handle.stop(true), server);
    result.context("the HTTP listener failed while it stopped")
}

fn listen(bind: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(bind)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
