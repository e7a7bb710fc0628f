//! Tenants and sites as read from the platform, and how they are found. Pure.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

/// A tenant of the platform.
pub struct Tenant {
    /// Its id.
    pub tenant_id: String,
    /// The site it belongs to.
    pub site_id: String,
    /// Where its users reach the platform.
    pub base_url: Url,
    /// The key its tokens are verified with; `None` when the platform shows none that is usable.
    pub(crate) key: Option<VerificationKey>,
}

/// A parsed public key and what tells it from another one.
pub(crate) struct VerificationKey {
    pub key: DecodingKey,
    pub fingerprint: [u8; 32],
}

impl Tenant {
    /// The host of its base URL; pods are reached below it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.base_url.host_str().unwrap_or_default()
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("tenant_id", &self.tenant_id)
            .field("site_id", &self.site_id)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

/// A site of the platform.
#[derive(Debug, Clone, Deserialize)]
pub struct Site {
    /// Its id.
    pub site_id: String,
    /// Is it the primary one?
    #[serde(default)]
    pub primary: bool,
    /// The services that run there.
    #[serde(default, deserialize_with = "null_is_default")]
    pub services: Vec<String>,
    /// How the primary site names the tenants of all sites; contains `${tenant_id}`.
    #[serde(default)]
    pub tenant_base_url_template: Option<String>,
    /// The tenant that services of this site belong to.
    #[serde(default)]
    pub site_admin_tenant_id: Option<String>,
}

/// A tenant as the platform writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct RawTenant {
    pub tenant_id: String,
    pub site_id: String,
    pub base_url: String,
    #[serde(default)]
    pub public_key: Option<String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// All tenants and sites as of one reading.
#[derive(Debug, Default)]
pub struct TenantList {
    tenants: HashMap<String, Arc<Tenant>>,
    hosts: HashMap<String, Arc<Tenant>>,
    sites: HashMap<String, Arc<Site>>,
}

impl TenantList {
    pub(crate) fn new(raw_tenants: Vec<RawTenant>, sites: Vec<Site>) -> Self {
        let template =
            sites.iter().find(|site| site.primary).and_then(|s| s.tenant_base_url_template.clone());
        let mut list = Self {
            sites: sites.into_iter().map(|site| (site.site_id.clone(), Arc::new(site))).collect(),
            ..Self::default()
        };
        let tenants: Vec<_> = raw_tenants.into_iter().filter_map(usable_tenant).map(Arc::new).collect();
        for tenant in &tenants {
            list.tenants.insert(tenant.tenant_id.clone(), tenant.clone());
            list.add_host(&normal_host(tenant.host()), tenant);
        }
        // After every base URL: a name made from the template never takes a host that a tenant calls its own.
        for tenant in &tenants {
            let named = template.as_ref().map(|text| text.replace("${tenant_id}", &tenant.tenant_id));
            let named = named.and_then(|text| Url::parse(&text).ok());
            if let Some(host) = named.as_ref().and_then(Url::host_str) {
                list.add_host(&normal_host(host), tenant);
            }
        }
        list
    }

    fn add_host(&mut self, host: &str, tenant: &Arc<Tenant>) {
        let owner = self.hosts.entry(host.to_owned()).or_insert_with(|| tenant.clone());
        if owner.tenant_id != tenant.tenant_id {
            tracing::debug!(host, "two tenants share a host; {} has it", owner.tenant_id);
        }
    }

    /// The tenant with this id.
    #[must_use]
    pub fn tenant(&self, tenant_id: &str) -> Option<&Arc<Tenant>> {
        self.tenants.get(tenant_id)
    }

    /// The tenant of a host: exactly the host of its base URL or of its name at the primary site, whatever the case and the port.
    #[must_use]
    pub fn tenant_of_host(&self, host: &str) -> Option<&Arc<Tenant>> {
        self.hosts.get(host).or_else(|| self.hosts.get(&normal_host(host)))
    }

    /// The site with this id.
    #[must_use]
    pub fn site(&self, site_id: &str) -> Option<&Arc<Site>> {
        self.sites.get(site_id)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }
}

fn usable_tenant(raw: RawTenant) -> Option<Tenant> {
    let base_url = match Url::parse(&raw.base_url) {
        Ok(url) if url.host_str().is_some() => url,
        _ => {
            tracing::warn!(tenant.id = raw.tenant_id, "a tenant without a usable base_url is left out");
            return None;
        }
    };
    let key = raw.public_key.as_deref().and_then(parse_key);
    if key.is_none() {
        tracing::warn!(
            tenant.id = raw.tenant_id,
            "a tenant without a usable public_key: no token of it is accepted"
        );
    }
    Some(Tenant { tenant_id: raw.tenant_id, site_id: raw.site_id, base_url, key })
}

fn parse_key(pem: &str) -> Option<VerificationKey> {
    let key = DecodingKey::from_rsa_pem(pem.trim().as_bytes()).ok()?;
    Some(VerificationKey { key, fingerprint: Sha256::digest(pem.trim().as_bytes()).into() })
}

/// Lower case, without port and without the dot at the end.
fn normal_host(host: &str) -> String {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => return format!("[{}]", address.to_ascii_lowercase()),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{RawTenant, Site, TenantList};

    pub fn raw(tenant_id: &str, site_id: &str, base_url: &str) -> RawTenant {
        RawTenant {
            tenant_id: tenant_id.into(),
            site_id: site_id.into(),
            base_url: base_url.into(),
            public_key: None,
        }
    }

    pub fn site(site_id: &str, primary: bool, services: &[&str]) -> Site {
        Site {
            site_id: site_id.into(),
            primary,
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            tenant_base_url_template: primary.then(|| "https://${tenant_id}.tapis.test".to_owned()),
            site_admin_tenant_id: None,
        }
    }

    #[test]
    fn hosts_match_exactly_whatever_case_and_port() {
        let list = TenantList::new(
            vec![raw("dev", "a", "https://dev.tapis.test"), raw("far", "b", "https://far.example:8443/")],
            vec![site("a", true, &[]), site("b", false, &[])],
        );
        let of = |host: &str| list.tenant_of_host(host).map(|tenant| tenant.tenant_id.clone());
        for (host, expected) in [
            ("dev.tapis.test", Some("dev")),
            ("DEV.tapis.test:8080", Some("dev")),
            ("dev.tapis.test.", Some("dev")),
            ("far.example", Some("far")),
            ("far.tapis.test", Some("far")),
            ("xdev.tapis.test", None),
            ("dev.tapis.test.evil.example", None),
            ("pod.pods.dev.tapis.test", None),
            ("tapis.test", None),
            ("[::1]:80", None),
            ("", None),
        ] {
            assert_eq!(of(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn a_templated_name_never_takes_a_tenants_own_host() {
        let list = TenantList::new(
            vec![raw("b", "a", "https://x.example"), raw("other", "a", "https://b.tapis.test")],
            vec![site("a", true, &[])],
        );
        assert_eq!(list.tenant_of_host("b.tapis.test").unwrap().tenant_id, "other");
    }

    #[test]
    fn a_tenant_without_address_is_left_out() {
        let list = TenantList::new(vec![raw("dev", "a", "nonsense")], vec![]);
        assert!(list.tenant("dev").is_none());
    }
}
