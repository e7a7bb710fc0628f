//! What the texts of a networking entry may look like.

use std::net::IpAddr;

use super::pattern;

/// The longest domain that leaves room for the name of the record that proves it.
const DOMAIN_MAX: usize = 241;

/// Headers that say how a message is framed or forwarded, or that carry a login. Nobody but the proxy sets them.
const RESERVED_HEADERS: [&str; 15] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
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

/// Checks a domain name of a user.
pub(super) fn check_domain(domain: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > DOMAIN_MAX || !domain.contains('.') || !domain.split('.').all(label) {
        return Err(
            "custom_domain must be a bare domain name like shop.example.org of at most 241 characters, without scheme \
             and port",
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

pub(super) fn is_host_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')
}

pub(super) fn is_header_name(name: &str) -> bool {
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
        // A leading zero is no number to the proxy.
        (prefix == "0" || !prefix.starts_with(['0', '+']))
            && !prefix.is_empty()
            && prefix.chars().all(|c| c.is_ascii_digit())
            && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
    })
}

/// Whether a header cannot be one of those that tell a pod who its visitor is. `_` counts as `-`, as many programs
/// read it.
pub fn is_reserved_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    RESERVED_HEADERS.contains(&name.as_str()) || name.starts_with("x-forwarded-")
}

/// Whether a prefix of paths can stand in a rule of the proxy.
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
