//! Login and logout on the hosts of pods, below `/.well-known/tapis-pods/`. They work at every HTTP entry, whether the
//! pod runs or not.

use std::{collections::HashMap, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{ALLOW, HeaderValue, SET_COOKIE},
    },
    web::{Data, Path, Query},
};
use pods_core::visitor::{Gate, Session, cookies, paths};
use pods_db::logins::tickets::{self, Ticket};
use pods_secrets::token;
use uuid::Uuid;

use super::{
    Logins, found, metrics, now, page,
    request::{text, visited_host},
    ticket::host_cookie,
};
use crate::edge::{board::Board, page::Page};

/// Longest session at an entry that demands no login, where it only shows readers more of the pod's pages.
const READER: Duration = Duration::from_secs(3600);

type Parameters = HashMap<String, String>;

/// `/login/{uid}/{network}/{rest}`: where Traefik leads what is asked at a host of the entry below the well-known path.
pub(super) async fn routed(
    request: HttpRequest,
    entry: Path<(Uuid, String, String)>,
    board: Data<Board>,
    logins: Data<Logins>,
) -> HttpResponse {
    let (uid, network, rest) = entry.into_inner();
    match board.gate(uid, &network).filter(|gate| gate.hosts().contains(&visited_host(&request))) {
        Some(gate) => well_known(&request, &gate, &rest, &logins).await,
        None => logins.page(Page::Unavailable, request.headers(), None),
    }
}

/// What is asked below the well-known path of a host of `gate`; `rest` is the path after it, without query.
pub async fn well_known(request: &HttpRequest, gate: &Gate, rest: &str, logins: &Logins) -> HttpResponse {
    let host = visited_host(request);
    match (rest, request.method()) {
        ("session", &Method::GET) => logins.session_made(request, gate, &host).await,
        ("login", &Method::GET) => logins.login(request, gate, &host).await,
        ("logout", &Method::GET) => page::ask_for_logout(),
        ("logout", &Method::POST) => logins.logout(request, gate, &host).await,
        ("session" | "login", _) => not_possible("GET"),
        ("logout", _) => not_possible("GET, POST"),
        _ => logins.page(Page::Unknown, request.headers(), None),
    }
}

impl Logins {
    /// `GET login?return=/path`: begins a login, or goes on when there is a session.
    async fn login(&self, request: &HttpRequest, gate: &Gate, host: &str) -> HttpResponse {
        let parameters = parameters(request);
        let return_to = parameters.get("return").and_then(|path| paths::local(path));
        if self.session(request.headers(), gate, host).is_some() {
            return found(&self.on_host(host, return_to.unwrap_or(gate.return_path()))).finish();
        }
        self.to_login(gate, host, return_to, request.headers()).await
    }

    /// `GET session?ticket=...`: exchanges a ticket for a session, in the browser that began the login.
    async fn session_made(&self, request: &HttpRequest, gate: &Gate, host: &str) -> HttpResponse {
        let parameters = parameters(request);
        let ticket = match self.take(parameters.get("ticket")).await {
            Ok(ticket) => ticket,
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "a ticket cannot be looked up");
                metrics::login("unavailable");
                return self.page(Page::LoginUnavailable, request.headers(), None);
            }
        };
        let of_this_entry = |ticket: &Ticket| {
            ticket.pod_uid == gate.uid() && ticket.network == gate.network() && ticket.host == host
        };
        let ticket = ticket.filter(of_this_entry);
        let login = ticket.as_ref().and_then(|ticket| self.login_of(gate, host, &ticket.login));
        let (Some(ticket), Some(login)) = (ticket, login) else {
            return self.broken(request, gate, host, gate.return_path());
        };
        if !login.is_of(request.headers()) {
            return self.broken(request, gate, host, login.target(gate));
        }
        let now = now();
        // Without the decision before it, an entry that demands no login gets the cookie like any other.
        let lifetime = if gate.tapis_auth() { self.lifetime } else { self.lifetime.min(READER) };
        let longest = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let expires = ticket.token_expires.timestamp().min(now.saturating_add(longest));
        let session = Session {
            sid: Uuid::new_v4(),
            site_id: ticket.visitor.tenant.site_id,
            tenant_id: ticket.visitor.tenant.tenant_id,
            username: ticket.visitor.username,
            pod_uid: gate.uid(),
            network: gate.network().to_owned(),
            host: host.to_owned(),
            issued: now,
            expires,
        };
        if expires <= now {
            return self.broken(request, gate, host, gate.return_path());
        }
        match self.seal(&session) {
            Ok(sealed) => {
                metrics::login("done");
                tracing::info!(pod.uid = %session.pod_uid, tenant = session.tenant_id, user = session.username, "a visitor logged in");
                found(&self.on_host(host, login.target(gate)))
                    .append_header((SET_COOKIE, host_cookie(cookies::SESSION_COOKIE, &sealed, expires - now)))
                    .append_header((SET_COOKIE, host_cookie(cookies::LOGIN_COOKIE, "", 0)))
                    .finish()
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "a session cannot be sealed");
                metrics::login("unavailable");
                self.page(Page::LoginUnavailable, request.headers(), None)
            }
        }
    }

    /// Whoever is logged in already, in another tab perhaps, needs no ticket.
    fn broken(&self, request: &HttpRequest, gate: &Gate, host: &str, target: &str) -> HttpResponse {
        if self.session(request.headers(), gate, host).is_some() {
            return found(&self.on_host(host, target)).finish();
        }
        metrics::login("broken");
        self.page(Page::LoginBroken, request.headers(), None)
    }

    async fn take(&self, ticket: Option<&String>) -> anyhow::Result<Option<Ticket>> {
        let Some(ticket) = ticket.filter(|ticket| ticket.len() <= 100) else { return Ok(None) };
        let mut conn = self.db.get().await?;
        Ok(tickets::take(&mut conn, &token::digest(ticket)).await?)
    }

    /// `POST logout`: ends the session, in this browser and for everybody who may have copied it.
    async fn logout(&self, request: &HttpRequest, gate: &Gate, host: &str) -> HttpResponse {
        if !self.is_own_page(request, host) {
            return page::foreign_logout();
        }
        if let Some(session) = self.session(request.headers(), gate, host) {
            self.revoked.revoke(&session);
            // What cannot be told now is told later.
            if let Err(error) = self.revoked.tell(&self.db).await {
                tracing::warn!(error = format!("{error:#}"), "a logout is told to the other replicas later");
            }
            metrics::login("logged_out");
        }
        let mut response = page::logged_out();
        for name in [cookies::SESSION_COOKIE, cookies::LOGIN_COOKIE] {
            if let Ok(value) = HeaderValue::from_str(&host_cookie(name, "", 0)) {
                response.headers_mut().append(SET_COOKIE, value);
            }
        }
        response
    }

    /// Whether a form of this very host was sent. Old programs say neither; the cookie does not come along with what
    /// other pages make them send.
    fn is_own_page(&self, request: &HttpRequest, host: &str) -> bool {
        let headers = request.headers();
        let site = text(headers, "sec-fetch-site");
        match headers.get("origin") {
            Some(origin) if origin.as_bytes() == self.on_host(host, "").as_bytes() => {
                site.is_none_or(|site| site == "same-origin")
            }
            // Where a page hides its address, browsers still say whether it is the same.
            Some(origin) if origin.as_bytes() == b"null" => site == Some("same-origin"),
            Some(_) => false,
            None => site.is_none_or(|site| matches!(site, "same-origin" | "none")),
        }
    }
}

fn parameters(request: &HttpRequest) -> Parameters {
    Query::<Parameters>::from_query(request.query_string()).map(Query::into_inner).unwrap_or_default()
}

fn not_possible(allow: &'static str) -> HttpResponse {
    HttpResponse::build(StatusCode::METHOD_NOT_ALLOWED).insert_header((ALLOW, allow)).finish()
}
