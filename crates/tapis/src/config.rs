//! The section `[tapis]` of the configuration.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// Where the platform is and how this service is known to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapisConfig {
    /// Where the tenants and sites of the installation are asked: the base URL of the primary site's administration tenant.
    pub base_url: Url,
    /// Where service tokens and roles are asked; left out, the base URL of the service's own tenant.
    #[serde(default)]
    pub security_kernel_url: Option<Url>,
    /// The name this service authenticates with.
    #[serde(default = "defaults::service_name")]
    pub service_name: String,
    /// The tenant this service belongs to.
    #[serde(default = "defaults::service_tenant_id")]
    pub service_tenant_id: String,
    /// The password for service tokens; empty means that roles stay unknown.
    #[serde(default)]
    pub service_password: SecretString,
    /// The role that makes a user an administrator of this service.
    #[serde(default = "defaults::admin_role")]
    pub admin_role: String,
    /// The tenant list is not read again for an unknown tenant, host or key before this time has passed.
    #[serde(default = "defaults::key_refresh_min_seconds")]
    pub key_refresh_min_seconds: u64,
    /// May a user token choose the tenant when the request's host belongs to none (bare address, port-forward)?
    #[serde(default)]
    pub fallback_to_token_tenant: bool,
    /// How long the roles of a user are remembered.
    #[serde(default = "defaults::role_cache_seconds")]
    pub role_cache_seconds: u64,
    /// The longest wait for an answer of the platform.
    #[serde(default = "defaults::request_timeout_seconds")]
    pub request_timeout_seconds: u64,
}

impl TapisConfig {
    /// A configuration with every default.
    #[must_use]
    pub fn at(base_url: Url) -> Self {
        Self {
            base_url,
            security_kernel_url: None,
            service_name: defaults::service_name(),
            service_tenant_id: defaults::service_tenant_id(),
            service_password: SecretString::default(),
            admin_role: defaults::admin_role(),
            key_refresh_min_seconds: defaults::key_refresh_min_seconds(),
            fallback_to_token_tenant: false,
            role_cache_seconds: defaults::role_cache_seconds(),
            request_timeout_seconds: defaults::request_timeout_seconds(),
        }
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }
}

mod defaults {
    pub fn service_name() -> String {
        "pods".to_owned()
    }

    pub fn service_tenant_id() -> String {
        "admin".to_owned()
    }

    pub fn admin_role() -> String {
        "pods_admin".to_owned()
    }

    pub fn key_refresh_min_seconds() -> u64 {
        90
    }

    pub fn role_cache_seconds() -> u64 {
        60
    }

    pub fn request_timeout_seconds() -> u64 {
        5
    }
}
