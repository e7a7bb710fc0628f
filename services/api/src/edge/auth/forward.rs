//! What Traefik asks for each request at an entry with `tapis_auth`. A 200 lets it pass: its headers replace those of
//! the request, and those that it does not have are taken out. Any other answer goes to the visitor.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{COOKIE, HeaderMap, HeaderName, HeaderValue},
    },
    web::{Data, Path},
};
use pods_core::visitor::{Credential, Gate, Refusal, Request, Verdict, Visitor, cookies, decide, paths};
use uuid::Uuid;

use super::{
    Logins, metrics, page,
    request::{self, Asked, cookies as cookie_headers, refused, wants_html},
    token::{self, Token},
};
use crate::edge::{board::Board, page::Page};

type Entry = Path<(Uuid, String)>;

/// `GET /forward-auth/{uid}/{network}`: only who may pass does.
pub(super) async fn closed(
    request: HttpRequest,
    entry: Entry,
    board: Data<Board>,
    logins: Data<Logins>,
) -> HttpResponse {
    logins.forward(request.headers(), board.gate(entry.0, &entry.1).as_deref(), false).await
}

/// `GET /forward-auth-open/{uid}/{network}`: for paths that need no login. Nobody is named to the pod, and what only we
/// may say or see is taken out of the request all the same.
pub(super) async fn open(
    request: HttpRequest,
    entry: Entry,
    board: Data<Board>,
    logins: Data<Logins>,
) -> HttpResponse {
    logins.forward(request.headers(), board.gate(entry.0, &entry.1).as_deref(), true).await
}

/// Who sent a request.
enum Known {
    Visitor(Visitor),
    /// There is a session, and a page of somebody else sent the request along with it.
    Borrowed,
    /// Why the token is not one.
    BadToken(&'static str),
    Nobody,
}

impl Logins {
    /// The answer about one request. A session costs no request and no query.
    pub async fn forward(&self, headers: &HeaderMap, gate: Option<&Gate>, excluded: bool) -> HttpResponse {
        let Some(gate) = gate else {
            // Deleted just now, or not loaded yet.
            metrics::decided("unavailable");
            return self.page(Page::Unavailable, headers, None);
        };
        let Some(asked) = Asked::read(headers).filter(|asked| gate.hosts().contains(&asked.host)) else {
            metrics::decided("misdirected");
            return self.page(Page::Unknown, headers, None);
        };
        if excluded && paths::is_plain(&asked.uri) {
            metrics::decided("open");
            return pass(headers, &[]);
        }
        let Some(known) = self.known(headers, gate, &asked).await else {
            metrics::decided("unavailable");
            return self.page(Page::LoginUnavailable, headers, None);
        };
        let credential = match &known {
            Known::Visitor(visitor) => Credential::Visitor(visitor),
            Known::Borrowed => Credential::Borrowed,
            Known::BadToken(_) => Credential::BadToken,
            Known::Nobody => Credential::Nothing,
        };
        let verdict = decide(gate, credential, Request { navigation: asked.navigation });
        self.answer(verdict, gate, &asked, headers, &known).await
    }

    /// Who sent the request: a token counts before a session. `None` while nothing can be said.
    async fn known(&self, headers: &HeaderMap, gate: &Gate, asked: &Asked) -> Option<Known> {
        let by_session = || match self.session(headers, gate, &asked.host) {
            Some(session) => {
                let sender = request::sender(headers, asked.reads);
                match sender.may_use_session(&self.on_host(&asked.host, ""), gate) {
                    true => Known::Visitor(session.visitor()),
                    false => Known::Borrowed,
                }
            }
            None => Known::Nobody,
        };
        match token::read(&self.tapis, headers).await {
            Token::Absent => Some(by_session()),
            Token::Of(visitor) => Some(Known::Visitor(visitor)),
            // A browser that goes to a page is not held up by an old token.
            Token::Bad(_) if asked.navigation => Some(by_session()),
            Token::Bad(code) => Some(Known::BadToken(code)),
            Token::Unknown => Some(by_session()).filter(|known| !matches!(known, Known::Nobody)),
        }
    }

    async fn answer(
        &self,
        verdict: Verdict<'_>,
        gate: &Gate,
        asked: &Asked,
        headers: &HeaderMap,
        known: &Known,
    ) -> HttpResponse {
        match verdict {
            Verdict::Allow(identity) => {
                metrics::decided("allowed");
                pass(headers, &identity)
            }
            Verdict::Login if !self.revoked.is_loaded() => {
                metrics::decided("unavailable");
                self.page(Page::LoginUnavailable, headers, None)
            }
            Verdict::Login => {
                metrics::decided("login");
                self.to_login(gate, &asked.host, asked.return_to(), headers).await
            }
            Verdict::Forbidden(refusal) => {
                metrics::decided(if refusal == Refusal::ForeignPage { "foreign" } else { "forbidden" });
                self.forbidden(refusal, headers, known)
            }
            Verdict::BadToken => {
                metrics::decided("bad_token");
                let code = match known {
                    Known::BadToken(code) => code,
                    Known::Visitor(_) | Known::Borrowed | Known::Nobody => "token_malformed",
                };
                refused(
                    StatusCode::FORBIDDEN,
                    "The token in X-Tapis-Token is not valid here: send an access token of a user that has not expired.",
                    code,
                )
            }
        }
    }

    fn forbidden(&self, refusal: Refusal, headers: &HeaderMap, known: &Known) -> HttpResponse {
        let code = match refusal {
            Refusal::OtherTenant => "other_tenant",
            Refusal::NotListed => "not_listed",
            Refusal::ForeignPage => "foreign_page",
        };
        match known {
            Known::Borrowed if wants_html(headers) => return page::foreign(),
            Known::Visitor(visitor) if wants_html(headers) => {
                return self.page(Page::NotAllowed, headers, Some(visitor));
            }
            Known::Visitor(_) | Known::Borrowed | Known::BadToken(_) | Known::Nobody => {}
        }
        let mut text = refusal.to_string();
        text.replace_range(..1, &text[..1].to_ascii_uppercase());
        refused(StatusCode::FORBIDDEN, &format!("{text}."), code)
    }
}

/// Lets a request pass with what is left of its cookies and with these headers.
fn pass(headers: &HeaderMap, identity: &[(&str, String)]) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if let Some(left) = cookies::without_ours(cookie_headers(headers))
        && let Ok(left) = HeaderValue::from_bytes(&left)
    {
        response.insert_header((COOKIE, left));
    }
    for (name, value) in identity {
        // Both were checked when the gate was made; what could not be a header is not sent.
        let header = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        if let (Ok(name), Ok(value)) = header {
            response.insert_header((name, value));
        }
    }
    response.finish()
}
