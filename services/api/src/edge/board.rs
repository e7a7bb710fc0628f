//! What the edge knows now, shared by the feed that writes it and the requests that read it.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use actix_web::web::Bytes;
use pods_core::{
    Status,
    routing::{LeftOut, RoutedPod, RoutingTable, Visit},
};
use pods_db::changes::Cursor;
use uuid::Uuid;

use super::{arrivals::Arrivals, disk::Copy, page::Page};

/// How long the feed may be silent before this replica stops to speak for the database.
const FEED_LIMIT: Duration = Duration::from_secs(5);

/// A routing document and the place in the change feed that it stands for.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON for Traefik.
    pub bytes: Bytes,
    /// The last change in it.
    pub cursor: Cursor,
}

/// Why there is no routing document to serve; Traefik keeps the one that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Just started, without Postgres and without a disk copy.
    #[error("nothing was loaded yet")]
    NotLoaded,
    /// Postgres did not answer for a while: another replica may know more.
    #[error("the change feed is silent for more than 5 s")]
    FeedLost,
    /// Postgres knows less than what was served before.
    #[error("the database is behind the document that was served before")]
    Behind,
}

/// See the module.
#[derive(Debug)]
pub struct Board {
    inner: RwLock<Inner>,
    arrivals: Arrivals,
}

#[derive(Debug)]
struct Inner {
    table: RoutingTable,
    /// From the database; `None` until it was read once.
    document: Option<Document>,
    /// From the disk; dropped once the database was read.
    copy: Option<Copy>,
    fed: Option<Instant>,
    behind: bool,
}

impl Board {
    /// A board that knows nothing but the last document on disk.
    pub fn new(table: RoutingTable, copy: Option<Copy>) -> Self {
        let inner = Inner { table, document: None, copy, fed: None, behind: false };
        Self { inner: RwLock::new(inner), arrivals: Arrivals::default() }
    }

    /// The routing document for Traefik.
    ///
    /// # Errors
    /// Why none can be trusted now.
    pub fn document(&self, now: Instant) -> Result<Document, NotServed> {
        let inner = self.read();
        match (&inner.document, &inner.copy) {
            (Some(_), _) if inner.behind => Err(NotServed::Behind),
            (Some(_), _) if inner.is_stale(now) => Err(NotServed::FeedLost),
            (Some(document), _) => Ok(document.clone()),
            (None, Some(copy)) => Ok(copy.document.clone()),
            (None, None) => Err(NotServed::NotLoaded),
        }
    }

    /// The proxy was given a document: from now on it leads to the pods in it.
    pub fn given(&self, document: &Document) {
        self.arrivals.given(document.cursor);
    }

    /// The pods that run and that the proxy was led to.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Whether a document of any source exists.
    pub fn has_document(&self) -> bool {
        let inner = self.read();
        inner.document.is_some() || inner.copy.is_some()
    }

    /// The page for a visitor of `host`.
    pub(super) fn page(&self, host: &str, now: Instant) -> Page {
        let inner = self.read();
        if inner.document.is_none() {
            return Page::Unavailable;
        }
        match inner.table.visit(host) {
            // It may have been created since.
            Visit::Unknown if inner.is_stale(now) || inner.behind => Page::Unavailable,
            Visit::Unknown => Page::Unknown,
            Visit::LoginMissing => Page::LoginMissing,
            Visit::NotWeb => Page::NotWeb,
            Visit::Unroutable => Page::Unroutable,
            Visit::Pod(Status::Requested | Status::Spawning | Status::Restarting) => Page::Starting,
            Visit::Pod(Status::Available) => Page::Opening,
            Visit::Pod(Status::ShuttingDown) => Page::Stopping,
            Visit::Pod(Status::Stopped) => Page::Stopped,
            Visit::Pod(Status::Complete) => Page::Finished,
            Visit::Pod(Status::Error) => Page::Failed,
        }
    }

    /// Whether plain HTTP for `host` is to be sent on to HTTPS.
    pub fn is_web_host(&self, host: &str) -> bool {
        self.read().table.is_web_host(host)
    }

    /// The database answered a question that was asked at `asked`.
    pub fn fed(&self, asked: Instant) {
        self.write().fed = Some(asked);
    }

    /// The identity of the database and the place in its feed that the disk copy was made from, until the database
    /// was found to be at least there.
    pub fn owed(&self) -> Option<(String, Cursor)> {
        let inner = self.read();
        inner.copy.as_ref().map(|copy| (copy.database.clone(), copy.document.cursor))
    }

    /// Takes over changed pods and forgets deleted ones. True when the document may be another one now.
    pub fn apply(&self, live: &[RoutedPod], gone: &[Uuid]) -> bool {
        let mut inner = self.write();
        let mut changed = false;
        for uid in gone {
            changed |= inner.table.remove(*uid);
        }
        for pod in live {
            changed |= inner.table.set(pod);
        }
        drop(inner);
        let routed = |pod: &&RoutedPod| pod.status == Status::Available && !pod.networking.is_empty();
        self.arrivals.expect(live.iter().filter(routed).map(|pod| pod.uid));
        changed
    }

    /// Replaces everything.
    pub fn replace(&self, live: &[RoutedPod]) {
        let uids: HashSet<Uuid> = live.iter().map(|pod| pod.uid).collect();
        let mut inner = self.write();
        inner.table.retain(&uids);
        // Nobody knows since when the proxy has led to these: their arrival is no news.
        for pod in live {
            inner.table.set(pod);
        }
    }

    /// Renders the document anew and serves it, if it is not behind what was served before. Answers what to write
    /// to disk: nothing when the document stayed the same.
    pub fn publish(&self, cursor: Cursor, behind: bool) -> Result<Option<Document>, String> {
        // Rendering takes milliseconds per thousand pods: requests may go on reading meanwhile.
        let bytes = Bytes::from(self.read().table.render()?);
        let mut inner = self.write();
        let known = inner.document.as_ref().or(inner.copy.as_ref().map(|copy| &copy.document));
        let same = known.is_some_and(|document| document.bytes == bytes);
        let document = Document { bytes, cursor };
        self.arrivals.published(cursor);
        inner.document = Some(document.clone());
        inner.behind = behind;
        if !behind {
            inner.copy = None;
        }
        Ok((!same && !behind).then_some(document))
    }

    /// The document is unchanged up to `cursor`.
    pub fn moved(&self, cursor: Cursor) {
        if let Some(document) = &mut self.write().document {
            document.cursor = cursor;
            self.arrivals.published(cursor);
        }
    }

    /// Entries of running pods without a route.
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.read().table.left_out()
    }

    /// Every change of `Inner` is complete or, in `table`, one pod that the next change of that pod sets right.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_stale(&self, now: Instant) -> bool {
        self.fed.is_none_or(|fed| now.saturating_duration_since(fed) > FEED_LIMIT)
    }
}
