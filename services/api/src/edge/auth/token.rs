//! The header `X-Tapis-Token`, which programs send in place of a session.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use pods_core::{Tenant, visitor::Visitor};
use pods_runtime::shutdown::CancellationToken;
use tapis::{AccountType, Tapis, TokenError};

const HEADER: &str = "x-tapis-token";
const RETRY: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(600);

/// What the header says.
pub(super) enum Token {
    /// There is none.
    Absent,
    /// A good token of this user.
    Of(Visitor),
    /// Not a good token of a user.
    Bad(&'static str),
    /// The platform's keys are not known, so nothing can be said.
    Unknown,
}

/// Reads the header; the signature is checked here, with the key of the tenant. Whether its user took the token back is
/// asked at most once a minute, and does not matter while the platform does not say.
pub(super) async fn read(tapis: &Tapis, headers: &HeaderMap) -> Token {
    let mut values = headers.get_all(HEADER);
    let (value, more) = (values.next(), values.next());
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Token::Absent };
    let Some(text) = value.to_str().ok().filter(|_| more.is_none()) else {
        return Token::Bad("token_malformed");
    };
    let claims = match tapis.verifier().verify(text.trim()).await {
        Ok(claims) => claims,
        Err(TokenError::PlatformUnavailable) => return Token::Unknown,
        Err(error) => return Token::Bad(error.code()),
    };
    if claims.account_type != AccountType::User {
        return Token::Bad("token_not_of_a_user");
    }
    // Verified, so the tenant is known.
    let Some(tenant) = tapis.directory().tenant(&claims.tenant_id) else { return Token::Unknown };
    if !tapis.is_still_good(&tenant, text.trim()).await {
        return Token::Bad("token_revoked");
    }
    Token::Of(Visitor {
        tenant: Tenant::new(&tenant.site_id, &tenant.tenant_id),
        username: claims.username.clone(),
    })
}

/// Reads the list of tenants as soon as the platform answers, and again now and then: a tenant's address may change.
pub(super) async fn load_tenants(tapis: Tapis, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut failing = false;
    loop {
        let loaded = tapis.directory().refresh().await.is_ok() || tapis.directory().is_loaded();
        if !loaded && !std::mem::replace(&mut failing, true) {
            tracing::warn!(
                "the list of tenants cannot be loaded, so nobody can log in; it is tried again until it can"
            );
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(if loaded { AGAIN } else { RETRY }) => {}
        }
    }
}
