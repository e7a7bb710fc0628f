//! Visitors of entries with `tapis_auth`: sessions, the decision that Traefik asks for, login and logout on the pods'
//! own hosts.
//!
//! A session is a sealed text in a `__Host-` cookie of one host; nothing of it is stored. Every request of a visitor is
//! decided from memory alone: from the gate, which follows the change feed, and from what was revoked, which follows a
//! table. Postgres and the API are needed for logging in only, so who is logged in goes on without them.

mod config;
mod forward;
mod login;
pub mod metrics;
pub mod page;
mod probe;
pub mod request;
mod revoked;
mod ticket;
mod tickets;
mod token;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderMap, LOCATION},
    web,
};
use anyhow::Context;
use pods_core::visitor::{Gate, Session, Visitor, cookies, paths};
use pods_db::Db;
use pods_runtime::{internal_http::Beat, shutdown::Supervisor};
use pods_secrets::{Aad, KeyRing};
use tapis::Tapis;

use super::{Config, page as pages, page::reader::Who, peers::Peers};

pub use config::LoginsConfig;
pub use login::well_known;
use probe::ApiProbe;
use revoked::Revoked;
use tickets::Tickets;

/// Connections for revocations. Nothing that strangers can cause uses them.
const CONNECTIONS: usize = 2;
/// What sessions are sealed for, with the pod's uid.
const SESSION: &str = "session";
/// What the sessions at entries that demand no login are sealed for. Those entries see the cookies of their visitors, so
/// that these must not count where a login is demanded.
const READER_SESSION: &str = "reader session";
/// What the keys of logins under way are for: strangers begin as many as they like.
const LOGINS_UNDER_WAY: &str = "logins under way";
/// Longer cookies are not looked at.
const COOKIE_MAX: usize = 4096;
/// Cookies of the same name that are looked at.
const COOKIES_MAX: usize = 4;

/// All that the edge needs to know visitors; see the module.
pub struct Logins {
    keys: KeyRing,
    login_keys: KeyRing,
    db: Db,
    tickets: Tickets,
    tapis: Tapis,
    revoked: Revoked,
    /// Of the task that follows what is revoked.
    beat: Beat,
    /// The other replicas know of logouts, too.
    peers: Peers,
    api: ApiProbe,
    lifetime: Duration,
    https_port: u16,
    version: String,
}

impl Logins {
    /// Reads keys and settings; asks nobody yet.
    ///
    /// # Errors
    /// When a key or an address cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        use pods_runtime::config::ExposeSecret;
        let keys = config.logins.read_keys().context("the keys of [logins] cannot be used")?;
        let db = Db::connect(config.database.url.expose_secret(), CONNECTIONS)
            .context("the database address cannot be used")?;
        Ok(Self {
            login_keys: keys.derived(LOGINS_UNDER_WAY)?,
            keys,
            db,
            tickets: Tickets::new(config.database.url.expose_secret())?,
            tapis: Tapis::new(&config.tapis, &config.service.site_id)?,
            revoked: Revoked::new(&config.edge),
            beat: Beat::new(),
            peers: Peers::new(&config.edge.peers)?,
            api: ApiProbe::new(&config.edge.api_url)?,
            lifetime: config.logins.lifetime,
            https_port: config.edge.https_port,
            version: config.service.version.clone(),
        })
    }

    /// Starts what keeps the knowledge up to date.
    pub fn start(self: &Arc<Self>, supervisor: &mut Supervisor) {
        let token = supervisor.token();
        let revocations = revoked::follow(Arc::clone(self), token.clone());
        supervisor.spawn("revocations", self.beat.clone().over(revocations));
        supervisor.spawn("API probe", probe::run(Arc::clone(self), token.clone()));
        supervisor.spawn("tenants", token::load_tenants(self.tapis.clone(), token));
    }

    /// The beat of the task that follows what is revoked.
    pub fn beat(&self) -> &Beat {
        &self.beat
    }

    /// Whether the first look at what is revoked is over: before it, no session counts.
    pub fn has_looked(&self) -> bool {
        self.revoked.has_looked()
    }

    /// Who is logged in at the host of a request, for pages. Asks nobody.
    pub fn who(self: &Arc<Self>) -> Who {
        let logins = Arc::clone(self);
        Arc::new(move |request: &HttpRequest, gate: &Gate| {
            let host = request::visited_host(request);
            logins.session(request.headers(), gate, &host).map(|session| session.visitor())
        })
    }

    /// Whether somebody who goes to log in now would get to the end.
    pub fn can_log_in(&self) -> bool {
        self.api.answers() && self.revoked.is_current()
    }

    /// The session of a request that counts at this gate.
    fn session(&self, headers: &HeaderMap, gate: &Gate, host: &str) -> Option<Session> {
        // Nobody knows yet which ones were revoked.
        if !self.revoked.is_loaded() {
            return None;
        }
        self.opened(headers, gate, host, column(gate)).into_iter().find(|it| !self.revoked.contains(it.sid))
    }

    /// The sessions of a request that end with a logout: all that it brings, whether or not they count.
    fn sessions_to_end(&self, headers: &HeaderMap, gate: &Gate, host: &str) -> Vec<Session> {
        let columns = [SESSION, READER_SESSION].into_iter();
        columns.flat_map(|column| self.opened(headers, gate, host, column)).collect()
    }

    /// What the cookies of a request say, as far as they are sessions of this gate; revoked ones are not told apart.
    fn opened(&self, headers: &HeaderMap, gate: &Gate, host: &str, column: &str) -> Vec<Session> {
        let (now, place) = (now(), Aad { uid: gate.uid(), column });
        cookies::values(request::cookies(headers), cookies::SESSION_COOKIE)
            .filter(|text| text.len() <= COOKIE_MAX)
            .take(COOKIES_MAX)
            .filter_map(|text| self.keys.open_text(place, text).ok())
            .filter_map(|bytes| serde_json::from_slice::<Session>(&bytes).ok())
            .filter(|session| session.counts(gate, host, now))
            .collect()
    }

    /// A session for a visitor of a gate, as the value of its cookie.
    fn seal(&self, session: &Session, gate: &Gate) -> anyhow::Result<String> {
        let place = Aad { uid: session.pod_uid, column: column(gate) };
        Ok(self.keys.seal_text(place, &serde_json::to_vec(session)?)?)
    }

    /// A page about the login.
    fn page(&self, page: pages::Page, headers: &HeaderMap, visitor: Option<&Visitor>) -> HttpResponse {
        let seen = match visitor {
            Some(visitor) => pages::Seen::Guest { username: &visitor.username },
            None => pages::Seen::Stranger { login: None },
        };
        page.respond(&pages::Form { json: !request::wants_html(headers), version: &self.version, seen })
    }

    fn on_host(&self, host: &str, path: &str) -> String {
        paths::on_host(host, self.https_port, path)
    }
}

#[cfg(test)]
impl Logins {
    /// As if what is revoked had been looked at once.
    pub fn after_a_look(self) -> Self {
        self.revoked.looked();
        self
    }
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// What Traefik asks; the path names the entry, which no visitor can write.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::resource(revoked::PATH).get(revoked::known))
        .service(web::resource("/forward-auth/{uid}/{network}").to(forward::closed))
        .service(web::resource("/forward-auth-open/{uid}/{network}").to(forward::open))
        .service(web::resource("/login/{uid}/{network}/{rest:.*}").to(login::routed));
}

/// The kind of session that counts at a gate.
fn column(gate: &Gate) -> &'static str {
    if gate.tapis_auth() { SESSION } else { READER_SESSION }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A redirect that nobody keeps.
fn found(location: &str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Found();
    response
        .insert_header((LOCATION, location))
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("Referrer-Policy", "no-referrer"));
    response
}
