//! What the edge knows now, shared by the feed that writes it and the requests that read it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use actix_web::web::Bytes;
use pods_core::{
    Status,
    routing::{LeftOut, Packer, Piece, RoutedPod, RoutingTable, Visit},
    visitor::Gate,
};
use pods_db::changes::Cursor;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    arrivals::Arrivals,
    disk::Copy,
    page::{Page, gone::Gone},
};

/// How long the feed may be silent before this replica stops to speak for the database.
const FEED_LIMIT: Duration = Duration::from_secs(5);
/// How long a question waits for the database to be looked at; less than Traefik waits for the answer.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// A routing document and the place in the change feed that it stands for.
#[derive(Debug, Clone)]
pub struct Document {
    /// JSON for Traefik, compressed.
    pub gzip: Bytes,
    /// The same as it is, in pieces.
    pub pieces: Arc<[Piece]>,
    /// The last change in it.
    pub cursor: Cursor,
}

/// Why there is no routing document to serve; Traefik keeps the one that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Just started, without Postgres and without a disk copy.
    #[error("nothing was loaded yet")]
    NotLoaded,
    /// Postgres answers, and not all of it was read yet.
    #[error("the database is being read")]
    BeingRead,
    /// Postgres does not answer: another replica may know more.
    #[error("the database does not answer, and another replica may know more")]
    FeedLost,
    /// Postgres knows less than what was served before.
    #[error("the database is behind the document that was served before")]
    Behind,
}

/// See the module.
#[derive(Debug)]
pub struct Board {
    inner: RwLock<Inner>,
    packer: Mutex<Packer>,
    arrivals: Arrivals,
    /// Somebody waits for a look at the database.
    wanted: Notify,
    /// When the last look at the database began that is over.
    looks: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct Inner {
    table: RoutingTable,
    /// Hosts of pods that were deleted a moment ago.
    gone: Gone,
    /// Of what the table knows; `None` until that is something.
    document: Option<Document>,
    /// The table is what was on disk; the database was not read yet.
    from_disk: bool,
    /// The database and the place in its feed that were served before, until the database was found to be there.
    owed: Option<(String, Cursor)>,
    /// When the question was asked that the database answered last.
    fed: Option<Instant>,
    /// Whether the database answered the newest question, or the first part of it.
    reached: bool,
    behind: bool,
}

impl Board {
    /// A board that knows nothing but what was on disk.
    pub fn new(table: RoutingTable, copy: Option<Copy>) -> Self {
        let inner = Inner {
            table,
            gone: Gone::default(),
            document: None,
            from_disk: false,
            owed: None,
            fed: None,
            reached: false,
            behind: false,
        };
        let board = Self {
            inner: RwLock::new(inner),
            packer: Mutex::default(),
            arrivals: Arrivals::default(),
            wanted: Notify::new(),
            looks: watch::Sender::new(None),
        };
        if let Some(copy) = copy {
            board.take_over(copy);
        }
        board
    }

    fn take_over(&self, copy: Copy) {
        if copy.is_recent {
            self.replace(&copy.pods);
            if let Err(error) = self.publish(copy.cursor) {
                tracing::error!(error, "the routes on disk cannot be served");
            }
        }
        let mut inner = self.write();
        inner.from_disk = true;
        inner.owed = Some((copy.database, copy.cursor));
    }

    /// Waits until the database was looked at after `asked`, or until it is clear that it does not answer. What is
    /// served then is at least as new as what any replica served before `asked`.
    pub async fn look_after(&self, asked: Instant) {
        let mut looks = self.looks.subscribe();
        self.wanted.notify_one();
        let newer = |begun: &Option<Instant>| begun.is_some_and(|begun| begun >= asked);
        // Without an answer in time the database counts as away.
        let _ = tokio::time::timeout(LOOK_LIMIT, looks.wait_for(newer)).await;
    }

    /// Waits until somebody wants the database to be looked at.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The routing document for Traefik, who asked for it at `asked`: see [`Board::look_after`].
    ///
    /// # Errors
    /// Why none can be trusted now.
    pub fn document(&self, asked: Instant) -> Result<Document, NotServed> {
        let inner = self.read();
        match &inner.document {
            _ if inner.behind => Err(NotServed::Behind),
            _ if inner.from_disk && inner.reached => Err(NotServed::BeingRead),
            None => Err(NotServed::NotLoaded),
            Some(document) if inner.from_disk => Ok(document.clone()),
            Some(_) if inner.fed.is_none_or(|fed| fed < asked) => Err(NotServed::FeedLost),
            Some(document) => Ok(document.clone()),
        }
    }

    /// Why visitors see less than there is, if they do.
    pub fn trouble(&self, now: Instant) -> Option<NotServed> {
        self.document(now.checked_sub(FEED_LIMIT).unwrap_or(now)).err()
    }

    /// The gate of an HTTP entry, whether or not its pod runs.
    pub fn gate(&self, uid: Uuid, network: &str) -> Option<Arc<Gate>> {
        self.read().table.gate(uid, network)
    }

    /// The gate of the HTTP entry that has `host` (lower case, without port).
    pub fn gate_of_host(&self, host: &str) -> Option<Arc<Gate>> {
        self.read().table.gate_of_host(host)
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
        self.read().document.is_some()
    }

    /// The page for a visitor of `host`.
    pub(super) fn page(&self, host: &str, now: Instant) -> Page {
        let inner = self.read();
        if inner.document.is_none() {
            return Page::Unavailable;
        }
        match inner.table.visit(host) {
            Visit::Unknown if inner.gone.contains(host, now) => Page::Deleting,
            // It may have been created since.
            Visit::Unknown if inner.is_stale(now) || inner.behind => Page::Unavailable,
            Visit::Unknown => Page::Unknown,
            Visit::NotWeb => Page::NotWeb,
            Visit::Unroutable => Page::Unroutable,
            Visit::NotReady | Visit::Pod(Status::Requested | Status::Spawning | Status::Restarting) => {
                Page::Starting
            }
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
        self.looked(asked, true);
    }

    /// The database can be reached; the answer follows.
    pub fn reached(&self) {
        self.write().reached = true;
    }

    /// The database did not answer a question that was asked at `asked`.
    pub fn lost(&self, asked: Instant) {
        self.looked(asked, false);
    }

    fn looked(&self, begun: Instant, answered: bool) {
        let mut inner = self.write();
        inner.reached = answered;
        if answered {
            inner.fed = Some(begun);
        }
        drop(inner);
        self.looks.send_replace(Some(begun));
    }

    /// The identity of the database and the place in its feed that were served before, until the database was found
    /// to be at least there.
    pub fn owed(&self) -> Option<(String, Cursor)> {
        self.read().owed.clone()
    }

    /// Takes over changed pods and forgets deleted ones. True when the document is another one now.
    pub fn apply(&self, live: &[RoutedPod], gone: &[Uuid]) -> bool {
        let mut inner = self.write();
        let mut changed = false;
        for uid in gone {
            let hosts = inner.table.hosts_of(*uid);
            inner.gone.note(hosts, Instant::now());
            changed |= inner.table.remove(*uid);
        }
        for pod in live {
            changed |= inner.table.set(pod);
        }
        drop(inner);
        let routed = |pod: &&RoutedPod| pod.live && !pod.networking.is_empty();
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

    /// The database knows less than what was served before: nothing of it is believed.
    pub fn is_behind(&self, database: String, served: Cursor) {
        let mut inner = self.write();
        inner.behind = true;
        inner.owed = Some((database, served));
    }

    /// Renders the document anew and serves it.
    ///
    /// # Errors
    /// When it cannot be compressed, which no document causes.
    pub fn publish(&self, cursor: Cursor) -> Result<(), String> {
        // Requests may go on reading meanwhile.
        let pieces: Arc<[Piece]> = self.read().table.pieces().into();
        let mut packer = self.packer.lock().unwrap_or_else(PoisonError::into_inner);
        let gzip = Bytes::from(packer.pack(&pieces)?);
        drop(packer);
        self.arrivals.published(cursor);
        let mut inner = self.write();
        inner.document = Some(Document { gzip, pieces, cursor });
        inner.from_disk = false;
        inner.behind = false;
        inner.owed = None;
        Ok(())
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

impl Document {
    /// Length of the JSON.
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl Inner {
    fn is_stale(&self, now: Instant) -> bool {
        self.fed.is_none_or(|fed| now.saturating_duration_since(fed) > FEED_LIMIT)
    }
}
