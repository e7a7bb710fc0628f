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
use pods_db::changes::{Cursor, committed::Extent};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    arrivals::Arrivals,
    disk::SavedRoutes,
    document::{Document, NotServed},
    page::{Page, gone::Gone},
    peers::{Peers, Served},
};

/// How long the feed may be silent before this replica stops to speak for the database.
const FEED_LIMIT: Duration = Duration::from_secs(5);
/// How long a question waits for the database to be looked at; less than Traefik waits for the answer.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Board {
    inner: RwLock<Inner>,
    peers: Peers,
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
    /// The database confirmed what is on disk a short time before the process started.
    is_confirmed: bool,
    /// Identity of the database that was read last.
    database: String,
    /// The database and what of it was served before, until the database was found to be there.
    owed: Option<(String, Extent)>,
    /// When the question was asked that the database answered last.
    fed: Option<Instant>,
    /// Whether the database answered the newest question, or the first part of it; `None` until that is known.
    reached: Option<bool>,
    behind: bool,
}

impl Board {
    /// A board that knows nothing but what was on disk.
    pub fn new(table: RoutingTable, saved: Option<SavedRoutes>) -> Self {
        let inner = Inner {
            table,
            gone: Gone::default(),
            document: None,
            from_disk: false,
            is_confirmed: false,
            database: String::new(),
            owed: None,
            fed: None,
            reached: None,
            behind: false,
        };
        let board = Self {
            inner: RwLock::new(inner),
            peers: Peers::default(),
            packer: Mutex::default(),
            arrivals: Arrivals::default(),
            wanted: Notify::new(),
            looks: watch::Sender::new(None),
        };
        if let Some(saved) = saved {
            board.take_over(saved);
        }
        board
    }

    /// Asks these replicas before a document from disk is served.
    #[must_use]
    pub fn with_peers(self, peers: Peers) -> Self {
        Self { peers, ..self }
    }

    fn take_over(&self, saved: SavedRoutes) {
        if saved.is_recent {
            self.replace(&saved.pods);
            if let Err(error) = self.publish(saved.extent) {
                tracing::error!(error, "the routes on disk cannot be served");
            }
        }
        let mut inner = self.write();
        inner.from_disk = true;
        inner.is_confirmed = saved.is_confirmed;
        if let Some(document) = &mut inner.document {
            document.from_disk = true;
        }
        inner.owed = Some((saved.database, saved.extent));
    }

    /// The routing document for a poll of Traefik that comes now.
    ///
    /// # Errors
    /// Why none can be trusted now.
    pub async fn answer(&self) -> Result<Document, NotServed> {
        let asked = Instant::now();
        self.look_after(asked).await;
        let document = self.document(asked)?;
        if !document.from_disk {
            return Ok(document);
        }
        if self.peers.is_empty() {
            return if self.read().is_confirmed { Ok(document) } else { Err(NotServed::CopyTooOld) };
        }
        let mine = self.served().ok_or(NotServed::NotLoaded)?;
        self.peers.agree(&mine).await?;
        // The database may have answered meanwhile.
        self.document(asked)
    }

    /// What was served at most, before this process started as well; nothing when nothing was.
    pub fn served(&self) -> Option<Served> {
        let inner = self.read();
        let document = inner.document.clone();
        let (database, extent) = match &inner.owed {
            Some(owed) => owed.clone(),
            None => (inner.database.clone(), document.as_ref()?.extent),
        };
        drop(inner);
        Some(Served { database, extent, digest: document.map(|document| document.digest()) })
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

    /// The routing document for whoever asked for it at `asked`, see [`Board::look_after`]; one from disk is served only
    /// as [`Board::answer`] does.
    ///
    /// # Errors
    /// Why none can be trusted now.
    pub fn document(&self, asked: Instant) -> Result<Document, NotServed> {
        let inner = self.read();
        match &inner.document {
            _ if inner.behind => Err(NotServed::Behind),
            // Only while it is certain that the database does not answer: else another replica may know more.
            _ if inner.from_disk && inner.reached != Some(false) => Err(NotServed::BeingRead),
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
        self.arrivals.given(document.number);
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
        self.write().reached = Some(true);
    }

    /// The database did not answer a question that was asked at `asked`.
    pub fn lost(&self, asked: Instant) {
        self.looked(asked, false);
    }

    fn looked(&self, begun: Instant, answered: bool) {
        let mut inner = self.write();
        inner.reached = Some(answered);
        if answered {
            inner.fed = Some(begun);
        }
        drop(inner);
        self.looks.send_replace(Some(begun));
    }

    /// The identity of the database and what of it was served before, until the database was found to be at least there.
    pub fn owed(&self) -> Option<(String, Extent)> {
        self.read().owed.clone()
    }

    /// What is published next is of this database.
    pub fn is_of(&self, database: &str) {
        self.write().database = database.to_owned();
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
        let routed = live.iter().map(|pod| pod.uid).filter(|uid| inner.table.has_router(*uid));
        self.arrivals.expect(routed);
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
    pub fn is_behind(&self, database: String, served: Extent) {
        let mut inner = self.write();
        inner.behind = true;
        inner.owed = Some((database, served));
    }

    /// Renders the document anew and serves it.
    ///
    /// # Errors
    /// When it cannot be compressed, which no document causes.
    pub fn publish(&self, extent: Extent) -> Result<(), String> {
        // Requests may go on reading meanwhile.
        let pieces: Arc<[Piece]> = self.read().table.pieces().into();
        let mut packer = self.packer.lock().unwrap_or_else(PoisonError::into_inner);
        let gzip = Bytes::from(packer.pack(&pieces)?);
        drop(packer);
        let mut inner = self.write();
        let number = inner.document.as_ref().map_or(0, |before| before.number + 1);
        self.arrivals.published(number);
        inner.document = Some(Document::new(gzip, pieces, extent, number));
        inner.from_disk = false;
        inner.behind = false;
        inner.owed = None;
        Ok(())
    }

    /// The document is unchanged up to `cursor`.
    pub fn moved(&self, cursor: Cursor) {
        if let Some(document) = &mut self.write().document {
            document.extent.cursor = cursor;
            self.arrivals.published(document.number);
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
