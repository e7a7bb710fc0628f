//! One writer at a time per pod: session-level advisory locks on connections of their own.
//!
//! The lock lives as long as its connection. When the connection breaks, Postgres frees the lock and somebody else
//! may take it, so the holder asks [`PodLock::is_held`] before each write to Kubernetes.

use diesel::sql_types::{BigInt, Bool};
use diesel_async::{RunQueryDsl, pooled_connection::PoolableConnection, pooled_connection::deadpool::Object};
use uuid::Uuid;

use crate::{Connection, Db, DbError, PooledConnection, Unavailable};

/// Hands out locks; its pool limits how many pods a process works on at once.
#[derive(Debug, Clone)]
pub struct Locks {
    db: Db,
}

/// A held lock. Dropping it closes its connection, which frees the lock; [`PodLock::release`] is cheaper.
pub struct PodLock {
    connection: Option<PooledConnection>,
    key: i64,
}

impl std::fmt::Debug for PodLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodLock").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why a lock could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// No connection.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

#[derive(diesel::QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    locked: bool,
}

impl Locks {
    /// Locks in the database of `db`, at most `size` at a time, on connections apart from its pool.
    ///
    /// # Errors
    /// When the pool cannot be built.
    pub fn new(db: &Db, size: usize) -> anyhow::Result<Self> {
        Ok(Self { db: Db::connect(db.url(), size)? })
    }

    /// The lock of a pod, or `None` while somebody else holds it.
    ///
    /// # Errors
    /// [`LockError`] when Postgres cannot be asked.
    pub async fn try_acquire(&self, uid: Uuid) -> Result<Option<PodLock>, LockError> {
        let mut connection = self.db.get().await?;
        let key = key(uid);
        let answer: Result<Answer, DbError> = diesel::sql_query("SELECT pg_try_advisory_lock($1) AS locked")
            .bind::<BigInt, _>(key)
            .get_result(&mut connection)
            .await;
        match answer {
            Ok(Answer { locked: true }) => Ok(Some(PodLock { connection: Some(connection), key })),
            Ok(Answer { locked: false }) => Ok(None),
            Err(error) => {
                // Whether the lock was taken is unknown: the connection must not go back to the pool with it.
                let _closed = Object::take(connection);
                Err(error.into())
            }
        }
    }
}

impl PodLock {
    /// Whether the connection, and with it the lock, still stands.
    pub fn is_held(&mut self) -> bool {
        self.connection.as_mut().is_some_and(|connection| !(**connection).is_broken())
    }

    /// The connection that holds the lock, for the holder's own queries.
    pub fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("the connection is taken by release and drop only")
    }

    /// Frees the lock and gives the connection back.
    pub async fn release(mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let answer: Result<Answer, DbError> = diesel::sql_query("SELECT pg_advisory_unlock($1) AS locked")
            .bind::<BigInt, _>(self.key)
            .get_result(&mut connection)
            .await;
        if !matches!(answer, Ok(Answer { locked: true })) {
            let _closed = Object::take(connection);
        }
    }
}

impl Drop for PodLock {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _closed = Object::take(connection);
        }
    }
}

/// Advisory lock keys have 64 bits; uids differ in their last 62 random ones.
fn key(uid: Uuid) -> i64 {
    i64::from_be_bytes(uid.as_u64_pair().1.to_be_bytes())
}
