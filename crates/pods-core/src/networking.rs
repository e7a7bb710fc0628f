//! Networking entries of a pod (Tapis Pods documentation, "Pod Networking").

mod grammar;
mod pattern;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Status, reason::StatusContainer, status::text_enum};

pub use grammar::is_reserved_header;
pub(crate) use grammar::{
    check_domain, check_excluded_pattern, is_content_type, is_excluded_path, is_network, is_token,
};
pub use read::{check_domains, read, read_template};

text_enum! {
    /// How an entry is reached.
    Protocol {
        /// HTTPS at its own host, plain HTTP to the container.
        Http => "http",
        /// TLS at its own host, plain TCP to the container.
        Tcp => "tcp",
        /// As the PostgreSQL wire protocol starts TLS.
        Postgres => "postgres",
        /// Reachable inside the cluster only; no route.
        LocalOnly => "local_only",
    }
}

text_enum! {
    /// Who ends the TLS of a `postgres` entry.
    TlsMode {
        /// The container, with a certificate of its own.
        Passthrough => "passthrough",
        /// The proxy, with the certificate of the entry's host; the container sees no TLS.
        Terminate => "terminate",
    }
}

/// One networking entry, every field filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Networking {
    /// How the entry is reached.
    pub protocol: Protocol,
    /// The port that the container listens on.
    pub port: i32,
    /// Host name of the entry, without scheme and port; written by the service.
    pub url: String,
    /// Who ends the TLS; only `postgres` leaves a choice.
    pub tls_mode: TlsMode,
    /// Networks that may reach the entry; empty means everybody.
    pub ip_allow_list: Vec<String>,
    /// Whether visitors must log in with Tapis.
    pub tapis_auth: bool,
    /// Headers added to requests of logged-in visitors.
    pub tapis_auth_response_headers: BTreeMap<String, String>,
    /// Who may pass `tapis_auth`; `*` is every user of the tenant.
    pub tapis_auth_allowed_users: Vec<String>,
    /// Path to return to after the login.
    pub tapis_auth_return_path: String,
    /// Paths that need no login, with everything below them; see [`crate::routing`] for what "below" is.
    pub tapis_auth_excluded_paths: Vec<String>,
    /// Regular expressions (RE2) of paths that need no login.
    pub tapis_auth_excluded_path_regex: Vec<String>,
    /// Origins that browsers may call the entry from.
    pub cors_allow_origins: Vec<String>,
    /// Methods that browsers may use.
    pub cors_allow_methods: Vec<String>,
    /// Headers that browsers may send.
    pub cors_allow_headers: Vec<String>,
    /// Whether browsers may send credentials.
    pub cors_allow_credentials: bool,
    /// Seconds that browsers may remember a preflight answer.
    pub cors_max_age: i32,
    /// Whether `Vary: Origin` is added.
    pub cors_add_vary_header: bool,
    /// Path that the link button of TapisUI opens.
    pub tapis_ui_uri: String,
    /// Whether the link button uses `tapis_ui_uri`.
    pub tapis_ui_uri_redirect: bool,
    /// Text of the link button.
    pub tapis_ui_uri_description: String,
    /// Whether the proxy compresses answers.
    pub proxy_compression: bool,
    /// Encodings in order of preference.
    pub proxy_compression_encodings: Vec<String>,
    /// Content types that are not compressed, beside the ones that already are.
    pub proxy_compression_excluded_content_types: Vec<String>,
    /// Smallest body that is compressed, in bytes.
    pub proxy_compression_min_response_body_bytes: i32,
    /// A domain of the user's own that leads to the entry, lower-case; empty for none.
    pub custom_domain: String,
    /// Whether the service saw that the domain belongs to the user; written by the service.
    pub custom_domain_verified: bool,
}

impl Default for Networking {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            port: 5000,
            url: String::new(),
            tls_mode: TlsMode::Passthrough,
            ip_allow_list: Vec::new(),
            tapis_auth: false,
            tapis_auth_response_headers: BTreeMap::new(),
            tapis_auth_allowed_users: vec!["*".to_owned()],
            tapis_auth_return_path: "/".to_owned(),
            tapis_auth_excluded_paths: Vec::new(),
            tapis_auth_excluded_path_regex: Vec::new(),
            cors_allow_origins: Vec::new(),
            cors_allow_methods: Vec::new(),
            cors_allow_headers: Vec::new(),
            cors_allow_credentials: false,
            cors_max_age: 100,
            cors_add_vary_header: true,
            tapis_ui_uri: String::new(),
            tapis_ui_uri_redirect: false,
            tapis_ui_uri_description: String::new(),
            proxy_compression: true,
            proxy_compression_encodings: ENCODINGS.iter().map(|name| (*name).to_owned()).collect(),
            proxy_compression_excluded_content_types: Vec::new(),
            proxy_compression_min_response_body_bytes: 1024,
            custom_domain: String::new(),
            custom_domain_verified: false,
        }
    }
}

const ENCODINGS: [&str; 3] = ["zstd", "br", "gzip"];

/// The networking of a pod that names none: one HTTP entry on port 5000.
pub fn default_entries() -> BTreeMap<String, Networking> {
    BTreeMap::from([("default".to_owned(), Networking::default())])
}

/// Whether a pod's container is open to visitors. One that does not pass its probes yet is open only where the start says
/// that nobody shall wait for them. Which of its entries then lead visitors there says [`crate::routing::reach`].
pub fn live(status: Status, said: &StatusContainer) -> bool {
    status == Status::Available && (said.ready != Some(false) || said.open_unready)
}

impl Networking {
    /// The user's own domain, if it leads to the entry.
    pub fn domain(&self) -> Option<&str> {
        let proven = self.custom_domain_verified && !self.custom_domain.is_empty();
        (proven && self.protocol == Protocol::Http).then_some(self.custom_domain.as_str())
    }
}
