//! `pods-api serve`: the REST API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

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
    internal_http::{self, Beat, Health},
    shutdown::{CancellationToken, Supervisor},
};
use pods_secrets::KeyRing;
use std::time::Duration;
use tapis::Tapis;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tracing::Instrument;

use crate::{
    answers::Answers,
    cluster::Cluster,
    config::Config,
    envelope,
    error::ApiError,
    feed::{self, Hub},
    log_feed::LogFeed,
    metrics, middleware,
    routes::{self, auth::upkeep::Upkeep},
    sse::{self, Streams},
    state::AppState,
};

/// How often the process asks its own listener, and how long it waits for the answer.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Runs the API until it is told to stop.
///
/// # Errors
/// A bad configuration, a port that is taken, or a task that cannot go on.
pub async fn run() -> anyhow::Result<()> {
    let config: Config = pods_runtime::config::load()?;
    pods_runtime::telemetry::init(&config.log, &config.telemetry, "pods-api")?;
    envelope::set_version(&config.service.version);

    let mut supervisor = Supervisor::new();
    let token = supervisor.token();
    let db = Db::connect(config.database.url.expose_secret(), config.database.pool_size)?;
    let tapis = Tapis::new(&config.tapis, &config.service.site_id)?;
    let broker = pods_messages::connect(config.nats.url.expose_secret(), "pods-api").await?;
    let publisher = broker.stream(&config.nats.stream, &config.service.site_id)?.publisher();
    let state = AppState {
        db: db.clone(),
        tapis: tapis.clone(),
        policy: config.policy()?,
        keys: KeyRing::parse(config.secrets.read()?).context("the keys of [secrets] cannot be used")?,
        http: config.http()?,
        pods_port: config.api.pods_https_port,
        jupyter_template: config.api.jupyter_template.clone(),
        streams: Streams::new(config.api.streams.limits(), token.clone()),
        cluster: Cluster::connect(config.kubernetes.as_ref()).await,
        answers: Answers::default(),
        events: Hub::default(),
        log_feed: LogFeed::default(),
    };

    let health = Health::new();
    health.watch_runtime();
    let relay_beat = health.beat("relay");
    let database_ready = health.flag("database");
    supervisor.spawn("database probe", probe(db.clone(), database_ready, token.clone()));
    supervisor.spawn("tenant list", load_tenants(tapis.clone(), health.flag("tenants"), token.clone()));
    // A broker that is down is no reason to stop answering: wake-ups wait in the outbox.
    report_broker(&broker);
    supervisor.spawn(
        "internal HTTP",
        internal_http::serve(config.api.internal_bind, health.clone(), metrics::of_api(&db), token.clone()),
    );
    supervisor.spawn(
        "changes",
        feed::reader::run(state.events.clone(), db.clone(), config.service.site_id.clone(), token.clone()),
    );
    supervisor.spawn("growth of logs", state.log_feed.clone().run(db.url().to_owned(), token.clone()));
    let upkeep = Upkeep::new(db.clone(), tapis.clone(), state.keys.clone());
    supervisor.spawn("OAuth clients", upkeep.run(token.clone()));
    supervisor.spawn("relay", relay(db, publisher, relay_beat, token.clone()));
    let asked = ask_itself(config.api.bind, health.beat("HTTP"), token.clone());
    supervisor.spawn("HTTP self-check", asked);
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
    let mut failing = false;
    loop {
        let answers = db.answers().await;
        match answers {
            true => flag.ready(),
            false => flag.not_ready("Postgres does not answer"),
        }
        match (std::mem::replace(&mut failing, !answers), answers) {
            (false, false) => {
                tracing::warn!("Postgres does not answer; requests are refused with 503 until it does")
            }
            (true, true) => tracing::info!("Postgres answers again"),
            (false, true) | (true, false) => {}
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
    let mut failing = false;
    while !tapis.directory().is_loaded() {
        if let Err(error) = tapis.directory().refresh().await {
            flag.not_ready("the list of tenants could not be loaded");
            if !std::mem::replace(&mut failing, true) {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(error, "the list of tenants cannot be loaded; it is tried again until it can");
            }
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
async fn relay(db: Db, publisher: Publisher, beat: Beat, shutdown: CancellationToken) -> anyhow::Result<()> {
    let publish = |row: OutboxRow| {
        let (publisher, span) = (publisher.clone(), row.span());
        let publish = async move {
            let wake_up = WakeUp::new(row.pod_uid, &row.reason, row.id, row.created_ts.into());
            publisher.publish(&wake_up, &row.message_id.to_string()).await.is_ok()
        };
        publish.instrument(span)
    };
    pods_db::relay::run(db, publish, beat, shutdown.cancelled_owned()).await;
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
    let unread = state.streams.limits().unread;
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
    .on_connect(move |connection, data| sse::peer::on_connect(connection, data, unread))
    .listen(listener)?
    .run();
    Ok(server)
}

/// Asks the own listener like a client would: threads that stand still, and a process that cannot take connections any
/// more, do not answer.
async fn ask_itself(bind: SocketAddr, beat: Beat, shutdown: CancellationToken) -> anyhow::Result<()> {
    let address = match bind.ip() {
        ip if !ip.is_unspecified() => bind,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bind.port()),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), bind.port()),
    };
    loop {
        if let Ok(Ok(())) = tokio::time::timeout(ASK_LIMIT, ask(address)).await {
            beat.tick();
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    stream.read_u8().await.map(drop)
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
