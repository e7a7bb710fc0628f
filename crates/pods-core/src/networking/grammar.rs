//! What the texts of a networking entry may look like.

use std::net::{IpAddr, Ipv6Addr};

use super::pattern;
use crate::domains::DOMAIN_MAX;

/// Headers that say how a message is framed or forwarded, or that carry a login. Nobody but the proxy sets them.
const RESERVED_HEADERS: [&str; 16] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-tapis-token",
];

/// Checks a domain of a user, in lower case.
pub(crate) fn check_domain(domain: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > DOMAIN_MAX || !domain.contains('.') || !domain.split('.').all(label) {
        return Err(
            "custom_domain must be a bare domain name like shop.example.org of at most 241 characters, without scheme \
             and port",
        );
    }
    // Hosts of pods are `<label>.pods.<tenant host>`, and their certificates are for `*.pods.<tenant host>`.
    if domain.split('.').any(|label| label == "pods") {
        return Err("custom_domain must not be like a name of the service's own: a part of it is \"pods\"");
    }
    if domain.parse::<IpAddr>().is_ok() {
        return Err("custom_domain must be a domain name, not an address");
    }
    Ok(())
}

pub(super) fn is_host_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')
}

pub(super) fn is_header_name(name: &str) -> bool {
    name.len() <= 128 && is_token(name)
}

/// Whether a text is a token of HTTP: the name of a header or a method.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// Whether a text is a content type without parameters. The proxy drops the whole router over one that it cannot read.
pub(crate) fn is_content_type(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub))
}

/// Whether a text is `*`, `null` or an origin as browsers send it: `scheme://host[:port]` in lower case. The proxy
/// compares texts, so that another spelling would never be met.
pub(super) fn is_origin(text: &str) -> bool {
    if matches!(text, "*" | "null") {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'+' | b'-' | b'.'));
    let (host, port) = match rest.rsplit_once(':') {
        // The colons within the brackets belong to the address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| is_host_character(c) || c == '_'),
    };
    let port_fits = |port: &str| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok();
    scheme_fits && host_fits && port.is_none_or(port_fits)
}

pub(crate) fn is_network(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| {
        // A leading zero is no number to the proxy.
        (prefix == "0" || !prefix.starts_with(['0', '+']))
            && !prefix.is_empty()
            && prefix.chars().all(|c| c.is_ascii_digit())
            && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
    })
}

/// Whether a header cannot be one of those that tell a pod who its visitor is. Everything but letters and digits counts
/// as `-`, because programs in the manner of CGI make `_` of all of it.
pub fn is_reserved_header(name: &str) -> bool {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    RESERVED_HEADERS.contains(&name.as_str()) || name.starts_with("x-forwarded-")
}

/// Whether a path can stand in a rule of the proxy.
pub(crate) fn is_excluded_path(path: &str) -> bool {
    path.starts_with('/') && stands_in_rule(path)
}

/// Checks an expression for paths.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_excluded_pattern(text: &str) -> Result<(), String> {
    if !stands_in_rule(text) {
        return Err("it has a space, a backtick or something that is not ASCII".to_owned());
    }
    // Without a character it fits every path.
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    pattern::check(text)
}

fn stands_in_rule(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() && c != '`')
}
