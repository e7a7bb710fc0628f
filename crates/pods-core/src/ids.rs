//! Identifiers and the names that are derived from them.

use std::fmt;

use uuid::Uuid;

/// Longest Kubernetes name that is also a DNS label (RFC 1123), in characters.
pub const DNS_LABEL_MAX: usize = 63;

/// Ids that would collide with a route or a host name of the service (docs/api.md, "Pod ids").
pub const RESERVED_POD_IDS: &[&str] = &[
    "admin",
    "auth",
    "bulk",
    "catalog",
    "catalogs",
    "docs",
    "events",
    "explain",
    "files",
    "from",
    "healthcheck",
    "image",
    "images",
    "jupyter",
    "metrics",
    "node",
    "nodes",
    "openapi",
    "pods",
    "route",
    "routes",
    "secret",
    "secrets",
    "snapshot",
    "snapshots",
    "stack",
    "stacks",
    "tags",
    "template",
    "templates",
    "traefik",
    "usage",
    "v3",
    "volume",
    "volumes",
    "www",
];

/// The site and tenant that a request acts in. Queries for tenant data demand one, so that it cannot be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant {
    /// The organisation that runs the tenant, for example `tacc`.
    pub site_id: String,
    /// The isolated user space, for example `icicle`.
    pub tenant_id: String,
}

impl Tenant {
    /// Names a tenant of a site.
    pub fn new(site_id: impl Into<String>, tenant_id: impl Into<String>) -> Self {
        Self { site_id: site_id.into(), tenant_id: tenant_id.into() }
    }
}

/// A validated pod id: `[a-z][a-z0-9]+`, 3 to 64 characters, not reserved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId(String);

/// Why a text is no pod id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodIdError {
    /// Not between 3 and 64 characters.
    #[error("pod_id must have 3 to 64 characters, it has {0}")]
    Length(usize),
    /// A character outside of `[a-z][a-z0-9]+`.
    #[error("pod_id must be lower-case letters and digits and start with a letter")]
    Characters,
    /// Collides with a route or host of the service.
    #[error("pod_id \"{0}\" is reserved by the service, choose another one")]
    Reserved(String),
}

impl PodId {
    /// Checks the grammar of a pod id. Whether its Kubernetes and host names fit is checked with the tenant at
    /// hand, see [`name_problems`].
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, PodIdError> {
        let length = text.chars().count();
        if !(3..=64).contains(&length) {
            return Err(PodIdError::Length(length));
        }
        let mut characters = text.chars();
        let starts_well = characters.next().is_some_and(|c| c.is_ascii_lowercase());
        if !starts_well || !characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            return Err(PodIdError::Characters);
        }
        if RESERVED_POD_IDS.contains(&text) {
            return Err(PodIdError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a pod's Service, its `app` label and its host name inside the cluster.
///
/// It is `pods-<site>-<tenant>-<pod_id>`, which templates rely on. Where the site or the tenant contains a hyphen
/// two different triples could spell the same name, so the first eight hex digits of the row's uid are appended.
pub fn k8_name(tenant: &Tenant, pod_id: &str, uid: Uuid) -> String {
    let base = format!("pods-{}-{}-{pod_id}", tenant.site_id, tenant.tenant_id);
    if tenant.site_id.contains('-') || tenant.tenant_id.contains('-') {
        format!("{base}-{}", short(uid))
    } else {
        base
    }
}

/// The name of the Kubernetes Pod and Secret of one start: `<k8_name>-<first eight hex digits of the instance>`.
pub fn instance_name(k8_name: &str, instance_id: Uuid) -> String {
    format!("{k8_name}-{}", short(instance_id))
}

/// The host of a networking entry: `<pod_id>.pods.<tenant host>` for `default`, else `<pod_id>-<entry>.pods...`.
pub fn entry_host(pod_id: &str, entry: &str, tenant_host: &str) -> String {
    match entry {
        "default" => format!("{pod_id}.pods.{tenant_host}"),
        other => format!("{pod_id}-{other}.pods.{tenant_host}"),
    }
}

/// Names that would be too long for Kubernetes or DNS, as sentences; empty when all fit.
///
/// The Pod's own name may have 253 characters, but it is also its default host name, so `k8_name` is held to a label.
pub fn name_problems<'a>(
    tenant: &Tenant,
    pod_id: &str,
    entries: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let name = k8_name(tenant, pod_id, Uuid::nil());
    if name.len() > DNS_LABEL_MAX {
        problems.push(format!(
            "pod_id is too long: its Kubernetes name has {} characters, at most {DNS_LABEL_MAX} are possible; \
             shorten it by {}",
            name.len(),
            name.len() - DNS_LABEL_MAX
        ));
    }
    for entry in entries.filter(|entry| *entry != "default") {
        let label = pod_id.len() + 1 + entry.len();
        if label > DNS_LABEL_MAX {
            problems.push(format!(
                "networking.{entry} is too long: the host label \"{pod_id}-{entry}\" has {label} characters, at \
                 most {DNS_LABEL_MAX} are possible"
            ));
        }
    }
    problems
}

fn short(id: Uuid) -> String {
    let mut text = id.simple().to_string();
    text.truncate(8);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_ids_follow_the_grammar() {
        for good in ["abc", "a12", "docpod"] {
            assert!(PodId::parse(good).is_ok(), "{good}");
        }
        for bad in ["ab", "", "1abc", "Abc", "a-b", "a_b", "äbc", "abc ", "a.b"] {
            assert!(PodId::parse(bad).is_err(), "{bad}");
        }
        assert!(PodId::parse(&"a".repeat(64)).is_ok());
        assert!(PodId::parse(&"a".repeat(65)).is_err());
        for reserved in RESERVED_POD_IDS.iter().filter(|id| id.len() > 2) {
            assert_eq!(PodId::parse(reserved), Err(PodIdError::Reserved((*reserved).to_owned())));
        }
    }

    #[test]
    fn names_of_hyphenated_tenants_cannot_collide() {
        let uid = Uuid::parse_str("01234567-89ab-4def-8123-456789abcdef").unwrap();
        assert_eq!(k8_name(&Tenant::new("tacc", "dev"), "shop", uid), "pods-tacc-dev-shop");
        assert_eq!(k8_name(&Tenant::new("tacc", "dev-two"), "shop", uid), "pods-tacc-dev-two-shop-01234567");
    }

    #[test]
    fn long_names_are_refused_with_the_number_to_shorten_by() {
        let tenant = Tenant::new("tacc", "tacc");
        let fits = "a".repeat(DNS_LABEL_MAX - "pods-tacc-tacc-".len());
        assert!(name_problems(&tenant, &fits, std::iter::empty()).is_empty());
        let longer = format!("{fits}aaa");
        assert!(name_problems(&tenant, &longer, std::iter::empty())[0].contains("shorten it by 3"));
        let hyphen = Tenant::new("tacc", "ta-c");
        assert!(name_problems(&hyphen, &fits, std::iter::empty())[0].contains("shorten it by 9"));
        assert_eq!(name_problems(&tenant, "shop", [&"n".repeat(60)[..], "default"].into_iter()).len(), 1);
    }
}
