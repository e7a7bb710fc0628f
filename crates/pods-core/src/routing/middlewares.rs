//! What happens to the requests of one entry before they reach its container.

use std::{collections::HashMap, fmt::Write, sync::Arc};

use sha2::{Digest, Sha256};

use super::document::{Compress, Cors, ForwardAuth, IpAllowList, Middleware, json};
use crate::networking::{Networking, is_reserved_header};

/// Not worth compressing again.
const COMPRESSED_TYPES: [&str; 15] = [
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
    "video/mp4",
    "video/webm",
];

/// Headers that no visitor can tell a pod behind a login, in any spelling: the platform's, and what Traefik says about
/// the visitor written with `_`, which many programs read as `-`.
const NEVER_FROM_VISITORS: &str = "x[-_]tapis[-_].*|x_forwarded[-_].*|x-forwarded_.*|x_real[-_]ip|x-real_ip";

/// A middleware with its name in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub name: Arc<str>,
    pub json: Arc<str>,
}

/// Names of middlewares that were written before. Most entries have the same ones, and a name is a digest.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Arc<str>, Named>);

/// More are not remembered.
const NAMES_MAX: usize = 10_000;

impl Names {
    /// A name that says what the middleware is and that only an identical one shares.
    pub fn shared(&mut self, middleware: &Middleware<'_>) -> Named {
        let json = json(middleware);
        if let Some(named) = self.0.get(json.as_str()) {
            return named.clone();
        }
        let mut name = format!("{}-", middleware.kind());
        for byte in &Sha256::digest(json.as_bytes())[..16] {
            // Writing to a text cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        let named = Named { name: name.into(), json: json.into() };
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(Arc::clone(&named.json), named.clone());
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

/// Values that no browser could send or understand are dropped: that never lets more in than the user asked for.
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
    let mut pattern = format!("(?i)^({NEVER_FROM_VISITORS}");
    for name in &names {
        pattern.push('|');
        for c in name.chars() {
            match c {
                '-' | '_' => pattern.push_str("[-_]"),
                c if c.is_ascii_alphanumeric() => pattern.push(c),
                c => pattern.extend(['\\', c]),
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
    // One text that is no content type would make Traefik drop the whole router.
    let mut excluded = keep(&entry.proxy_compression_excluded_content_types, is_content_type);
    excluded.extend(COMPRESSED_TYPES);
    excluded.sort_unstable();
    excluded.dedup();
    Some(Middleware::Compress(Compress {
        encodings: &entry.proxy_compression_encodings,
        excluded_content_types: excluded,
        // Zero would be read as "not set", which is 1024.
        min_response_body_bytes: entry.proxy_compression_min_response_body_bytes.max(1),
    }))
}

fn keep(texts: &[String], good: impl Fn(&str) -> bool) -> Vec<&str> {
    texts.iter().map(String::as_str).filter(|text| !text.is_empty() && good(text)).collect()
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

fn is_content_type(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}
