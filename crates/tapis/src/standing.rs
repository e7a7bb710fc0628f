//! Whether the platform still accepts tokens that are good by what they say: their users may have taken them back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
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

/// After a failure nobody asks again for this long, so that an outage does not make every request wait.
const BACKOFF: Duration = Duration::from_secs(10);

/// Asks the platform about tokens, at most once a minute about each.
pub struct Standing {
    known: Cache<[u8; 32], bool>,
    failed_at: Mutex<Option<Instant>>,
}

/// The platform did not say.
struct Unknown;

impl Standing {
    pub(crate) fn new() -> Self {
        let known = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { known, failed_at: Mutex::new(None) }
    }

    /// False for a token that the platform refuses. While it does not answer, what the token itself says has to do.
    pub(crate) async fn is_good(&self, oauth: OAuth<'_>, tenant: &Tenant, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.known.try_get_with(digest, self.ask(oauth, tenant, token)).await.unwrap_or(true)
    }

    async fn ask(&self, oauth: OAuth<'_>, tenant: &Tenant, token: &str) -> Result<bool, Unknown> {
        if self.failed_at().is_some_and(|at| at.elapsed() < BACKOFF) {
            return Err(Unknown);
        }
        match tokio::time::timeout(LIMIT, oauth.accepts(tenant, token)).await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err(error)) => Err(self.failed(Some(&error))),
            Err(_) => Err(self.failed(None)),
        }
    }

    fn failed(&self, error: Option<&PlatformError>) -> Unknown {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        tracing::warn!(
            error = error.map(|error| error as &dyn std::error::Error),
            "the platform does not say whether tokens were revoked; they count until they expire"
        );
        Unknown
    }

    fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
