//! The configuration file: who exists on this pretended platform.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use url::Url;

/// Everything the stand-in is told; one TOML file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on, `host:port`.
    pub bind: String,
    /// Where keys, granted roles and OAuth clients are kept.
    pub state_dir: PathBuf,
    /// The site that the tenants belong to unless they say otherwise; it is the primary one unless `sites` says otherwise.
    pub site_id: String,
    /// Life of an access token in seconds.
    #[serde(default = "four_hours")]
    pub access_token_seconds: i64,
    /// At least one; a request whose host belongs to no tenant is taken as the first one's.
    pub tenants: Vec<Tenant>,
    /// People who can log in.
    #[serde(default)]
    pub users: Vec<User>,
    /// Services that can ask for service tokens.
    #[serde(default)]
    pub services: Vec<Service>,
    /// Sites; left out, there is the one of `site_id`.
    #[serde(default)]
    pub sites: Vec<Site>,
}

/// A tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its id.
    pub tenant_id: String,
    /// Where its users reach the platform, exactly as tapipy's users type it.
    pub base_url: Url,
    /// Is it the administration tenant of its site, the one services belong to?
    #[serde(default)]
    pub admin: bool,
    /// Its site, when it is not the one of the file.
    pub site_id: Option<String>,
}

/// Somebody who can log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub username: String,
    /// The password, in plain text: this is a development tool.
    pub password: String,
    /// The tenants the account exists in; left out, all of them.
    pub tenants: Option<Vec<String>>,
    /// Roles in each of these tenants.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A service with its password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name, `pods` for instance.
    pub name: String,
    /// The password, in plain text.
    pub password: String,
}

/// A site.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its id.
    pub site_id: String,
    /// Is it the primary site?
    #[serde(default)]
    pub primary: bool,
    /// Where the site is reached; left out, the base URL of its administration tenant.
    pub base_url: Option<Url>,
    /// How the primary site names its tenants; contains `${tenant_id}`.
    pub tenant_base_url_template: Option<String>,
    /// The services that run there.
    #[serde(default)]
    pub services: Vec<String>,
}

fn four_hours() -> i64 {
    4 * 3600
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML of this shape, or contradicts itself; the error names the file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a usable configuration", file.display()))
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut config: Self = toml::from_str(text)?;
        if config.tenants.is_empty() {
            bail!("it names no tenant");
        }
        if config.sites.is_empty() {
            config.sites.push(Site {
                site_id: config.site_id.clone(),
                primary: true,
                base_url: None,
                tenant_base_url_template: None,
                services: Vec::new(),
            });
        }
        for tenant in &config.tenants {
            let site = config.site_of(tenant);
            if !config.sites.iter().any(|known| known.site_id == site) {
                bail!("tenant {} belongs to the site {site}, which is not among the sites", tenant.tenant_id);
            }
            if tenant.base_url.host_str().is_none() {
                bail!("the base_url of tenant {} has no host", tenant.tenant_id);
            }
        }
        Ok(config)
    }

    /// The site of a tenant.
    #[must_use]
    pub fn site_of<'a>(&'a self, tenant: &'a Tenant) -> &'a str {
        tenant.site_id.as_deref().unwrap_or(&self.site_id)
    }

    /// The tenant with this id.
    #[must_use]
    pub fn tenant(&self, tenant_id: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.tenant_id == tenant_id)
    }

    /// The tenant whose base URL has this host (port ignored), else the first one.
    #[must_use]
    pub fn tenant_of_host(&self, host: &str) -> &Tenant {
        let host = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        self.tenants
            .iter()
            .find(|tenant| tenant.base_url.host_str().is_some_and(|known| known.eq_ignore_ascii_case(host)))
            .unwrap_or(&self.tenants[0])
    }

    /// The administration tenant of a site: the one marked so, else its first.
    #[must_use]
    pub fn admin_tenant(&self, site_id: &str) -> Option<&Tenant> {
        let of_site = || self.tenants.iter().filter(|tenant| self.site_of(tenant) == site_id);
        of_site().find(|tenant| tenant.admin).or_else(|| of_site().next())
    }

    /// The user with this name, if the account exists in the tenant.
    #[must_use]
    pub fn user(&self, tenant_id: &str, username: &str) -> Option<&User> {
        self.users.iter().find(|user| {
            user.username == username
                && user.tenants.as_ref().is_none_or(|tenants| tenants.iter().any(|t| t == tenant_id))
        })
    }
}

/// The base URL as clients expect it: no slash at the end.
pub(crate) fn without_slash(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::Config;

    const TEXT: &str = r#"
        bind = "127.0.0.1:0"
        state_dir = "state"
        site_id = "dev"
        [[tenants]]
        tenant_id = "dev"
        base_url = "http://dev.localhost:8080"
        [[tenants]]
        tenant_id = "admin"
        base_url = "http://admin.localhost:8080"
        admin = true
        [[users]]
        username = "alice"
        password = "a"
        tenants = ["dev"]
    "#;

    #[test]
    fn hosts_choose_the_tenant_and_the_first_is_the_default() {
        let config = Config::parse(TEXT).unwrap();
        assert_eq!(config.tenant_of_host("ADMIN.localhost:1").tenant_id, "admin");
        assert_eq!(config.tenant_of_host("dev.localhost").tenant_id, "dev");
        assert_eq!(config.tenant_of_host("127.0.0.1:18004").tenant_id, "dev");
        assert_eq!(config.admin_tenant("dev").unwrap().tenant_id, "admin");
    }

    #[test]
    fn accounts_exist_in_their_tenants_only() {
        let config = Config::parse(TEXT).unwrap();
        assert!(config.user("dev", "alice").is_some());
        assert!(config.user("admin", "alice").is_none());
    }

    #[test]
    fn a_tenant_of_an_unknown_site_is_refused() {
        let text = format!("{TEXT}\n[[tenants]]\ntenant_id='x'\nbase_url='http://x'\nsite_id='nowhere'");
        assert!(Config::parse(&text).unwrap_err().to_string().contains("nowhere"));
    }
}
