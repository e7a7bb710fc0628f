//! The HTTP side of the edge.

use std::{convert::Infallible, net::SocketAddr, time::Instant};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    body::SizedStream,
    dev::HttpServiceFactory,
    http::{StatusCode, header},
    web::{self, Bytes},
};
use anyhow::Context;
use futures::stream;
use pods_core::{
    routing::{ERROR_HANDLER, VISITOR_PREFIX},
    visitor::paths::{self, WELL_KNOWN},
};
use pods_runtime::{
    internal_http::{self, Health},
    metrics::Metrics,
    shutdown::CancellationToken,
};

use super::{
    auth::{self, Logins, request::visited_host},
    board::Board,
    errors,
    page::{
        Form, Seen,
        reader::{Reader, Readers},
    },
    peers,
};
use crate::metrics;

/// The place in the change feed that a routing document stands for.
pub const CURSOR_HEADER: &str = "X-Pods-Cursor";

/// What the answers need besides the board.
#[derive(Debug, Clone)]
pub struct Site {
    /// Port of pod hosts that visitors see.
    pub https_port: u16,
    /// Version in JSON answers.
    pub version: String,
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Sources {
    /// The routes.
    pub board: web::Data<Board>,
    /// What is the same for all of them.
    pub site: web::Data<Site>,
    /// Who is logged in at which pod.
    pub logins: web::Data<Logins>,
    /// Who may read which pod.
    pub readers: web::Data<Readers>,
    /// Whether the tasks of this process go on.
    pub health: web::Data<Health>,
    /// For scrapes.
    pub metrics: web::Data<Metrics>,
}

impl Sources {
    /// Everything that the edge answers.
    pub fn configure(self, app: &mut web::ServiceConfig) {
        app.app_data(self.board)
            .app_data(self.site)
            .app_data(self.logins)
            .app_data(self.readers)
            .app_data(self.health)
            .app_data(self.metrics)
            .service(internal())
            .configure(auth::configure)
            .default_service(web::to(visitor));
    }
}

/// Serves until the token is cancelled.
///
/// # Errors
/// When the address cannot be opened or the listener fails.
pub async fn serve(bind: SocketAddr, sources: Sources, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = HttpServer::new(move || {
        let sources = sources.clone();
        App::new().configure(|app| sources.configure(app))
    })
    .workers(1)
    // One for names that are looked up; the other may be held up by a disk that hangs.
    .worker_max_blocking_threads(2)
    .disable_signals()
    .shutdown_timeout(2)
    .bind(bind)
    .with_context(|| {
        format!("the address {bind} of the edge cannot be opened; is another process using the port?")
    })?
    .run();
    tracing::info!(server.address = %bind, "the edge listens");
    let handle = server.handle();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return result.context("the listener of the edge failed"),
        () = shutdown.cancelled() => {}
    }
    let ((), result) = tokio::join!(handle.stop(true), server);
    result.context("the listener of the edge failed while it stopped")
}

/// What Traefik and probes ask. Visitors arrive below [`VISITOR_PREFIX`] and cannot get here.
pub fn internal() -> impl HttpServiceFactory {
    (
        web::resource("/traefik-config").get(traefik_config),
        web::resource(format!("{ERROR_HANDLER}/{{status}}")).get(errors::handler),
        web::resource("/healthz").get(internal_http::healthz),
        web::resource("/metrics").get(internal_http::scrape),
        web::resource("/readyz").get(readyz),
        web::resource(peers::PATH).get(peers::served),
    )
}

async fn traefik_config(request: HttpRequest, board: web::Data<Board>) -> HttpResponse {
    let document = board.answer().await;
    metrics::document(document.is_ok());
    if let Ok(document) = &document {
        board.given(document);
    }
    match document {
        Ok(document) => {
            let mut response = HttpResponse::Ok();
            response
                .insert_header((header::CONTENT_TYPE, "application/json"))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::VARY, "Accept-Encoding"))
                .insert_header((CURSOR_HEADER, document.extent.cursor.to_string()));
            if takes_gzip(&request) {
                return response.insert_header((header::CONTENT_ENCODING, "gzip")).body(document.gzip);
            }
            let pieces: Vec<_> = document
                .pieces
                .iter()
                .cloned()
                .map(|piece| Ok::<_, Infallible>(Bytes::from_owner(piece)))
                .collect();
            let body = stream::iter(pieces);
            response.body(SizedStream::new(document.length(), body))
        }
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// Whether `Accept-Encoding` names gzip, as Traefik's does.
fn takes_gzip(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').map(str::trim).any(|coding| coding.eq_ignore_ascii_case("gzip"))
}

/// Ready as soon as it can answer at all, sessions included: the pages go on while Postgres is away.
async fn readyz(board: web::Data<Board>, logins: web::Data<Logins>) -> HttpResponse {
    if !board.has_document() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "routes: nothing was loaded yet\n".to_owned());
    }
    if !logins.has_looked() {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "sessions: which were revoked is not known yet\n".to_owned(),
        );
    }
    match board.trouble(Instant::now()) {
        None => text(StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => text(StatusCode::OK, format!("ready for visitors; no routing document: {reason}\n")),
    }
}

fn text(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status).insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8")).body(body)
}

/// Any method, any path: a redirect to HTTPS where that helps, else the page of the host.
async fn visitor(
    request: HttpRequest,
    board: web::Data<Board>,
    site: web::Data<Site>,
    logins: web::Data<Logins>,
    readers: web::Data<Readers>,
) -> HttpResponse {
    metrics::page();
    let host = visited_host(&request);
    if is_plain(&request) && board.is_web_host(&host) {
        let location = paths::on_host(&host, site.https_port, visited_path(&request));
        return HttpResponse::PermanentRedirect()
            .insert_header((header::LOCATION, location))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish();
    }
    if let Some(rest) = visited_path(&request).strip_prefix(WELL_KNOWN)
        && let Some(gate) = board.gate_of_host(&host)
    {
        let rest = rest.split('?').next().unwrap_or_default();
        return auth::well_known(&request, &gate, rest, &logins).await;
    }
    let page = board.page(&host, Instant::now());
    let gate = board.gate_of_host(&host).filter(|_| page.is_about_a_pod());
    let reader = match &gate {
        Some(gate) => readers.look(&request, gate).await,
        None => None,
    };
    let login = (gate.is_some() && readers.can_log_in()).then(|| login_path(visited_path(&request)));
    let seen = match &reader {
        Some(Reader { username, insight: Some(insight) }) => {
            Seen::Reader { username, insight: insight.as_ref() }
        }
        Some(Reader { username, insight: None }) => Seen::Guest { username },
        None => Seen::Stranger { login: login.as_deref() },
    };
    page.respond(&Form { json: prefers_json(&request), version: &site.version, seen })
}

/// Where somebody logs in who wants to come back to `path`.
fn login_path(path: &str) -> String {
    let path = paths::local(path).unwrap_or("/");
    let path: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    format!("{WELL_KNOWN}login?return={path}")
}

/// What the visitor asked for, before Traefik put the prefix in front.
fn visited_path(request: &HttpRequest) -> &str {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match path.strip_prefix(VISITOR_PREFIX) {
        Some(rest) if rest.starts_with('/') => rest,
        _ if path.starts_with('/') => path,
        _ => "/",
    }
}

/// Traefik writes this header itself; a visitor's own never arrives.
fn is_plain(request: &HttpRequest) -> bool {
    let proto = request.headers().get("X-Forwarded-Proto").and_then(|value| value.to_str().ok());
    matches!(proto, Some("http" | "ws"))
}

/// Whether `Accept` names JSON and ranks it above HTML.
fn prefers_json(request: &HttpRequest) -> bool {
    let accept =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let quality = |wanted: &str| {
        accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            if !parts.next()?.eq_ignore_ascii_case(wanted) {
                return None;
            }
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            Some(quality.map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0)))
        })
    };
    let json = quality("application/json").unwrap_or(0.0);
    json > 0.0 && json > quality("text/html").unwrap_or(0.0)
}
