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
use pods_db::logins::tickets::Ticket;
use uuid::Uuid;

use super::{
    Logins, found, metrics, now, page,
    request::{sender, visited_host},
    ticket::{host_cookie, is_token},
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
        let text = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
        let (ticket, sealed) = (text("ticket"), text("login"));
        // Only the browser that began the login makes us ask the database, and uses the ticket up.
        let Some(login) = self.login_of(gate, host, sealed) else {
            return self.broken(request, gate, host, gate.return_path());
        };
        if !login.is_of(request.headers()) || !is_token(ticket.as_bytes()) {
            return self.broken(request, gate, host, login.target(gate));
        }
        let ticket = match self.tickets.take(ticket, sealed).await {
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
        let Some(ticket) = ticket.filter(of_this_entry) else {
            return self.broken(request, gate, host, login.target(gate));
        };
        let now = now();
        // An entry that demands no login gets the cookie like any other, so it is worth less there.
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
        match self.seal(&session, gate) {
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

    /// `POST logout`: ends the session, in this browser and for everybody who may have copied it.
    async fn logout(&self, request: &HttpRequest, gate: &Gate, host: &str) -> HttpResponse {
        if !sender(request.headers(), false).is_own_page(&self.on_host(host, "")) {
            return page::foreign_logout();
        }
        let sessions = self.sessions_to_end(request.headers(), gate, host);
        if !sessions.is_empty() {
            if !self.end(&sessions).await {
                metrics::login("unavailable");
                return page::logout_unavailable();
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

    /// Ends sessions. False when that is written down nowhere: they do not count here from now on, but would after a
    /// restart.
    async fn end(&self, sessions: &[Session]) -> bool {
        let kept = self.revoked.revoke(sessions).await;
        let told = self.revoked.tell(&self.db).await;
        if let Err(error) = &told {
            // What cannot be told now is told later.
            tracing::warn!(error = format!("{error:#}"), "a logout is told to the other replicas later");
        }
        kept || told.is_ok()
    }
}

fn parameters(request: &HttpRequest) -> Parameters {
    Query::<Parameters>::from_query(request.query_string()).map(Query::into_inner).unwrap_or_default()
}

fn not_possible(allow: &'static str) -> HttpResponse {
    HttpResponse::build(StatusCode::METHOD_NOT_ALLOWED).insert_header((ALLOW, allow)).finish()
}

#[cfg(test)]
mod tests {
    use actix_web::{
        http::header::{COOKIE, HOST, ORIGIN},
        test::TestRequest,
    };
    use pods_core::Status;

    use super::*;
    use crate::edge::tests::{board, host, pod, visitors};

    #[actix_web::test]
    async fn a_logout_that_is_written_down_nowhere_is_not_confirmed() {
        let (host, logins) = (host("shop"), visitors::logins());
        let gate = board(&[pod("shop", Status::Available)]).gate_of_host(&host).unwrap();
        let session = Session {
            sid: Uuid::from_u128(1),
            site_id: "tacc".to_owned(),
            tenant_id: "dev".to_owned(),
            username: "ann".to_owned(),
            pod_uid: gate.uid(),
            network: gate.network().to_owned(),
            host: host.clone(),
            issued: now(),
            expires: now() + 60,
        };
        let cookie = format!("{}={}", cookies::SESSION_COOKIE, logins.seal(&session, &gate).unwrap());
        let request = TestRequest::post()
            .insert_header((HOST, host.as_str()))
            .insert_header((ORIGIN, logins.on_host(&host, "")))
            .insert_header((COOKIE, cookie))
            .to_http_request();
        let answer = well_known(&request, &gate, "logout", &logins).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().get(SET_COOKIE).is_none(), "the browser can log out again");
        assert!(logins.revoked.contains(session.sid), "here it is over in any case");
    }
}
