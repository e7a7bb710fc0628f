//! What happens to the requests of one entry before they reach its container.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, LazyLock},
};

use sha2::{Digest, Sha256};

use super::document::{Compress, Cors, ForwardAuth, IpAllowList, Middleware, Retry, json};
use crate::networking::{Networking, is_content_type, is_reserved_header, is_token};

/// Not worth compressing again; and streams of events, of which each would be compressed and flushed for itself.
const UNCOMPRESSED_TYPES: [&str; 16] = [
    "application/gzip",
    "application/x-7z-compressed",
    "application/x-bzip2",
    "application/x-tar",
    "application/x-xz",
    "application/zip",
    "application/zstd",
    "audio/mpeg",
    "audio/ogg",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/event-stream",
    "video/mp4",
    "video/webm",
];

/// Headers that no visitor can tell a pod behind a login, in any spelling: programs in the manner of CGI make `_` of
/// everything in a name that is no letter or digit. The platform's; the twins of what Traefik says about the visitor;
/// what programs take for another address than the one that was asked for; and what would make the connection HTTP/2,
/// past all rules.
const NEVER_FROM_VISITORS: &str = "x[^a-z0-9]tapis[^a-z0-9].*\
    |x[^a-z0-9-]forwarded[^a-z0-9].*|x-forwarded[^a-z0-9-].*\
    |x[^a-z0-9-]real[^a-z0-9]ip|x-real[^a-z0-9-]ip\
    |forwarded|x[^a-z0-9](original|rewrite|override)[^a-z0-9](ur[il]|path|host)|http2[^a-z0-9]settings";

/// What follows `X-Forwarded-` in the headers that Traefik itself writes, after it has removed the visitor's. Programs
/// believe many more of them, such as `X-Forwarded-User`.
const FORWARDED_BY_TRAEFIK: [&str; 5] = ["for", "host", "port", "proto", "server"];

/// The beginning of the expression for both, which names of the entry's own follow.
static NEVER: LazyLock<String> =
    LazyLock::new(|| format!("(?i)^({NEVER_FROM_VISITORS}|x-forwarded-{}", all_but(&FORWARDED_BY_TRAEFIK)));

/// A middleware with its name in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub name: Arc<str>,
    pub json: Arc<str>,
}

/// Names of middlewares that were written before. Most entries have the same ones, and a name is a digest.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_json: HashMap<Arc<str>, Named>,
    /// Of all the texts.
    bytes: usize,
}

/// More bytes are not remembered.
const NAMES_BYTES_MAX: usize = 4 << 20;

impl Names {
    /// A name that says what the middleware is and that only an identical one shares.
    pub fn shared(&mut self, middleware: &Middleware<'_>) -> Named {
        let json = json(middleware);
        if let Some(named) = self.by_json.get(json.as_str()) {
            return named.clone();
        }
        let mut name = format!("{}-", middleware.kind());
        for byte in &Sha256::digest(json.as_bytes())[..16] {
            // Writing to a text cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        let named = Named { name: name.into(), json: json.into() };
        let bytes = named.json.len() + named.name.len();
        if self.bytes + bytes > NAMES_BYTES_MAX {
            *self = Self::default();
        }
        self.bytes += bytes;
        self.by_json.insert(Arc::clone(&named.json), named.clone());
        named
    }
}

impl Named {
    /// A middleware that only the entry of this router name has.
    pub fn own(word: &str, router: &str, middleware: &Middleware<'_>) -> Self {
        Self { name: format!("{word}-{router}").into(), json: json(middleware).into() }
    }
}

/// The networks that may come in, for requests and connections.
pub(super) fn ip_allow_list(entry: &Networking) -> Option<Middleware<'_>> {
    let list = IpAllowList { source_range: &entry.ip_allow_list };
    (!entry.ip_allow_list.is_empty()).then_some(Middleware::IpAllowList(list))
}

/// Values that no browser could send or understand are dropped: that never lets more in than the user asked for. They are
/// refused when they are written; rows of before may have them.
pub(super) fn cors(entry: &Networking) -> Option<Middleware<'_>> {
    let origins =
        keep(&entry.cors_allow_origins, |text| text.chars().all(|c| c.is_ascii_graphic() && c != ','));
    (!origins.is_empty()).then(|| {
        Middleware::Headers(Cors {
            access_control_allow_origin_list: origins,
            access_control_allow_methods: keep(&entry.cors_allow_methods, is_token),
            access_control_allow_headers: keep(&entry.cors_allow_headers, is_token),
            access_control_allow_credentials: entry.cors_allow_credentials,
            access_control_max_age: entry.cors_max_age,
            add_vary_header: entry.cors_add_vary_header,
        })
    })
}

/// The question whether a request may pass.
pub(super) fn forward_auth(entry: &Networking, address: String) -> Middleware<'_> {
    let names = entry.tapis_auth_response_headers.keys().map(String::as_str);
    let names: Vec<&str> = names.filter(|name| is_token(name) && !is_reserved_header(name)).collect();
    let mut pattern = NEVER.clone();
    for name in &names {
        pattern.push('|');
        for c in name.chars() {
            if c.is_ascii_alphanumeric() {
                pattern.push(c);
            } else {
                pattern.push_str("[^a-z0-9]");
            }
        }
    }
    pattern.push_str(")$");
    Middleware::ForwardAuth(ForwardAuth {
        address,
        trust_forward_header: false,
        auth_response_headers: ["Cookie", "X-Tapis-Token"].into_iter().chain(names).collect(),
        auth_response_headers_regex: pattern,
    })
}

pub(super) fn compress(entry: &Networking) -> Option<Middleware<'_>> {
    if !entry.proxy_compression || entry.proxy_compression_encodings.is_empty() {
        return None;
    }
    // One text that is no content type would make Traefik drop the whole router. Rows of before may have some.
    let mut excluded = keep(&entry.proxy_compression_excluded_content_types, is_content_type);
    excluded.extend(UNCOMPRESSED_TYPES);
    excluded.sort_unstable();
    excluded.dedup();
    Some(Middleware::Compress(Compress {
        encodings: &entry.proxy_compression_encodings,
        excluded_content_types: excluded,
        // Zero would be read as "not set", which is 1024.
        min_response_body_bytes: entry.proxy_compression_min_response_body_bytes.max(1),
    }))
}

/// A container without a probe is open to visitors as soon as it runs, a moment before its program listens and before
/// every node knows the way to it. Traefik asks again only while it has sent nothing of the request, so that it may do so
/// for every method; it says 502 after about a second.
pub(super) fn retry() -> Middleware<'static> {
    Middleware::Retry(Retry { attempts: 4, initial_interval: "250ms", timeout: "3s" })
}

/// An expression for every text but these, which must be letters.
fn all_but(words: &[&str]) -> String {
    let mut firsts: Vec<char> = words.iter().filter_map(|word| word.chars().next()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let others: String = firsts.iter().collect();
    let mut branches = vec![if firsts.is_empty() { ".+".to_owned() } else { format!("[^{others}].*") }];
    if !words.contains(&"") {
        branches.push(String::new());
    }
    branches.extend(firsts.iter().map(|first| {
        let rests: Vec<&str> = words.iter().filter_map(|word| word.strip_prefix(*first)).collect();
        format!("{first}{}", all_but(&rests))
    }));
    format!("({})", branches.join("|"))
}

fn keep(texts: &[String], good: impl Fn(&str) -> bool) -> Vec<&str> {
    texts.iter().map(String::as_str).filter(|text| !text.is_empty() && good(text)).collect()
}
