//! What every handler can reach.

use pods_core::PodPolicy;
use pods_db::Db;
use tapis::Tapis;

/// The state shared by all requests.
#[derive(Clone)]
pub struct AppState {
    /// The database.
    pub db: Db,
    /// The platform: who is asking.
    pub tapis: Tapis,
    /// What the installation allows.
    pub policy: PodPolicy,
}

impl AppState {
    /// The state for one of `workers` threads, with connections of its own: a connection makes progress on the thread
    /// that opened it, so a shared one costs a change of threads for each answer of Postgres.
    #[must_use]
    pub fn for_worker(&self, workers: usize) -> Self {
        let db = self.db.share(workers).unwrap_or_else(|_| self.db.clone());
        Self { db, ..self.clone() }
    }
}
