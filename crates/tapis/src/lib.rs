//! The Tapis platform as Pods sees it: tenants and sites, tokens, who acts, the roles of users,
//! and OAuth clients.
//!
//! [`Tapis`] is what a service uses: [`Tapis::authenticate`] turns the token, the host and the on-behalf-of headers of a request
//! into an [`Actor`], or into an [`AuthError`] that knows its HTTP status and a text for the user. It asks the platform only when
//! memory does not have the answer: the tenant list is read at the first need and again for an unknown tenant, host or key, but
//! not more often than configured; verified tokens and roles are remembered for a short time.
//!
//! Decisions are pure functions ([`resolve_actor`], the claims check), so every rejection is a table test.

mod actor;
mod claims;
mod config;
mod directory;
mod error;
mod http;
mod oauth;
mod roles;
mod service_token;
mod standing;
mod tenant;
mod verifier;

pub use actor::{Actor, ActorKind, RequestIdentity, ResolveRules, resolve_actor};
pub use claims::{AccountType, Claims};
pub use config::TapisConfig;
pub use directory::TenantDirectory;
pub use error::{AuthError, DirectoryError, RolesUnavailable, SetupError, TokenError};
pub use http::PlatformError;
pub use oauth::{ClientSpec, Exchange, ExchangeError, OAuth, RegisterError};
pub use roles::Roles;
pub use tenant::{Site, Tenant, TenantList};
pub use verifier::TokenVerifier;

use std::sync::Arc;

use standing::Standing;

/// Everything about the platform that a service needs; cheap to clone, made once per process.
#[derive(Clone)]
pub struct Tapis {
    inner: Arc<Inner>,
}

struct Inner {
    directory: TenantDirectory,
    verifier: TokenVerifier,
    roles: Roles,
    standing: Standing,
    rules: ResolveRules,
    admin_role: String,
}

impl Tapis {
    /// Prepares everything and asks nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: &TapisConfig, site_id: &str) -> Result<Self, SetupError> {
        let directory = TenantDirectory::new(config)?;
        let inner = Inner {
            verifier: TokenVerifier::new(directory.clone()),
            roles: Roles::new(config, site_id, directory.clone())?,
            standing: Standing::new(),
            rules: ResolveRules {
                site_id: site_id.to_owned(),
                service_name: config.service_name.clone(),
                fallback_to_token_tenant: config.fallback_to_token_tenant,
            },
            admin_role: config.admin_role.clone(),
            directory,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finds out who sent a request and for which tenant.
    ///
    /// # Errors
    /// When nobody may act: see [`AuthError`].
    pub async fn authenticate(&self, request: &RequestIdentity<'_>) -> Result<Actor, AuthError> {
        let token = request.token.filter(|token| !token.is_empty()).ok_or(AuthError::MissingToken)?;
        let claims = self.verifier().verify(token).await?;
        let directory = self.directory();
        let resolve = || resolve_actor(&directory.list(), &self.inner.rules, request, &claims);
        match resolve() {
            Err(error)
                if error.may_be_stale() && directory.refresh_on_need().await.is_ok_and(|read| read) =>
            {
                resolve()
            }
            answer => answer,
        }
    }

    /// Does the acting user hold the configured admin role?
    ///
    /// # Errors
    /// When the Security Kernel does not say; an admin right must then not be assumed.
    pub async fn is_admin(&self, actor: &Actor) -> Result<bool, RolesUnavailable> {
        self.roles().has_role(&actor.tenant_id, &actor.username, &self.inner.admin_role).await
    }

    /// Tenants and sites.
    #[must_use]
    pub fn directory(&self) -> &TenantDirectory {
        &self.inner.directory
    }

    /// Token verification alone.
    #[must_use]
    pub fn verifier(&self) -> &TokenVerifier {
        &self.inner.verifier
    }

    /// The Security Kernel's roles.
    #[must_use]
    pub fn roles(&self) -> &Roles {
        &self.inner.roles
    }

    /// The OAuth clients of the tenants.
    #[must_use]
    pub fn oauth(&self) -> OAuth<'_> {
        OAuth { platform: self.roles() }
    }

    /// Whether the platform still accepts a user's token that was verified. It is asked at most once a minute about each;
    /// while it does not answer, the token counts.
    pub async fn is_still_good(&self, tenant: &Tenant, token: &str) -> bool {
        self.inner.standing.is_good(self.oauth(), tenant, token).await
    }

    /// The site this service runs for.
    #[must_use]
    pub fn site_id(&self) -> &str {
        &self.inner.rules.site_id
    }
}
