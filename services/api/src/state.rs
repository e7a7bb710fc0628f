//! What every handler can reach.

use pods_core::PodPolicy;
use pods_db::Db;
use pods_secrets::KeyRing;
use tapis::Tapis;

use crate::{
    answers::Answers,
    cluster::Cluster,
    feed::Hub,
    log_feed::LogFeed,
    middleware::{cors::Origins, rate_limit::RateLimit},
    sse::Streams,
};

/// The state shared by all requests.
#[derive(Clone)]
pub struct AppState {
    /// The database.
    pub db: Db,
    /// The platform: who is asking.
    pub tapis: Tapis,
    /// What the installation allows.
    pub policy: PodPolicy,
    /// The keys that credentials are sealed with.
    pub keys: KeyRing,
    /// How requests are treated before a handler sees them.
    pub http: HttpPolicy,
    /// The port on which visitors reach pods.
    pub pods_port: u16,
    /// The template of the pods that `GET /pods/jupyter/ensure` creates, as a reference.
    pub jupyter_template: String,
    /// What may be read of Kubernetes, if there is a cluster.
    pub cluster: Option<Cluster>,
    /// The large answers that are made and read.
    pub answers: Answers,
    /// The open streams of server-sent events.
    pub streams: Streams,
    /// The changes of pods, for those who watch them.
    pub events: Hub,
    /// Which logs have grown, for those who follow them.
    pub log_feed: LogFeed,
}

/// How requests are treated before a handler sees them.
#[derive(Debug, Clone, Default)]
pub struct HttpPolicy {
    /// Pages that may call the API.
    pub cors: Origins,
    /// How much a user may send.
    pub rate_limit: RateLimit,
    /// Answer 400 instead of 401 and 403.
    pub auth_errors_400: bool,
    /// Continue the traces of callers.
    pub accept_traceparent: bool,
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
