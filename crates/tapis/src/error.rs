//! What can go wrong, in words for the person who sees it.
//!
//! Nothing here repeats a token, an address of the platform or anything else of the inside.

use thiserror::Error;

/// Nobody may act on this request. The text is meant for the user.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The request brings no token.
    #[error("this request needs a Tapis access token in the header X-Tapis-Token")]
    MissingToken,
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token's tenant and the tenant of the host are different.
    #[error(
        "the token belongs to the tenant {token_tenant}, but this address is the tenant {host_tenant}; use a token of {host_tenant}"
    )]
    OtherTenant {
        /// The tenant that the token says.
        token_tenant: String,
        /// The tenant that the request was sent to.
        host_tenant: String,
    },
    /// X-Tapis-Tenant or X-Tapis-User came with a user token.
    #[error("only services may send X-Tapis-Tenant and X-Tapis-User; leave both out with a user's token")]
    OnBehalfByUser,
    /// A service did not say for whom it acts.
    #[error("a service token needs both headers X-Tapis-Tenant and X-Tapis-User")]
    OnBehalfIncomplete,
    /// The tenant that a service named does not exist.
    #[error("X-Tapis-Tenant names a tenant that does not exist")]
    UnknownOnBehalfTenant,
    /// The user that a service named cannot be a username.
    #[error("X-Tapis-User is not a usable username")]
    BadOnBehalfUser,
    /// A service token made for another site.
    #[error(
        "the service token is not meant for the site of this service; ask for one with target_site_id set to it"
    )]
    OtherSite,
    /// A tenant that another installation of this service serves.
    #[error("the tenant {tenant} is not served by this installation; use the address of its own site")]
    TenantNotServed {
        /// The tenant.
        tenant: String,
    },
    /// The host belongs to no tenant.
    #[error("the address of this request belongs to no tenant; use the base URL of your tenant")]
    UnknownHost,
    /// The tenants have never been read and cannot be read now.
    #[error(
        "the tenants of the platform cannot be read at the moment, so no token can be checked; try again shortly"
    )]
    PlatformUnavailable,
}

impl AuthError {
    /// The HTTP status: 400 for a malformed request, 401 when the credentials are missing, bad or not to be used in
    /// this way, 403 when it is known who asks and it is not permitted, 404 for a host of no tenant, 503 while the
    /// platform cannot be asked.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownOnBehalfTenant | Self::BadOnBehalfUser => 400,
            Self::MissingToken | Self::OnBehalfIncomplete | Self::OnBehalfByUser | Self::OtherSite => 401,
            Self::Token(error) => match error {
                TokenError::PlatformUnavailable => 503,
                _ => 401,
            },
            Self::OtherTenant { .. } | Self::TenantNotServed { .. } => 403,
            Self::UnknownHost => 404,
            Self::PlatformUnavailable => 503,
        }
    }

    /// A stable name for programs, logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingToken => "token_missing",
            Self::Token(error) => error.code(),
            Self::OtherTenant { .. } => "token_of_other_tenant",
            Self::OnBehalfByUser => "on_behalf_by_user",
            Self::OnBehalfIncomplete => "on_behalf_incomplete",
            Self::UnknownOnBehalfTenant => "on_behalf_tenant_unknown",
            Self::BadOnBehalfUser => "on_behalf_user_invalid",
            Self::OtherSite => "token_of_other_site",
            Self::TenantNotServed { .. } => "tenant_not_served",
            Self::UnknownHost => "host_unknown",
            Self::PlatformUnavailable => "platform_unavailable",
        }
    }

    /// Could a newer tenant list change the answer?
    pub(crate) fn may_be_stale(&self) -> bool {
        matches!(self, Self::UnknownHost | Self::UnknownOnBehalfTenant)
    }
}

/// Why a token is not accepted. The text is meant for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not three parts of base64, not JSON, or far too long.
    #[error("the token is not a complete JWT; send the whole access token in X-Tapis-Token")]
    Malformed,
    /// Signed otherwise than with RS256.
    #[error("the token is not signed in the way Tapis signs tokens; get a new one from your tenant")]
    Algorithm,
    /// The tenant that the token names does not exist.
    #[error("the token names a tenant that does not exist here; get a token from this platform")]
    UnknownTenant,
    /// The signature does not fit the tenant's key.
    #[error("the token's signature is not valid; get a new token from your tenant")]
    Signature,
    /// Its time is over.
    #[error("the token has expired; get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet; check the clock of the machine that made it")]
    NotYetValid,
    /// It is meant for a named audience.
    #[error("the token is meant for another audience; send a Tapis access token")]
    Audience,
    /// It is no access token.
    #[error("the token is not an access token (a refresh token, perhaps); send the access token")]
    NotAccess,
    /// A claim that Tapis tokens have is missing or unusable.
    #[error("the token lacks what a Tapis access token says, or says it in an unusable form; get a new one")]
    Claims,
    /// The tenants have never been read and cannot be read now.
    #[error(
        "the tenants of the platform cannot be read at the moment, so no token can be checked; try again shortly"
    )]
    PlatformUnavailable,
}

impl TokenError {
    /// A stable name for programs, logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::UnknownTenant => "token_tenant_unknown",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Audience => "token_audience",
            Self::NotAccess => "token_not_access",
            Self::Claims => "token_claims",
            Self::PlatformUnavailable => "platform_unavailable",
        }
    }
}

/// The tenant list could not be read. For the operator; the cause is the source.
#[derive(Debug, Clone, Error)]
pub enum DirectoryError {
    /// The Tenants API did not give it.
    #[error("the tenant list of the Tapis platform cannot be read")]
    Unreachable(#[source] crate::http::PlatformError),
    /// The last attempt failed a moment ago.
    #[error(
        "the tenant list of the Tapis platform could not be read a moment ago; waiting before the next attempt"
    )]
    BackingOff,
}

/// The Security Kernel did not say which roles a user has. For the operator; the cause is the source.
#[derive(Debug, Clone, Error)]
pub enum RolesUnavailable {
    /// No password for service tokens is configured.
    #[error("tapis.service_password is not set, so the Security Kernel cannot be asked for roles")]
    NoPassword,
    /// The Security Kernel or the Tokens API did not answer as it should.
    #[error("the Security Kernel cannot be asked for roles")]
    Unreachable(#[source] crate::http::PlatformError),
    /// The last attempt failed a moment ago.
    #[error("the Security Kernel could not be asked for roles a moment ago; waiting before the next attempt")]
    BackingOff,
}

/// Nothing can be asked at all, because the HTTP client cannot be made.
#[derive(Debug, Error)]
#[error("the HTTP client for the Tapis platform cannot be made")]
pub struct SetupError(#[source] pub(crate) reqwest::Error);
