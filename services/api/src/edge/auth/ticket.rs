//! What goes around through the API and the platform during a login, sealed, and what ties it to a browser.

use actix_web::{
    HttpResponse,
    http::header::{HeaderMap, SET_COOKIE},
};
use pods_core::visitor::{Gate, cookies, paths};
use pods_secrets::{Aad, token};
use serde::{Deserialize, Serialize};

use super::{Logins, found, metrics, now, request};
use crate::edge::page::Page;

/// What a login that is under way is sealed for.
const LOGIN: &str = "login";
/// Seconds that a login may take, the platform's page included.
const LIFE: i64 = 900;
/// Characters of a nonce and of a ticket.
const TOKEN_LEN: usize = 43;

/// A login that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    #[serde(rename = "n")]
    pub network: String,
    #[serde(rename = "h")]
    pub host: String,
    /// Digest of the browser's nonce.
    #[serde(rename = "k")]
    pub nonce: String,
    /// Where the visitor wanted to go; nothing is the entry's return path.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
    #[serde(rename = "e")]
    pub expires: i64,
}

impl Logins {
    /// Leads a visitor to the login, and back to `return_to` in the end. A part of a page is led nowhere: nobody could log
    /// in there, and it must not end the login that the page itself begins.
    pub(super) async fn to_login(
        &self,
        gate: &Gate,
        host: &str,
        return_to: Option<&str>,
        headers: &HeaderMap,
    ) -> HttpResponse {
        if request::is_part_of_page(headers) {
            return request::login_required();
        }
        match self.begun(gate, host, return_to, headers).await {
            Some(response) => response,
            None => {
                metrics::login("unavailable");
                self.page(Page::LoginUnavailable, headers, None)
            }
        }
    }

    async fn begun(
        &self,
        gate: &Gate,
        host: &str,
        return_to: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<HttpResponse> {
        if !self.can_log_in() {
            return None;
        }
        // Known, but for a tenant that is new.
        let tenant = self.tapis.directory().find_tenant(&gate.tenant().tenant_id).await.ok()??;
        let base = tenant.base_url.as_str().trim_end_matches('/');
        // One nonce for all logins that a browser has under way at a host: tabs do not disturb each other.
        let nonce = match nonce_of(headers) {
            Some(nonce) => nonce,
            None => token::random_token().ok()?,
        };
        let login = Login {
            network: gate.network().to_owned(),
            host: host.to_owned(),
            nonce: token::digest_text(&nonce),
            return_to: return_to.and_then(paths::local).map(str::to_owned),
            expires: now() + LIFE,
        };
        let sealed = self.login_keys.seal_text(place(gate), &serde_json::to_vec(&login).ok()?).ok()?;
        let url = format!("{base}/v3/pods/{}/auth?host={host}&login={sealed}", gate.pod_id_net());
        let cookie = host_cookie(cookies::LOGIN_COOKIE, &nonce, LIFE);
        Some(found(&url).append_header((SET_COOKIE, cookie)).finish())
    }

    /// A login as it comes back, if it is of this entry and host and in time.
    pub(super) fn login_of(&self, gate: &Gate, host: &str, sealed: &str) -> Option<Login> {
        let bytes = self.login_keys.open_text(place(gate), sealed.as_bytes()).ok()?;
        let login: Login = serde_json::from_slice(&bytes).ok()?;
        (login.network == gate.network() && login.host == host && now() < login.expires).then_some(login)
    }
}

impl Login {
    /// Whether it was begun in the browser that sent these headers.
    pub fn is_of(&self, headers: &HeaderMap) -> bool {
        nonces(headers).any(|nonce| token::same(&token::digest_text(&nonce), &self.nonce))
    }

    /// Where the visitor goes now.
    pub fn target<'a>(&'a self, gate: &'a Gate) -> &'a str {
        self.return_to.as_deref().and_then(paths::local).unwrap_or(gate.return_path())
    }
}

fn place(gate: &Gate) -> Aad<'static> {
    Aad { uid: gate.uid(), column: LOGIN }
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    nonces(headers).next()
}

fn nonces(headers: &HeaderMap) -> impl Iterator<Item = String> {
    cookies::values(request::cookies(headers), cookies::LOGIN_COOKIE)
        .filter(|text| is_token(text))
        .take(super::COOKIES_MAX)
        .filter_map(|text| String::from_utf8(text.to_vec()).ok())
}

/// Whether a text has the form of [`token::random_token`].
pub(super) fn is_token(text: &[u8]) -> bool {
    let ours = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == TOKEN_LEN && text.iter().all(ours)
}

/// A cookie that this host alone sees, over TLS alone, and that no script reads. Name and value are ours: letters, digits,
/// `-` and `_`.
pub(super) fn host_cookie(name: &str, value: &str, seconds: i64) -> String {
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}")
}
