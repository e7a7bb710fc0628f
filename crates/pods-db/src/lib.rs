//! Postgres: what Pods stores, and every way to read and change it.
//!
//! Stored: the definition and status of each pod, each start as a frozen snapshot, templates and their tags, the
//! image allowlist, permissions, sealed credentials, the action log, the newest log of the container, wake-ups not
//! yet published (`outbox`), custom domains, OAuth clients and completed logins, the change feed and leases. Not stored: anything that Kubernetes knows
//! better (which node, which IP), what a pod becomes when its templates are merged into it ([`derived`]), tokens,
//! roles, keys.
//!
//! Tenant data is reached through finders that demand a [`pods_core::Tenant`]; templates, tags and images are shared
//! by the tenants of a site. Functions that take a uid are for the spawner, health and the edge, which act on behalf
//! of the service, or for rows that a finder gave out.

pub mod action_logs;
pub mod changes;
pub mod circumstances;
mod columns;
mod constraints;
pub mod credentials;
pub mod derived;
pub mod domains;
pub mod images;
pub mod instances;
pub mod leases;
pub mod listen;
pub mod locks;
pub mod logins;
pub mod logs;
pub mod metrics;
pub mod migrate;
pub mod outbox;
pub mod permissions;
pub mod pods;
pub mod relay;
pub mod routes;
pub mod schema;
mod starts;
mod statements;
pub mod summaries;
pub mod template_tags;
pub mod templates;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transitions;

use deadpool::managed::{Hook, HookError};
use diesel::ConnectionError;
pub use diesel::result::Error as DbError;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolError as ConnectError, RecyclingMethod,
        deadpool::{Object, Pool, PoolError as GetError},
    },
};
use statements::Statements;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_postgres::NoTls;

/// A connection to Postgres.
pub type Connection = AsyncPgConnection;
/// A connection that returns to the pool when it is dropped.
pub type PooledConnection = Object<AsyncPgConnection>;

/// What Postgres ends by itself. A request that is given up gives its connection back in the middle of whatever it did:
/// without these its transaction, and every lock of it, would stand until somebody is handed that connection. A
/// statement ends before the request that waits for it does (30 s).
///
/// A host that vanished says nothing: Postgres asks, and ends the session, with every lock of it, after a quarter of a
/// minute, instead of two hours.
const LIMITS: &str = "SET lock_timeout = '5s'; SET statement_timeout = '25s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET tcp_keepalives_idle = 5; \
    SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 15000";
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// No connection could be had within two seconds: Postgres is down or the pool is exhausted.
#[derive(Debug, thiserror::Error)]
#[error("no database connection")]
pub struct Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A pool of connections; cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: Pool<AsyncPgConnection>,
    /// This pool and its shares, for metrics.
    family: Arc<Mutex<Vec<Pool<AsyncPgConnection>>>>,
    url: String,
    statements: Statements,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL carries the password.
        f.debug_struct("Db").finish_non_exhaustive()
    }
}

impl Db {
    /// A pool for `url`. Nothing is connected yet, so this works while Postgres is down.
    ///
    /// # Errors
    /// When the pool cannot be built, which does not depend on Postgres.
    pub fn connect(url: &str, pool_size: usize) -> anyhow::Result<Self> {
        Self::counting(url, pool_size, Statements::default())
    }

    fn counting(url: &str, pool_size: usize, statements: Statements) -> anyhow::Result<Self> {
        let mut config = ManagerConfig::<AsyncPgConnection>::default();
        // A connection that Postgres closed is noticed without a query, so none is spent on it for each request.
        config.recycling_method = RecyclingMethod::Fast;
        config.custom_setup = Box::new(|url| {
            Box::pin(async move {
                let bad = |error: tokio_postgres::Error| ConnectionError::BadConnection(error.to_string());
                let (client, connection) = patient(url).map_err(bad)?.connect(NoTls).await.map_err(bad)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            })
        });
        let manager = AsyncDieselConnectionManager::new_with_config(url, config);
        let counter = statements.clone();
        let prepare = Hook::async_fn(move |connection: &mut AsyncPgConnection, _| {
            let counter = counter.clone();
            Box::pin(async move {
                connection
                    .batch_execute(LIMITS)
                    .await
                    .map_err(|error| HookError::Backend(ConnectError::QueryError(error)))?;
                connection.set_instrumentation(counter);
                Ok(())
            })
        });
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .runtime(deadpool::Runtime::Tokio1)
            .wait_timeout(Some(WAIT_LIMIT))
            .create_timeout(Some(WAIT_LIMIT))
            .recycle_timeout(Some(WAIT_LIMIT))
            .post_create(prepare)
            .build()?;
        let family = Arc::new(Mutex::new(vec![pool.clone()]));
        Ok(Self { pool, family, url: url.to_owned(), statements })
    }

    /// A pool of its own with an even share of this one's connections, for one of several threads.
    ///
    /// # Errors
    /// As [`Db::connect`].
    pub fn share(&self, parts: usize) -> anyhow::Result<Self> {
        let size = self.pool.status().max_size.div_ceil(parts.max(1));
        let share = Self::counting(&self.url, size, self.statements.clone())?;
        self.pools().push(share.pool.clone());
        Ok(Self { family: Arc::clone(&self.family), ..share })
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Pool<AsyncPgConnection>>> {
        self.family.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, within two seconds.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none.
    pub async fn get(&self) -> Result<PooledConnection, Unavailable> {
        self.pool.get().await.map_err(|error: GetError| {
            metrics::unavailable();
            Unavailable(Box::new(error))
        })
    }

    /// Whether Postgres answers a query within two seconds.
    pub async fn answers(&self) -> bool {
        let answer = async {
            let mut conn = self.get().await.ok()?;
            diesel_async::RunQueryDsl::execute(diesel::sql_query("SELECT 1"), &mut conn).await.ok()
        };
        matches!(tokio::time::timeout(WAIT_LIMIT, answer).await, Ok(Some(_)))
    }

    /// How many statements this pool and its shares have sent so far.
    pub fn statements(&self) -> usize {
        self.statements.count()
    }

    /// The URL, for connections outside of the pool (locks, listening). Contains the password: never log it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// How to connect so that a server whose host vanished is noticed as soon as it notices that of ours did ([`LIMITS`]).
pub(crate) fn patient(url: &str) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(3))
        .keepalives_retries(3)
        .tcp_user_timeout(Duration::from_secs(15));
    Ok(config)
}

impl From<ConnectError> for Unavailable {
    fn from(error: ConnectError) -> Self {
        Self(Box::new(error))
    }
}
