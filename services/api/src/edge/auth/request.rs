//! What requests say about themselves.

use actix_web::{
    HttpRequest,
    http::{
        Version,
        header::{ACCEPT, COOKIE, HOST, HeaderMap},
    },
};
use pods_core::visitor::paths;

/// Whether the answer is to be read by a person.
pub fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

/// Whether a browser goes to a page; everything else is a program, or a part of a page.
pub fn is_navigation(headers: &HeaderMap) -> bool {
    wants_html(headers) && fetch_mode(headers).is_none_or(|mode| mode == "navigate")
}

/// How a browser came to send the request; other programs do not say.
pub fn fetch_mode(headers: &HeaderMap) -> Option<&str> {
    text(headers, "sec-fetch-mode")
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
            reads: matches!(text(headers, "x-forwarded-method")?, "GET" | "HEAD"),
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
