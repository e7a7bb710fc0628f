//! The roles of users, from the Security Kernel.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use crate::config::TapisConfig;
use crate::directory::TenantDirectory;
use crate::error::{RolesUnavailable, SetupError};
use crate::http::{PlatformError, client, endpoint, result_of, send};
use crate::service_token::ServiceToken;
use crate::tenant::Tenant;

/// How many users are remembered.
const REMEMBERED: u64 = 10_000;

/// After a failure nobody asks again for this long, so that an outage does not make every request wait.
const BACKOFF: Duration = Duration::from_secs(1);

/// Looks roles up, and remembers the answers for a short time. Nothing is answered from older knowledge: when the Security Kernel
/// cannot be asked, the roles are unknown, and it is the caller who decides what that means.
pub struct Roles {
    client: Client,
    directory: TenantDirectory,
    token: ServiceToken,
    fixed_base: Option<Url>,
    installation_base: Url,
    service_name: String,
    service_tenant_id: String,
    known: Cache<(String, String), Arc<[String]>>,
    failed_at: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Answer {
    names: Vec<String>,
}

impl Roles {
    /// Prepares the look-up and asks nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: &TapisConfig, site_id: &str, directory: TenantDirectory) -> Result<Self, SetupError> {
        let client = client(config.request_timeout())?;
        let life = Duration::from_secs(config.role_cache_seconds);
        Ok(Self {
            token: ServiceToken::new(config, site_id, client.clone()),
            client,
            directory,
            fixed_base: config.security_kernel_url.clone(),
            installation_base: config.base_url.clone(),
            service_name: config.service_name.clone(),
            service_tenant_id: config.service_tenant_id.clone(),
            known: Cache::builder().max_capacity(REMEMBERED).time_to_live(life).build(),
            failed_at: Mutex::new(None),
        })
    }

    /// The roles of a user in a tenant.
    ///
    /// # Errors
    /// When the Security Kernel does not say.
    pub async fn roles_of(&self, tenant_id: &str, username: &str) -> Result<Arc<[String]>, RolesUnavailable> {
        let who = (tenant_id.to_owned(), username.to_owned());
        let answer = self.known.try_get_with(who, self.ask(tenant_id, username)).await;
        answer.map_err(|error| RolesUnavailable::clone(&error))
    }

    /// Does the user hold the role?
    ///
    /// # Errors
    /// When the Security Kernel does not say.
    pub async fn has_role(
        &self,
        tenant_id: &str,
        username: &str,
        role: &str,
    ) -> Result<bool, RolesUnavailable> {
        let roles = self.roles_of(tenant_id, username).await?;
        Ok(roles.iter().any(|held| held == role))
    }

    async fn ask(&self, tenant_id: &str, username: &str) -> Result<Arc<[String]>, RolesUnavailable> {
        if !self.token.has_password() {
            return Err(RolesUnavailable::NoPassword);
        }
        if self.failed_at().is_some_and(|at| at.elapsed() < BACKOFF) {
            return Err(RolesUnavailable::BackingOff);
        }
        let base = self.base().await;
        let mut answer = self.ask_once(&base, tenant_id, username).await;
        if answer.as_ref().is_err_and(PlatformError::is_unauthorized) {
            answer = self.ask_once(&base, tenant_id, username).await;
        }
        answer.map(Into::into).map_err(|error| {
            *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            let error = RolesUnavailable::Unreachable(error);
            tracing::warn!(error = &error as &dyn std::error::Error, "the roles of a user are unknown");
            error
        })
    }

    async fn ask_once(&self, base: &Url, tenant: &str, username: &str) -> Result<Vec<String>, PlatformError> {
        let token = self.token.get(base).await?;
        let url = endpoint(base, &["v3", "security", "user", "roles", username]);
        let request = self
            .client
            .get(url)
            .query(&[("tenant", tenant)])
            .header("x-tapis-token", token.expose_secret())
            .header("x-tapis-tenant", &self.service_tenant_id)
            .header("x-tapis-user", &self.service_name);
        let answer = result_of::<Answer>(request).await;
        if answer.as_ref().is_err_and(PlatformError::is_unauthorized) {
            self.token.forget(&token).await;
        }
        Ok(answer?.names)
    }

    /// Sends a request to a tenant as this service, once more with a new token when the first was refused. The acting
    /// user is one that stands for the service in every tenant.
    pub(crate) async fn as_service(
        &self,
        tenant: &Tenant,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, PlatformError> {
        let base = self.base().await;
        let mut last = None;
        for _ in 0..2 {
            let token = self.token.get(&base).await?;
            let request = request(&self.client)
                .header("x-tapis-token", token.expose_secret())
                .header("x-tapis-tenant", &tenant.tenant_id)
                .header("x-tapis-user", format!("_tapis_{}", self.service_name));
            let answer = send(request).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            self.token.forget(&token).await;
            last = Some(answer);
        }
        last.ok_or_else(|| PlatformError::Status { url: base.to_string(), status: 401 })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Where service tokens and roles are asked.
    async fn base(&self) -> Url {
        if let Some(fixed) = &self.fixed_base {
            return fixed.clone();
        }
        let own = self.directory.find_tenant(&self.service_tenant_id).await.ok().flatten();
        own.map_or_else(|| self.installation_base.clone(), |tenant| tenant.base_url.clone())
    }

    fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
