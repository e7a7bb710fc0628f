//! The tenant list in memory, read again when it does not have the answer.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::sync::Mutex;
use url::Url;

use crate::config::TapisConfig;
use crate::error::{DirectoryError, SetupError};
use crate::http::{client, endpoint, result_of};
use crate::tenant::{RawTenant, Site, Tenant, TenantList};

/// After a failed reading the next one waits this long.
const BACKOFF: Duration = Duration::from_secs(1);

/// A list older than this is read again in the background, so that a key taken out of use stops counting.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Tenants and sites; cheap to clone.
///
/// Looking up never waits for the platform unless it is said (`find_*`, `refresh*`). Only one reading is under way at a time, not
/// more often than `key_refresh_min_seconds` apart; a failed one leaves the list as it was.
#[derive(Clone)]
pub struct TenantDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    base_url: Url,
    min_age: Duration,
    current: RwLock<Current>,
    /// Held while reading; when the last reading failed.
    reading: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Current {
    list: Arc<TenantList>,
    read_at: Option<Instant>,
}

impl TenantDirectory {
    /// An empty directory; it asks nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: &TapisConfig) -> Result<Self, SetupError> {
        let inner = Inner {
            client: client(config.request_timeout())?,
            base_url: config.base_url.clone(),
            min_age: Duration::from_secs(config.key_refresh_min_seconds),
            current: RwLock::default(),
            reading: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Has the list ever been read?
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.read_at().is_some()
    }

    /// The list as it is in memory.
    #[must_use]
    pub fn list(&self) -> Arc<TenantList> {
        self.inner.current.read().unwrap_or_else(PoisonError::into_inner).list.clone()
    }

    /// All tenants in memory, in no order.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.list().tenants().cloned().collect()
    }

    /// The tenant with this id, from memory.
    #[must_use]
    pub fn tenant(&self, tenant_id: &str) -> Option<Arc<Tenant>> {
        self.list().tenant(tenant_id).cloned()
    }

    /// The tenant of a host, from memory.
    #[must_use]
    pub fn tenant_of_host(&self, host: &str) -> Option<Arc<Tenant>> {
        self.list().tenant_of_host(host).cloned()
    }

    /// The site with this id, from memory.
    #[must_use]
    pub fn site(&self, site_id: &str) -> Option<Arc<Site>> {
        self.list().site(site_id).cloned()
    }

    /// The tenant with this id; an unknown one makes the list be read again.
    ///
    /// # Errors
    /// When the list was never read and cannot be read.
    pub async fn find_tenant(&self, tenant_id: &str) -> Result<Option<Arc<Tenant>>, DirectoryError> {
        match self.tenant(tenant_id) {
            Some(tenant) => Ok(Some(tenant)),
            None => Ok(self.refresh_on_need().await?.then(|| self.tenant(tenant_id)).flatten()),
        }
    }

    /// The tenant of a host; an unknown one makes the list be read again.
    ///
    /// # Errors
    /// When the list was never read and cannot be read.
    pub async fn find_tenant_of_host(&self, host: &str) -> Result<Option<Arc<Tenant>>, DirectoryError> {
        match self.tenant_of_host(host) {
            Some(tenant) => Ok(Some(tenant)),
            None => Ok(self.refresh_on_need().await?.then(|| self.tenant_of_host(host)).flatten()),
        }
    }

    /// Reads the list now.
    ///
    /// # Errors
    /// When it cannot be read; what is in memory stays.
    pub async fn refresh(&self) -> Result<(), DirectoryError> {
        let mut failed_at = self.inner.reading.lock().await;
        self.read(&mut failed_at).await
    }

    /// Reads the list again, unless it is young or the last reading failed just now. Says whether it is newer than when asked.
    ///
    /// # Errors
    /// When it was never read and cannot be read. With a list in memory a failure only means "not newer".
    pub async fn refresh_on_need(&self) -> Result<bool, DirectoryError> {
        let known = self.read_at();
        let mut failed_at = self.inner.reading.lock().await;
        let read_at = self.read_at();
        if read_at != known {
            return Ok(true);
        }
        if read_at.is_some_and(|at| at.elapsed() < self.inner.min_age) {
            return Ok(false);
        }
        let answer = if failed_at.is_some_and(|at| at.elapsed() < BACKOFF) {
            Err(DirectoryError::BackingOff)
        } else {
            self.read(&mut failed_at).await
        };
        match answer {
            Ok(()) => Ok(true),
            Err(_) if read_at.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Starts a reading in the background when the list is old and nobody reads.
    pub(crate) fn refresh_if_old(&self) {
        if self.read_at().is_none_or(|at| at.elapsed() < MAX_AGE) || self.inner.reading.try_lock().is_err() {
            return;
        }
        let directory = self.clone();
        tokio::spawn(async move { directory.refresh_on_need().await });
    }

    fn read_at(&self) -> Option<Instant> {
        self.inner.current.read().unwrap_or_else(PoisonError::into_inner).read_at
    }

    async fn read(&self, failed_at: &mut Option<Instant>) -> Result<(), DirectoryError> {
        let ask = |what: &str| self.inner.client.get(endpoint(&self.inner.base_url, &["v3", what]));
        let answers = tokio::try_join!(
            result_of::<Vec<RawTenant>>(ask("tenants")),
            result_of::<Vec<Site>>(ask("sites"))
        );
        match answers {
            Ok((tenants, sites)) => {
                let list = Arc::new(TenantList::new(tenants, sites));
                tracing::debug!(tenants = list.tenants().count(), "the tenant list was read");
                let current = Current { list, read_at: Some(Instant::now()) };
                *self.inner.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                *failed_at = None;
                Ok(())
            }
            Err(error) => {
                *failed_at = Some(Instant::now());
                let error = DirectoryError::Unreachable(error);
                tracing::warn!(error = &error as &dyn std::error::Error, "the tenant list stays as it was");
                Err(error)
            }
        }
    }
}
