//! Whether the platform still accepts tokens that are good by what they say: their users may have taken them back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use sha2::{Digest, Sha256};

use crate::http::PlatformError;
use crate::oauth::OAuth;
use crate::tenant::Tenant;

/// What the platform said counts for this long.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// How many tokens are remembered.
const REMEMBERED: u64 = 10_000;

/// Nobody waits longer for the answer.
const LIMIT: Duration = Duration::from_secs(2);

/// After a failure of a tenant nobody asks it again for this long, so that an outage does not make every request wait.
const BACKOFF: Duration = Duration::from_secs(10);

/// Asks the platform about tokens, at most once a minute about each.
pub struct Standing {
    known: Cache<[u8; 32], bool>,
    /// Refused once: such a token does not become good again.
    refused: Cache<[u8; 32], ()>,
    /// By tenant: one that is away says nothing about the tokens of the others.
    failed_at: Mutex<HashMap<String, Instant>>,
}

/// The platform did not say.
struct Unknown;

impl Standing {
    pub(crate) fn new() -> Self {
        let known = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        // Else the newest might not find room among old ones that were met more often.
        let lru = EvictionPolicy::lru();
        let refused = Cache::builder().max_capacity(REMEMBERED).eviction_policy(lru).build();
        Self { known, refused, failed_at: Mutex::default() }
    }

    /// False for a token that the platform refuses. While it does not answer, what the token itself says has to do.
    pub(crate) async fn is_good(&self, oauth: OAuth<'_>, tenant: &Tenant, token: &str) -> bool {
        self.judge(&tenant.tenant_id, token, oauth.accepts(tenant, token)).await
    }

    async fn judge<F>(&self, tenant_id: &str, token: &str, question: F) -> bool
    where
        F: Future<Output = Result<bool, PlatformError>>,
    {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if self.refused.get(&digest).await.is_some() {
            return false;
        }
        let good = self.known.try_get_with(digest, self.ask(tenant_id, question)).await.unwrap_or(true);
        if !good {
            self.refused.insert(digest, ()).await;
        }
        good
    }

    async fn ask<F>(&self, tenant_id: &str, question: F) -> Result<bool, Unknown>
    where
        F: Future<Output = Result<bool, PlatformError>>,
    {
        let failed_at = self.failed_at().get(tenant_id).copied();
        if failed_at.is_some_and(|at| at.elapsed() < BACKOFF) {
            return Err(Unknown);
        }
        match tokio::time::timeout(LIMIT, question).await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err(error)) => Err(self.failed(tenant_id, Some(&error))),
            Err(_) => Err(self.failed(tenant_id, None)),
        }
    }

    fn failed(&self, tenant_id: &str, error: Option<&PlatformError>) -> Unknown {
        self.failed_at().insert(tenant_id.to_owned(), Instant::now());
        tracing::warn!(
            tenant = tenant_id,
            error = error.map(|error| error as &dyn std::error::Error),
            "the platform does not say whether tokens were revoked; they count until they expire"
        );
        Unknown
    }

    fn failed_at(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn away() -> Result<bool, PlatformError> {
        Err(PlatformError::Status { url: "userinfo".to_owned(), status: 502 })
    }

    #[tokio::test]
    async fn a_tenant_that_is_away_does_not_speak_for_the_others() {
        let standing = Standing::new();
        assert!(standing.judge("two", "a", ready(away())).await, "nobody can say");
        assert!(standing.judge("two", "b", ready(Ok(false))).await, "it is not asked again at once");
        assert!(!standing.judge("dev", "c", ready(Ok(false))).await, "this one answers");
    }

    #[tokio::test]
    async fn a_token_that_was_refused_stays_so() {
        let standing = Standing::new();
        assert!(!standing.judge("dev", "a", ready(Ok(false))).await);
        // The minute is over.
        standing.known.invalidate_all();
        assert!(!standing.judge("dev", "a", ready(away())).await);
        assert!(standing.judge("dev", "b", ready(Ok(true))).await);
        standing.known.invalidate_all();
        assert!(!standing.judge("dev", "b", ready(Ok(false))).await, "a good one is asked about again");
    }
}
