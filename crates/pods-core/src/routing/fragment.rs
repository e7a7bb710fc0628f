//! One networking entry of one pod as a piece of the routing document, checked alone.

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    RoutingSettings,
    document::{Compress, Cors, IpAllowList, Middleware, Router, Service, Tls},
};
use crate::networking::{Networking, Protocol, is_network};

/// Above Traefik's default, which is the length of the rule: nothing that matches a path only may come before.
const POD_PRIORITY: u32 = 1000;

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

/// Which section of the document a fragment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Http,
    Tcp,
}

/// The rendered piece: a router, its service and the middlewares that it names.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub section: Section,
    pub router: Box<RawValue>,
    pub service: Box<RawValue>,
    pub middlewares: Vec<(String, Box<RawValue>)>,
}

impl PartialEq for Fragment {
    fn eq(&self, other: &Self) -> bool {
        let names = |fragment: &Self| -> Vec<String> {
            fragment.middlewares.iter().map(|(name, _)| name.clone()).collect()
        };
        // A middleware's name is made from its content.
        self.section == other.section
            && self.router.get() == other.router.get()
            && self.service.get() == other.service.get()
            && names(self) == names(other)
    }
}

/// Renders the entry of a running pod, or says why it cannot have a route.
pub(super) fn render(
    name: &str,
    k8_name: &str,
    entry: &Networking,
    settings: &RoutingSettings,
) -> Result<Fragment, String> {
    check_label("the Kubernetes name", k8_name)?;
    // The document's own routers have other names; no pod may take one of them.
    if !k8_name.starts_with("pods-") {
        return Err(format!("the Kubernetes name {k8_name:?} does not start with \"pods-\""));
    }
    check_pod_host(&entry.url)?;
    if !(1..=65_535).contains(&entry.port) {
        return Err(format!("port {} is no port", entry.port));
    }
    if let Some(bad) = entry.ip_allow_list.iter().find(|range| !is_network(range)) {
        return Err(format!("ip_allow_list: {bad:?} is no network"));
    }
    let backend = format!("{k8_name}.{}.svc.{}:{}", settings.namespace, settings.cluster_domain, entry.port);
    let (section, rule, service, passthrough) = match entry.protocol {
        Protocol::Http => {
            let service = Service::http(format!("http://{backend}"));
            (Section::Http, format!("Host(`{}`)", entry.url), service, false)
        }
        // PostgreSQL clients speak TLS with the container itself, after Traefik has read the name that they want.
        Protocol::Tcp | Protocol::Postgres => {
            let passthrough = entry.protocol == Protocol::Postgres;
            (Section::Tcp, format!("HostSNI(`{}`)", entry.url), Service::tcp(backend), passthrough)
        }
        Protocol::LocalOnly => return Err("local_only entries have no route".to_owned()),
    };
    let middlewares = middlewares(entry, section)?;
    let router = Router {
        entry_points: [settings.entry_point_https.as_str()],
        rule,
        service: name,
        middlewares: middlewares.iter().map(|(name, _)| name.clone()).collect(),
        priority: Some(POD_PRIORITY),
        tls: Some(Tls {
            cert_resolver: settings.cert_resolver.as_deref().filter(|_| !passthrough),
            passthrough,
        }),
    };
    Ok(Fragment { section, router: raw(&router)?, service: raw(&service)?, middlewares })
}

/// In the order in which Traefik applies them.
fn middlewares(entry: &Networking, section: Section) -> Result<Vec<(String, Box<RawValue>)>, String> {
    let mut list = Vec::new();
    if !entry.ip_allow_list.is_empty() {
        list.push(Middleware::IpAllowList(IpAllowList { source_range: &entry.ip_allow_list }));
    }
    if section == Section::Http {
        list.extend(cors(entry).map(Middleware::Headers));
        list.extend(compress(entry).map(Middleware::Compress));
    }
    list.iter().map(named).collect()
}

/// A name that says what the middleware is and that only an identical one shares.
pub(super) fn named(middleware: &Middleware<'_>) -> Result<(String, Box<RawValue>), String> {
    let content = raw(middleware)?;
    let digest = Sha256::digest(content.get().as_bytes());
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((format!("{}-{hex}", middleware.kind()), content))
}

/// Values that no browser could send or understand are dropped: that never lets more in than the user asked for.
fn cors(entry: &Networking) -> Option<Cors<'_>> {
    let origins =
        keep(&entry.cors_allow_origins, |text| text.chars().all(|c| c.is_ascii_graphic() && c != ','));
    (!origins.is_empty()).then(|| Cors {
        access_control_allow_origin_list: origins,
        access_control_allow_methods: keep(&entry.cors_allow_methods, is_token),
        access_control_allow_headers: keep(&entry.cors_allow_headers, is_token),
        access_control_allow_credentials: entry.cors_allow_credentials,
        access_control_max_age: entry.cors_max_age,
        add_vary_header: entry.cors_add_vary_header,
    })
}

fn compress(entry: &Networking) -> Option<Compress<'_>> {
    if !entry.proxy_compression || entry.proxy_compression_encodings.is_empty() {
        return None;
    }
    // One text that is no content type would make Traefik drop the whole router.
    let mut excluded = keep(&entry.proxy_compression_excluded_content_types, is_content_type);
    excluded.extend(COMPRESSED_TYPES);
    excluded.sort_unstable();
    excluded.dedup();
    Some(Compress {
        encodings: &entry.proxy_compression_encodings,
        excluded_content_types: excluded,
        // Zero would be read as "not set", which is 1024.
        min_response_body_bytes: entry.proxy_compression_min_response_body_bytes.max(1),
    })
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

/// The host of an entry is `<label>.pods.<tenant host>`. Anything else could take requests from the API or from
/// the platform, and a character outside of a host name could leave the rule that it is written into.
fn check_pod_host(host: &str) -> Result<(), String> {
    let mut labels = host.split('.');
    let well_formed = host.len() <= 253 && host.split('.').all(is_label);
    if well_formed && labels.nth(1) == Some("pods") && labels.next().is_some() {
        return Ok(());
    }
    Err(format!("url {host:?} is no host of a pod"))
}

/// Checks a Kubernetes name that becomes part of a host name.
pub(super) fn check_label(what: &str, text: &str) -> Result<(), String> {
    if is_label(text) { Ok(()) } else { Err(format!("{what} {text:?} is no DNS label")) }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

pub(super) fn raw(value: &impl Serialize) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(value).map_err(|error| error.to_string())
}
