//! Networking entries of a pod (Tapis Pods documentation, "Pod Networking").

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    input::{Field, Reader, Violations},
    limits::NETWORKING_ENTRIES_MAX,
    mount::Owner,
    status::text_enum,
};

text_enum! {
    /// How an entry is reached.
    Protocol {
        /// HTTPS at its own host, plain HTTP to the container.
        Http => "http",
        /// TLS at its own host, plain TCP to the container.
        Tcp => "tcp",
        /// As the PostgreSQL wire protocol starts TLS; the container terminates it.
        Postgres => "postgres",
        /// Reachable inside the cluster only; no route.
        LocalOnly => "local_only",
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
    /// Path prefixes that need no login.
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

/// Reads the `networking` object of a pod's body; each entry starts from the defaults.
pub fn read(place: &[&str], value: Value, violations: &mut Violations) -> BTreeMap<String, Networking> {
    read_entries(place, value, Owner::Pod, violations)
}

/// Reads the `networking` object of a template. A domain belongs to one pod, so a template cannot name one.
pub fn read_template(
    place: &[&str],
    value: Value,
    violations: &mut Violations,
) -> BTreeMap<String, Networking> {
    read_entries(place, value, Owner::Template, violations)
}

fn read_entries(
    place: &[&str],
    value: Value,
    owner: Owner,
    violations: &mut Violations,
) -> BTreeMap<String, Networking> {
    let Value::Object(entries) = value else {
        violations.push(place, "Input should be a valid dictionary, expected a JSON object");
        return BTreeMap::new();
    };
    if entries.len() > NETWORKING_ENTRIES_MAX {
        violations.rule(place, format!("networking must have at most {NETWORKING_ENTRIES_MAX} entries"));
        return BTreeMap::new();
    }
    let mut networking = BTreeMap::new();
    for (name, value) in entries {
        let place = [place, &[name.as_str()]].concat();
        let name_fits = (3..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !name_fits {
            violations.rule(&place, "networking names must be 3 to 64 lower-case letters and digits");
        }
        if name == "self" {
            violations.rule(
                &place,
                "\"self\" cannot be the name of a networking entry, because clients cannot read it",
            );
        }
        let entry = read_entry(&place, value, owner, violations);
        networking.insert(name, entry);
    }
    networking
}

fn read_entry(place: &[&str], value: Value, owner: Owner, violations: &mut Violations) -> Networking {
    let mut entry = Networking::default();
    let mut reader = Reader::new(place, value, violations);
    let r = &mut reader;
    if let Field::Set(protocol) = r.string("protocol") {
        match protocol.to_ascii_lowercase().parse() {
            Ok(protocol) => entry.protocol = protocol,
            Err(_) => r.rule("protocol", "networking.protocol must be http, tcp, postgres or local_only"),
        }
    }
    if let Field::Set(port) = r.integer("port") {
        entry.port = port;
        if !(10..=65_535).contains(&port) {
            r.rule("port", format!("networking.port must be between 10 and 65535. Got port: {port}"));
        }
    }
    if let Field::Set(url) = r.string("url")
        && !url.is_empty()
        && !(url.len() <= 128
            && url.starts_with(|c: char| c.is_ascii_lowercase())
            && url.chars().all(host_character))
    {
        r.rule(
            "url",
            "networking.url is written by the service; leave it out or send back what you received",
        );
    }
    read_access(r, &mut entry);
    read_cors(r, &mut entry);
    read_ui(r, &mut entry);
    read_compression(r, &mut entry);
    read_domain(r, &mut entry, owner);
    reader.finish();
    normalise(&mut entry);
    entry
}

fn read_domain(r: &mut Reader<'_>, entry: &mut Networking, owner: Owner) {
    if let Field::Set(domain) = r.string("custom_domain")
        && !domain.is_empty()
    {
        match (owner, check_domain(&domain)) {
            (Owner::Template, _) => r.rule("custom_domain", "a template cannot name a custom_domain"),
            (Owner::Pod, Err(problem)) => r.rule("custom_domain", problem),
            (Owner::Pod, Ok(())) => entry.custom_domain = domain.to_ascii_lowercase(),
        }
    }
    // What the service says about a domain and its certificate may be sent back; it is not the client's to change.
    for key in ["custom_domain_verified", "cert_ready", "cert_state"] {
        let _ = r.take(key);
    }
}

/// Checks a domain name of a user.
fn check_domain(domain: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > 253 || !domain.contains('.') || !domain.split('.').all(label) {
        return Err(
            "custom_domain must be a bare domain name like shop.example.org, without scheme and port",
        );
    }
    let lower = domain.to_ascii_lowercase();
    if lower.starts_with("pods.") || lower.contains(".pods.") {
        return Err("custom_domain must not be a name of the service's own: it contains \"pods.\"");
    }
    if domain.parse::<IpAddr>().is_ok() {
        return Err("custom_domain must be a domain name, not an address");
    }
    Ok(())
}

fn set<T>(field: Field<T>, target: &mut T) {
    if let Field::Set(value) = field {
        *target = value;
    }
}

fn read_access(r: &mut Reader<'_>, entry: &mut Networking) {
    set(r.strings("ip_allow_list"), &mut entry.ip_allow_list);
    if let Some(bad) = entry.ip_allow_list.iter().find(|range| !is_network(range)) {
        r.rule("ip_allow_list", format!("\"{}\" is no IP address or network like 10.1.0.0/16", clip(bad)));
    }
    limit(r, "ip_allow_list", &entry.ip_allow_list, 100, 64);
    set(r.boolean("tapis_auth"), &mut entry.tapis_auth);
    if entry.tapis_auth && entry.protocol != Protocol::Http {
        r.rule("tapis_auth", "networking.tapis_auth is only possible with protocol http");
    }
    set(r.string_map("tapis_auth_response_headers"), &mut entry.tapis_auth_response_headers);
    let headers = &entry.tapis_auth_response_headers;
    if headers.len() > 32 {
        r.rule("tapis_auth_response_headers", "at most 32 headers are possible");
    }
    if let Some(bad) = headers.keys().find(|name| !is_header_name(name)) {
        r.rule("tapis_auth_response_headers", format!("\"{}\" is no HTTP header name", clip(bad)));
    }
    if headers.values().any(|value| value.len() > 1024 || value.contains(['\r', '\n'])) {
        r.rule("tapis_auth_response_headers", "values must be one line of at most 1024 bytes");
    }
    set(r.strings("tapis_auth_allowed_users"), &mut entry.tapis_auth_allowed_users);
    if entry.tapis_auth_allowed_users.is_empty() {
        r.rule("tapis_auth_allowed_users", "must name somebody; [\"*\"] is every user of the tenant");
    }
    limit(r, "tapis_auth_allowed_users", &entry.tapis_auth_allowed_users, 500, 128);
    set(r.string("tapis_auth_return_path"), &mut entry.tapis_auth_return_path);
    let path = &entry.tapis_auth_return_path;
    let path_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    if !path.starts_with('/') || path.len() > 180 || !path.chars().all(path_character) {
        r.rule(
            "tapis_auth_return_path",
            "must start with / and have at most 180 of letters, digits, . - _ /",
        );
    }
    set(r.strings("tapis_auth_excluded_paths"), &mut entry.tapis_auth_excluded_paths);
    limit(r, "tapis_auth_excluded_paths", &entry.tapis_auth_excluded_paths, 50, 256);
    let in_rule = |text: &String| text.chars().all(|c| c.is_ascii_graphic() && c != '`');
    if !entry.tapis_auth_excluded_paths.iter().all(|path| path.starts_with('/') && in_rule(path)) {
        r.rule(
            "tapis_auth_excluded_paths",
            "each path must start with / and be ASCII without spaces or backticks",
        );
    }
    set(r.strings("tapis_auth_excluded_path_regex"), &mut entry.tapis_auth_excluded_path_regex);
    limit(r, "tapis_auth_excluded_path_regex", &entry.tapis_auth_excluded_path_regex, 20, 512);
    let compiles = |text: &String| in_rule(text) && regex::Regex::new(text).is_ok();
    if !entry.tapis_auth_excluded_path_regex.iter().all(compiles) {
        r.rule(
            "tapis_auth_excluded_path_regex",
            "each must be a regular expression (RE2) in ASCII without backticks",
        );
    }
}

fn read_cors(r: &mut Reader<'_>, entry: &mut Networking) {
    set(r.strings("cors_allow_origins"), &mut entry.cors_allow_origins);
    set(r.strings("cors_allow_methods"), &mut entry.cors_allow_methods);
    set(r.strings("cors_allow_headers"), &mut entry.cors_allow_headers);
    limit(r, "cors_allow_origins", &entry.cors_allow_origins, 50, 256);
    limit(r, "cors_allow_methods", &entry.cors_allow_methods, 20, 32);
    limit(r, "cors_allow_headers", &entry.cors_allow_headers, 50, 128);
    if !entry.cors_allow_origins.is_empty() && entry.protocol != Protocol::Http {
        r.rule("cors_allow_origins", "networking.cors_allow_origins is only possible with protocol http");
    }
    set(r.boolean("cors_allow_credentials"), &mut entry.cors_allow_credentials);
    set(r.boolean("cors_add_vary_header"), &mut entry.cors_add_vary_header);
    set(r.integer("cors_max_age"), &mut entry.cors_max_age);
    if !(0..=100).contains(&entry.cors_max_age) {
        r.rule("cors_max_age", "networking.cors_max_age must be between 0 and 100 seconds");
    }
}

fn read_ui(r: &mut Reader<'_>, entry: &mut Networking) {
    set(r.string("tapis_ui_uri"), &mut entry.tapis_ui_uri);
    let uri = &entry.tapis_ui_uri;
    let path = uri.trim_start_matches('/');
    let character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '/');
    let well_formed = uri.len() <= 128
        && path.len() < uri.len()
        && path.len() >= 2
        && path.starts_with(|c: char| c.is_ascii_lowercase())
        && path.chars().all(character);
    if !uri.is_empty() && !well_formed {
        r.rule("tapis_ui_uri", "must be empty or a path like /lab of at most 128 lower-case characters");
    }
    set(r.boolean("tapis_ui_uri_redirect"), &mut entry.tapis_ui_uri_redirect);
    set(r.string("tapis_ui_uri_description"), &mut entry.tapis_ui_uri_description);
    if entry.tapis_ui_uri_description.len() > 255 || !entry.tapis_ui_uri_description.is_ascii() {
        r.rule("tapis_ui_uri_description", "must be ASCII of at most 255 characters");
    }
}

fn read_compression(r: &mut Reader<'_>, entry: &mut Networking) {
    set(r.boolean("proxy_compression"), &mut entry.proxy_compression);
    set(r.strings("proxy_compression_encodings"), &mut entry.proxy_compression_encodings);
    let encodings = &entry.proxy_compression_encodings;
    let unique = encodings.iter().enumerate().all(|(at, name)| !encodings[..at].contains(name));
    if !unique || !encodings.iter().all(|name| ENCODINGS.contains(&name.as_str())) {
        r.rule("proxy_compression_encodings", "must be some of zstd, br and gzip, each once");
    }
    let key = "proxy_compression_excluded_content_types";
    set(r.strings(key), &mut entry.proxy_compression_excluded_content_types);
    limit(r, key, &entry.proxy_compression_excluded_content_types, 50, 128);
    let key = "proxy_compression_min_response_body_bytes";
    set(r.integer(key), &mut entry.proxy_compression_min_response_body_bytes);
    if !(0..=10_485_760).contains(&entry.proxy_compression_min_response_body_bytes) {
        r.rule(key, "must be between 0 and 10485760 bytes");
    }
}

/// What only HTTP entries can have is silently off for the others, as clients of the service expect.
fn normalise(entry: &mut Networking) {
    if entry.protocol != Protocol::Http {
        entry.proxy_compression = false;
        entry.tapis_auth_excluded_paths.clear();
        entry.tapis_auth_excluded_path_regex.clear();
    }
}

fn limit(r: &mut Reader<'_>, key: &str, list: &[String], entries: usize, bytes: usize) {
    if list.len() > entries || list.iter().any(|text| text.len() > bytes || !text.is_ascii()) {
        r.rule(key, format!("at most {entries} entries of at most {bytes} ASCII characters are possible"));
    }
}

fn host_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

pub(crate) fn is_network(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.chars().all(|c| c.is_ascii_digit())
            && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
    })
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests;
