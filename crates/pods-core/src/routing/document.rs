//! The part of Traefik's dynamic configuration (version 3) that Pods writes, as types.

use serde::Serialize;

/// A router of the `http` or `tcp` section.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Router<'a> {
    pub entry_points: [&'a str; 1],
    pub rule: String,
    pub service: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<&'a str>,
    pub priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls<'a>>,
}

/// Its presence makes a router serve TLS only, its absence plain connections only.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tls<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_resolver: Option<&'a str>,
    /// What the resolver is asked for instead of the hosts of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains: Option<[Domain; 1]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub passthrough: bool,
    /// Settings of the document by their name; `None` takes the proxy's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<&'a str>,
}

/// A name in a certificate.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Domain {
    pub main: String,
}

/// The name of the settings of connections to containers that speak HTTP.
pub(super) const POD_TRANSPORT: &str = "pods";

/// Settings of connections to HTTP backends.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServersTransport {
    pub max_idle_conns_per_host: u32,
    pub forwarding_timeouts: ForwardingTimeouts,
}

/// How long what may take, as Go durations.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForwardingTimeouts {
    pub dial_timeout: &'static str,
    pub idle_conn_timeout: &'static str,
}

/// A service with one server.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    load_balancer: LoadBalancer,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct LoadBalancer {
    servers: [Server; 1],
    /// Settings of the document by their name; `None` takes the proxy's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_transport: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
enum Server {
    Url(String),
    Address(String),
}

impl Service {
    /// A part of the service itself, for example `http://pods-api.pods.svc.cluster.local:8000`.
    pub fn internal(url: &str) -> Self {
        Self::new(Server::Url(url.to_owned()), None)
    }

    /// A container that speaks HTTP, at `host:port`.
    pub fn http(address: &str) -> Self {
        Self::new(Server::Url(format!("http://{address}")), Some(POD_TRANSPORT))
    }

    /// A container that speaks something else, at `host:port`.
    pub fn tcp(address: String) -> Self {
        Self::new(Server::Address(address), None)
    }

    fn new(server: Server, servers_transport: Option<&'static str>) -> Self {
        Self { load_balancer: LoadBalancer { servers: [server], servers_transport } }
    }
}

/// What happens to a request or connection before it reaches the service.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Middleware<'a> {
    AddPrefix { prefix: String },
    StripPrefix { prefixes: [&'a str; 1] },
    IpAllowList(IpAllowList<'a>),
    Headers(Cors<'a>),
    ForwardAuth(ForwardAuth<'a>),
    Compress(Compress<'a>),
    Errors(Errors<'a>),
    Retry(Retry),
}

/// Networks that may come in.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpAllowList<'a> {
    pub source_range: &'a [String],
}

/// Answers preflight requests and adds the headers that let browsers of other origins in.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cors<'a> {
    pub access_control_allow_origin_list: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_methods: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_control_allow_headers: Vec<&'a str>,
    pub access_control_allow_credentials: bool,
    pub access_control_max_age: i32,
    pub add_vary_header: bool,
}

/// Asks another server whether a request may pass, and takes headers of its answer over into the request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForwardAuth<'a> {
    pub address: String,
    pub trust_forward_header: bool,
    /// Each is taken from the answer, and removed when the answer has it not.
    pub auth_response_headers: Vec<&'a str>,
    /// The same for every header that fits.
    pub auth_response_headers_regex: String,
}

/// Compresses answers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compress<'a> {
    pub encodings: &'a [String],
    pub excluded_content_types: Vec<&'a str>,
    pub min_response_body_bytes: i32,
}

/// Answers with these status codes become what another service says to them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Errors<'a> {
    pub status: [&'a str; 2],
    pub service: &'a str,
    pub query: &'a str,
}

/// Asks again when the container cannot be reached.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retry {
    pub attempts: u8,
    /// The first wait, a Go duration; the later ones grow up to twice as long.
    pub initial_interval: &'static str,
    /// After it, nothing is tried again.
    pub timeout: &'static str,
}

impl Middleware<'_> {
    /// The word that the middleware's name starts with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AddPrefix { .. } => "prefix",
            Self::StripPrefix { .. } => "strip",
            Self::IpAllowList(_) => "ip-allow-list",
            Self::Headers(_) => "cors",
            Self::ForwardAuth(_) => "auth",
            Self::Compress(_) => "compress",
            Self::Errors(_) => "errors",
            Self::Retry(_) => "retry",
        }
    }
}

/// JSON text. None of the types above can fail to be written.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
