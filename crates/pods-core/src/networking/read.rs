//! Reading the `networking` object of a body.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    ENCODINGS, Networking, Protocol, TlsMode,
    grammar::{
        check_domain, check_excluded_pattern, is_content_type, is_excluded_path, is_header_name,
        is_host_character, is_network, is_origin, is_reserved_header, is_token,
    },
};
use crate::{
    domains,
    input::{Field, Reader, Violations},
    limits::NETWORKING_ENTRIES_MAX,
    mount::Owner,
    visitor::paths,
};

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
        let domain = entry.custom_domain.as_str();
        if !domain.is_empty() && networking.values().any(|other: &Networking| other.custom_domain == domain) {
            violations.rule(&place, "another entry of the pod has the same custom_domain");
        }
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
            && url.chars().all(is_host_character))
    {
        r.rule(
            "url",
            "networking.url is written by the service; leave it out or send back what you received",
        );
    }
    read_tls(r, &mut entry);
    read_access(r, &mut entry);
    read_auth(r, &mut entry);
    read_cors(r, &mut entry);
    read_ui(r, &mut entry);
    read_compression(r, &mut entry);
    read_domain(r, &mut entry, owner);
    reader.finish();
    normalise(&mut entry);
    entry
}

fn read_tls(r: &mut Reader<'_>, entry: &mut Networking) {
    if let Field::Set(mode) = r.string("tls_mode") {
        match mode.to_ascii_lowercase().parse() {
            Ok(mode) => entry.tls_mode = mode,
            Err(_) => r.rule("tls_mode", "must be passthrough or terminate"),
        }
    }
    if entry.tls_mode == TlsMode::Terminate && entry.protocol != Protocol::Postgres {
        r.rule("tls_mode", "terminate is only possible with protocol postgres");
    }
}

fn read_domain(r: &mut Reader<'_>, entry: &mut Networking, owner: Owner) {
    if let Field::Set(domain) = r.string("custom_domain")
        && !domain.is_empty()
    {
        let domain = domain.to_ascii_lowercase();
        match (owner, check_domain(&domain)) {
            (Owner::Template, _) => r.rule("custom_domain", "a template cannot name a custom_domain"),
            (Owner::Pod, Err(problem)) => r.rule("custom_domain", problem),
            (Owner::Pod, Ok(())) if entry.protocol != Protocol::Http => {
                r.rule("custom_domain", "networking.custom_domain is only possible with protocol http");
            }
            (Owner::Pod, Ok(())) => entry.custom_domain = domain,
        }
    }
    // What the service says about a domain and its certificate may be sent back; it is not the client's to change.
    for key in ["custom_domain_verified", "cert_ready", "cert_state"] {
        let _ = r.take(key);
    }
}

/// Refuses domains that are, or lie below, one of the hosts of the platform: no record could prove them. One that was
/// proven is no reason to refuse what else a request changes.
pub fn check_domains<'h>(
    entries: &BTreeMap<String, Networking>,
    hosts: impl Iterator<Item = &'h str> + Clone,
    violations: &mut Violations,
) {
    for (name, entry) in entries.iter().filter(|(_, entry)| !entry.custom_domain_verified) {
        if domains::is_reserved(&entry.custom_domain, hosts.clone()) {
            violations.rule(
                &["networking", name, "custom_domain"],
                "custom_domain must not be a host of the platform or lie below one",
            );
        }
    }
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
}

fn read_auth(r: &mut Reader<'_>, entry: &mut Networking) {
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
    if let Some(bad) = headers.keys().find(|name| is_reserved_header(name)) {
        let problem = format!("\"{bad}\" cannot be set: it belongs to the connection or to a login");
        r.rule("tapis_auth_response_headers", problem);
    }
    if headers
        .values()
        .any(|value| value.len() > 1024 || value.contains(|c: char| c.is_control() && c != '\t'))
    {
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
    } else if paths::local(path).is_none() {
        // Whoever came back there would be led to a login again, or to another host.
        r.rule("tapis_auth_return_path", "must not start with // and not be below /.well-known/tapis-pods");
    }
    read_excluded(r, entry);
}

fn read_excluded(r: &mut Reader<'_>, entry: &mut Networking) {
    set(r.strings("tapis_auth_excluded_paths"), &mut entry.tapis_auth_excluded_paths);
    limit(r, "tapis_auth_excluded_paths", &entry.tapis_auth_excluded_paths, 50, 256);
    if !entry.tapis_auth_excluded_paths.iter().all(|path| is_excluded_path(path)) {
        r.rule(
            "tapis_auth_excluded_paths",
            "each path must start with / and be ASCII without spaces or backticks",
        );
    }
    set(r.strings("tapis_auth_excluded_path_regex"), &mut entry.tapis_auth_excluded_path_regex);
    limit(r, "tapis_auth_excluded_path_regex", &entry.tapis_auth_excluded_path_regex, 20, 512);
    for text in entry.tapis_auth_excluded_path_regex.iter().take(20) {
        if let Err(problem) = check_excluded_pattern(text) {
            r.rule(
                "tapis_auth_excluded_path_regex",
                format!(
                    "each must be a regular expression (RE2) in ASCII without spaces or backticks; \"{}\" is none: \
                     {problem}",
                    clip(text)
                ),
            );
        }
    }
}

fn read_cors(r: &mut Reader<'_>, entry: &mut Networking) {
    set(r.strings("cors_allow_origins"), &mut entry.cors_allow_origins);
    set(r.strings("cors_allow_methods"), &mut entry.cors_allow_methods);
    set(r.strings("cors_allow_headers"), &mut entry.cors_allow_headers);
    limit(r, "cors_allow_origins", &entry.cors_allow_origins, 50, 256);
    limit(r, "cors_allow_methods", &entry.cors_allow_methods, 20, 32);
    limit(r, "cors_allow_headers", &entry.cors_allow_headers, 50, 128);
    each(
        r,
        "cors_allow_origins",
        &entry.cors_allow_origins,
        is_origin,
        "no origin as browsers send it: *, null or scheme://host[:port] in lower case, without a path",
    );
    each(r, "cors_allow_methods", &entry.cors_allow_methods, is_token, "no method of HTTP");
    each(r, "cors_allow_headers", &entry.cors_allow_headers, is_token, "no name of an HTTP header");
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
    let types = &entry.proxy_compression_excluded_content_types;
    limit(r, key, types, 50, 128);
    each(r, key, types, is_content_type, "no content type like text/html; parameters are not possible");
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

/// Names the first text that is not what it must be.
fn each(r: &mut Reader<'_>, key: &str, list: &[String], good: impl Fn(&str) -> bool, otherwise: &str) {
    if let Some(bad) = list.iter().find(|text| !good(text)) {
        r.rule(key, format!("\"{}\" is {otherwise}", clip(bad)));
    }
}

fn clip(text: &str) -> String {
    text.chars().take(60).collect()
}
