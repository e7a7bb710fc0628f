//! What requests say about themselves.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode, Version,
        header::{ACCEPT, CACHE_CONTROL, COOKIE, HOST, HeaderMap, HeaderValue},
    },
};
use pods_core::visitor::{Sender, paths};
use serde_json::Map;

use crate::envelope::{self, Message};

/// Whether the answer is to be read by a person.
pub fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

/// Whether a browser goes to a page; everything else is a program, or a part of a page.
pub fn is_navigation(headers: &HeaderMap) -> bool {
    wants_html(headers) && fetch_mode(headers).is_none_or(|mode| mode == "navigate")
}

/// Whether a browser asks for a part of a page, or a script of one does: whatever it is led to, nobody sees.
pub fn is_part_of_page(headers: &HeaderMap) -> bool {
    fetch_mode(headers).is_some_and(|mode| mode != "navigate")
}

/// How a browser came to send the request; other programs do not say.
fn fetch_mode(headers: &HeaderMap) -> Option<&str> {
    text(headers, "sec-fetch-mode")
}

/// Which page made a browser send the request; `reads` says whether it only reads.
pub fn sender(headers: &HeaderMap, reads: bool) -> Sender<'_> {
    Sender {
        origin: headers.get("origin").map(|value| value.to_str().unwrap_or_default()),
        site: text(headers, "sec-fetch-site"),
        opens_page: reads && fetch_mode(headers) == Some("navigate"),
    }
}

/// Whether a method only reads, so that the same address can be opened again.
pub fn is_reading(method: &str) -> bool {
    method == Method::GET.as_str() || method == Method::HEAD.as_str()
}

/// The answer for a part of a page whose visitor is not logged in.
pub fn login_required() -> HttpResponse {
    refused(
        StatusCode::UNAUTHORIZED,
        "You are not logged in at this pod: open it in the browser to log in, or send an access token in X-Tapis-Token.",
        "login_required",
    )
}

/// An answer for a program, which tells cases apart by `code`.
pub fn refused(status: StatusCode, message: &str, code: &'static str) -> HttpResponse {
    let metadata = Map::from_iter([("code".to_owned(), code.into())]);
    let mut response = envelope::error(status, &Message::One(message.to_owned()), &metadata);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The cookie headers, as they came.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).map(|value| value.as_bytes())
}

/// A header that is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The host of a request that a visitor sent: lower case, without port and final dot.
pub fn visited_host(request: &HttpRequest) -> String {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = match request.version() {
        Version::HTTP_2 => request.uri().authority().map(|authority| authority.as_str()).or(header),
        _ => header,
    };
    normal_host(host.unwrap_or_default())
}

fn normal_host(host: &str) -> String {
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// A request of a visitor as Traefik tells of it when it asks whether it may pass. The headers are Traefik's own: what
/// a visitor sent under these names never arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The visited host.
    pub host: String,
    /// Path and query, as they were sent.
    pub uri: String,
    /// Whether the request only reads, so that the same address can be opened later.
    pub reads: bool,
    /// Whether a browser goes to a page.
    pub navigation: bool,
}

impl Asked {
    /// Reads what Traefik says; nothing when it does not.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            host: normal_host(text(headers, "x-forwarded-host")?),
            uri: text(headers, "x-forwarded-uri")?.to_owned(),
            reads: is_reading(text(headers, "x-forwarded-method")?),
            navigation: is_navigation(headers),
        })
    }

    /// Where the visitor wanted to go, if one can be led there later.
    pub fn return_to(&self) -> Option<&str> {
        paths::local(&self.uri).filter(|_| self.reads)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn browsers_that_go_to_a_page_are_told_from_the_rest() {
        const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        for (pairs, expected) in [
            (vec![HTML], true),
            (vec![HTML, ("sec-fetch-mode", "navigate")], true),
            (vec![HTML, ("sec-fetch-mode", "cors")], false),
            (vec![("accept", "*/*")], false),
            (vec![("accept", "*/*"), ("sec-fetch-mode", "navigate")], false),
            (vec![("accept", "application/json")], false),
            (vec![], false),
        ] {
            assert_eq!(is_navigation(&headers(&pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn parts_of_pages_say_so_and_programs_say_nothing() {
        for (mode, expected) in [
            ("navigate", false),
            ("no-cors", true),
            ("cors", true),
            ("same-origin", true),
            ("websocket", true),
        ] {
            assert_eq!(is_part_of_page(&headers(&[("sec-fetch-mode", mode)])), expected, "{mode}");
        }
        assert!(!is_part_of_page(&headers(&[])));
    }

    #[test]
    fn the_sender_is_who_the_browser_names() {
        const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
        let none = Sender { origin: None, site: None, opens_page: false };
        assert_eq!(sender(&headers(&[]), true), none);
        assert_eq!(sender(&headers(&[NAVIGATE]), true), Sender { opens_page: true, ..none });
        assert_eq!(sender(&headers(&[NAVIGATE]), false), none, "a form that is sent");
        let said = headers(&[("origin", "https://a.example"), ("sec-fetch-site", "same-site")]);
        let expected = Sender { origin: Some("https://a.example"), site: Some("same-site"), ..none };
        assert_eq!(sender(&said, true), expected);
        let strange = HeaderMap::from_iter([(
            HeaderName::from_static("origin"),
            HeaderValue::from_bytes(b"https://\xff").unwrap(),
        )]);
        assert_eq!(sender(&strange, true), Sender { origin: Some(""), ..none }, "which nobody's is");
    }

    #[test]
    fn what_was_asked_is_what_traefik_says() {
        let all = [
            ("x-forwarded-host", "Shop.pods.example.org.:8443"),
            ("x-forwarded-uri", "/a?b=c"),
            ("x-forwarded-method", "GET"),
        ];
        let asked = Asked::read(&headers(&all)).unwrap();
        assert_eq!((asked.host.as_str(), asked.return_to()), ("shop.pods.example.org", Some("/a?b=c")));
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert_eq!(Asked::read(&headers(&some)), None);
        }
        let asked = |method, uri| {
            Asked::read(&headers(&[all[0], ("x-forwarded-uri", uri), ("x-forwarded-method", method)]))
                .unwrap()
        };
        assert_eq!(asked("POST", "/a").return_to(), None, "what was posted is gone");
        assert_eq!(asked("GET", "//evil.example").return_to(), None);
        assert_eq!(asked("HEAD", "/a").return_to(), Some("/a"));
    }
}
