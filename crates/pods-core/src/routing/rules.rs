//! Rules of routers, and the checks of everything that is written into one.

use crate::{Networking, domains, networking};

/// Hosts of pods: `<label>.pods.<tenant host>`.
pub(super) const POD_HOSTS: &str = r"^[^.]+\.pods\.";

/// What a pod may read as another path than Traefik does: encoded `/ % ; ? #`, and `\`, `;`, control characters, what
/// Unicode has as another form of dots and slashes, and what is no UTF-8, which an expression of Traefik sees as U+FFFD.
/// Traefik has removed dot segments and decoded the rest before it compares.
const AMBIGUOUS_PATHS: &str = concat!(
    r"(?i)%(2f|25|3b|3f|23)",
    r"|[\\;\x00-\x1f\x7f\x{2024}-\x{2026}\x{FF0E}\x{FF0F}\x{FF3C}\x{FFFD}]"
);

/// Requests for a host.
pub(super) fn host(host: &str) -> String {
    format!("Host(`{host}`)")
}

/// TLS connections for a host.
pub(super) fn host_sni(host: &str) -> String {
    format!("HostSNI(`{host}`)")
}

/// Requests for a host and a path below a prefix.
pub(super) fn below(host: &str, prefix: &str) -> String {
    format!("Host(`{host}`) && PathPrefix(`{prefix}/`)")
}

/// Requests for a host and one of the paths that need no login; `None` when the entry has no such paths. `/open` is that
/// path and what is below it, not `/openly`; `/open/` is what is below it. A path that the pod could read as another one
/// needs a login.
pub(super) fn excluded(host: &str, entry: &Networking) -> Option<String> {
    let paths = entry.tapis_auth_excluded_paths.iter().map(|path| match path.ends_with('/') {
        true => format!("PathPrefix(`{path}`)"),
        false => format!("Path(`{path}`) || PathPrefix(`{path}/`)"),
    });
    let patterns = entry.tapis_auth_excluded_path_regex.iter().map(|text| format!("PathRegexp(`{text}`)"));
    let all: Vec<String> = paths.chain(patterns).collect();
    let any = all.join(" || ");
    (!all.is_empty()).then(|| format!("Host(`{host}`) && ({any}) && !PathRegexp(`{AMBIGUOUS_PATHS}`)"))
}

/// Checks what [`excluded`] writes.
pub(super) fn check_excluded(entry: &Networking) -> Result<(), String> {
    if let Some(bad) = entry.tapis_auth_excluded_paths.iter().find(|path| !networking::is_excluded_path(path))
    {
        return Err(format!("tapis_auth_excluded_paths: {bad:?} is no path"));
    }
    for text in &entry.tapis_auth_excluded_path_regex {
        networking::check_excluded_pattern(text).map_err(|problem| {
            format!("tapis_auth_excluded_path_regex: {text:?} cannot be used: {problem}")
        })?;
    }
    Ok(())
}

/// The host of an entry is `<label>.pods.<tenant host>`. Anything else could take requests from the API or from
/// the platform, and a character outside of a host name could leave the rule that it is written into.
pub(super) fn check_pod_host(host: &str) -> Result<(), String> {
    let mut labels = host.split('.');
    if is_host_name(host) && labels.nth(1) == Some("pods") && labels.next().is_some() {
        return Ok(());
    }
    Err(format!("url {host:?} is no host of a pod"))
}

/// A user's own domain is never a name of a tenant's.
pub(super) fn check_domain(domain: &str, tenant_host: &str) -> Result<(), String> {
    networking::check_domain(domain)?;
    match domains::is_reserved(domain, [tenant_host]) {
        true => Err(format!("custom_domain {domain:?} is a name of the service's own")),
        false => Ok(()),
    }
}

/// Checks a Kubernetes name that becomes part of a host name.
pub(super) fn check_label(what: &str, text: &str) -> Result<(), String> {
    if is_label(text) { Ok(()) } else { Err(format!("{what} {text:?} is no DNS label")) }
}

/// Whether a text can be the name of a pod's router.
pub(super) fn is_router_name(name: &str) -> bool {
    name.starts_with("pods-")
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn is_host_name(host: &str) -> bool {
    host.len() <= 253 && host.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}
