//! Token verification.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use moka::future::Cache;
use sha2::{Digest, Sha256};

use crate::claims::{Claims, RawClaims, unverified_tenant};
use crate::directory::TenantDirectory;
use crate::error::TokenError;
use crate::tenant::Tenant;

/// A verified token is not verified again for this long (never beyond its own time).
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// How many verified tokens are remembered.
const REMEMBERED: u64 = 10_000;

/// Verifies access tokens against the keys of the tenants.
///
/// A token that was verified lately is only looked up by its SHA-256; it is verified again when its tenant has another key.
pub struct TokenVerifier {
    directory: TenantDirectory,
    validation: Validation,
    verified: Cache<[u8; 32], Verified>,
}

#[derive(Clone)]
struct Verified {
    claims: Arc<Claims>,
    key_fingerprint: [u8; 32],
}

impl TokenVerifier {
    /// A verifier for the tenants of the directory.
    #[must_use]
    pub fn new(directory: TenantDirectory) -> Self {
        // The signature and the algorithm are the library's; the claims are checked by our own rules, with our own errors.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { directory, validation, verified }
    }

    /// Verifies a token and gives what it says.
    ///
    /// # Errors
    /// When it is not a good access token of one of the tenants.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        self.directory.refresh_if_old();
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.verified.get(&digest).await
            && self.still_good(&known)
        {
            return Ok(known.claims);
        }
        let tenant_id = unverified_tenant(token)?;
        let tenant =
            self.directory.find_tenant(&tenant_id).await.map_err(|_| TokenError::PlatformUnavailable)?;
        let tenant = tenant.ok_or(TokenError::UnknownTenant)?;
        let verified = match self.check(token, &tenant) {
            Err(TokenError::Signature) => self.check_with_newer_key(token, &tenant).await?,
            answer => answer?,
        };
        self.verified.insert(digest, verified.clone()).await;
        Ok(verified.claims)
    }

    /// The tenant may have changed its key since the list was read.
    async fn check_with_newer_key(&self, token: &str, tenant: &Tenant) -> Result<Verified, TokenError> {
        let newer = self.directory.refresh_on_need().await.is_ok_and(|read| read);
        match self.directory.tenant(&tenant.tenant_id).filter(|_| newer) {
            Some(tenant) => self.check(token, &tenant),
            None => Err(TokenError::Signature),
        }
    }

    fn check(&self, token: &str, tenant: &Tenant) -> Result<Verified, TokenError> {
        let key = tenant.key.as_ref().ok_or(TokenError::Signature)?;
        let decoded = jsonwebtoken::decode::<RawClaims>(token, &key.key, &self.validation);
        let raw = decoded.map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
            ErrorKind::InvalidSignature => TokenError::Signature,
            ErrorKind::Json(_) => TokenError::Claims,
            _ => TokenError::Malformed,
        })?;
        let claims = Arc::new(raw.claims.check(now())?);
        Ok(Verified { claims, key_fingerprint: key.fingerprint })
    }

    fn still_good(&self, known: &Verified) -> bool {
        let list = self.directory.list();
        let key = list.tenant(&known.claims.tenant_id).and_then(|tenant| tenant.key.as_ref());
        key.is_some_and(|key| key.fingerprint == known.key_fingerprint)
            && known.claims.expires_at as f64 > now()
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
