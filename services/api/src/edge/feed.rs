//! Keeps the board equal to the database: loads everything once, then follows the change feed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use pods_core::routing::RoutedPod;
use pods_db::{
    Connection, Db,
    changes::{self, ChangesError, Cursor},
    listen,
    routes::{self, Route},
};
use pods_runtime::shutdown::CancellationToken;
use uuid::Uuid;

use super::{
    board::{Board, NotServed},
    disk::{Disk, Step},
};
use crate::metrics;

/// How often the database is asked without having been notified; also what shows that it still answers.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes that come closer together are taken over together.
const PAUSE: Duration = Duration::from_millis(50);
/// Changes that an older transaction holds back are looked for so often: nobody is notified when it ends.
const HELD_BACK: Duration = Duration::from_millis(20);
/// A database that does not answer for so long is treated as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How often the disk is told that this process lives.
const ALIVE: Duration = Duration::from_secs(10);
const BATCH: i64 = 1000;

/// See the module.
#[derive(Debug)]
pub struct Feed {
    db: Db,
    site_id: String,
    board: Arc<Board>,
    disk: Option<Disk>,
    follows: Option<Follows>,
    unsaved: Unsaved,
    marked: Option<Instant>,
    failing: bool,
    left_out: BTreeSet<(Uuid, String, String)>,
    underived: BTreeSet<Uuid>,
}

/// Where the feed was read to, and in which database.
#[derive(Debug, Clone)]
struct Follows {
    database: String,
    cursor: Cursor,
}

/// What the disk does not have yet.
#[derive(Debug, Default)]
struct Unsaved {
    /// Whether it stands for all pods, so that nothing else is of use.
    all: bool,
    step: Step,
}

/// What a look at the database found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All there is to see.
    All,
    /// Changes are committed that cannot be read yet.
    HeldBack,
    /// Nothing: the database did not answer.
    Nothing,
}

impl Feed {
    /// A feed of the pods of one site.
    pub fn new(db: Db, site_id: String, board: Arc<Board>, disk: Disk) -> Self {
        let (follows, unsaved, marked, failing, left_out, underived) = Default::default();
        let disk = Some(disk);
        Self { db, site_id, board, disk, follows, unsaved, marked, failing, left_out, underived }
    }

    /// Follows until the token is cancelled; Postgres may come and go.
    ///
    /// # Errors
    /// None; the type is what the supervisor expects.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut notifications = listen::notifications(self.db.url(), changes::CHANNEL);
        loop {
            let (pause, interval) = match self.step().await {
                Found::HeldBack => (HELD_BACK, Duration::ZERO),
                Found::All | Found::Nothing => (PAUSE, INTERVAL),
            };
            let board = Arc::clone(&self.board);
            let signal = async {
                tokio::time::sleep(pause).await;
                tokio::select! {
                    Some(()) = notifications.recv() => {}
                    () = tokio::time::sleep(interval) => {}
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                // Traefik waits for the answer.
                () = board.wanted() => {}
                () = signal => {}
            }
        }
    }

    /// One look at the database; a failure is reported once and tried again at the next look.
    pub async fn step(&mut self) -> Found {
        let begun = Instant::now();
        let result = match tokio::time::timeout(ANSWER_LIMIT, self.look()).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the database did not answer in time")),
        };
        metrics::feed_look(result.is_ok(), begun.elapsed());
        match &result {
            Ok(_) => self.board.fed(begun),
            Err(_) => self.board.lost(begun),
        }
        match &result {
            Ok(_) if self.failing => tracing::info!("the change feed is followed again"),
            Err(error) if !self.failing => {
                tracing::warn!(error = format!("{error:#}"), "the change feed cannot be read, trying again");
            }
            Ok(_) | Err(_) => {}
        }
        self.failing = result.is_err();
        self.save().await;
        result.unwrap_or(Found::Nothing)
    }

    async fn look(&mut self) -> anyhow::Result<Found> {
        let db = self.db.clone();
        let mut conn = db.get().await?;
        match self.follows.clone() {
            Some(follows) => self.follow(&mut conn, follows).await,
            None => self.load(&mut conn).await,
        }
    }

    async fn follow(&mut self, conn: &mut Connection, mut follows: Follows) -> anyhow::Result<Found> {
        let mut changed = false;
        let mut seen = false;
        let held_back = loop {
            let page = match changes::read(conn, follows.cursor, BATCH).await {
                Ok(page) => page,
                Err(ChangesError::TooOld | ChangesError::Ahead) => return self.load(conn).await,
                Err(ChangesError::Db(error)) => return Err(error).context("reading the change feed"),
            };
            self.board.reached();
            follows.cursor = page.next;
            if page.changes.is_empty() {
                break page.held_back;
            }
            let uids: HashSet<Uuid> = page.changes.iter().map(|change| change.pod_uid).collect();
            changed |= self.take_over(conn, uids.into_iter().collect()).await?;
            seen = true;
            if !page.full {
                break page.held_back;
            }
        };
        if changed {
            self.publish(follows.cursor)?;
        } else {
            self.board.moved(follows.cursor);
        }
        if seen {
            self.report_left_out();
        }
        self.follows = Some(follows);
        Ok(if held_back { Found::HeldBack } else { Found::All })
    }

    /// Reads changed pods. True when the document is another one now.
    async fn take_over(&mut self, conn: &mut Connection, uids: Vec<Uuid>) -> anyhow::Result<bool> {
        let found = routes::some(conn, &self.site_id, &uids).await.context("reading changed pods")?;
        let here: HashSet<Uuid> = found.iter().map(|pod| pod.uid).collect();
        let gone: Vec<Uuid> = uids.into_iter().filter(|uid| !here.contains(uid)).collect();
        for uid in &gone {
            self.underived.remove(uid);
        }
        let live = self.routed(found);
        let changed = self.board.apply(&live, &gone);
        self.unsaved.step.extend(gone.into_iter().map(|uid| (uid, None)));
        self.unsaved.step.extend(live.into_iter().map(|pod| (pod.uid, Some(pod))));
        Ok(changed)
    }

    async fn load(&mut self, conn: &mut Connection) -> anyhow::Result<Found> {
        let database = identity(conn).await?;
        self.board.reached();
        let cursor = changes::head(conn).await.context("reading the end of the change feed")?;
        if let Some(served) = self.served(&database).filter(|served| cursor < *served) {
            self.is_behind(database, served);
            return Ok(Found::All);
        }
        let found = routes::all(conn, &self.site_id).await.context("reading all pods")?;
        self.underived.retain(|uid| found.iter().any(|pod| pod.uid == *uid));
        let live = self.routed(found);
        self.board.replace(&live);
        self.publish(cursor)?;
        tracing::info!(pods = live.len(), "loaded the routes of the site");
        self.report_left_out();
        self.follows = Some(Follows { database, cursor });
        let step = live.into_iter().map(|pod| (pod.uid, Some(pod))).collect();
        self.unsaved = Unsaved { all: true, step };
        Ok(Found::All)
    }

    /// The place in the feed of the same database that was served before.
    fn served(&self, database: &str) -> Option<Cursor> {
        let followed = self.follows.clone().map(|follows| (follows.database, follows.cursor));
        let served = [followed, self.board.owed()].into_iter().flatten();
        served.filter(|(known, _)| known == database).map(|(_, cursor)| cursor).max()
    }

    /// The database knew more before: that is what a restored backup looks like, or a standby that lost something.
    /// Once it is as far as it was, everything is read anew.
    fn is_behind(&mut self, database: String, served: Cursor) {
        if self.board.trouble(Instant::now()) != Some(NotServed::Behind) {
            tracing::error!(
                file = %self.disk.as_ref().map(|disk| disk.path().display().to_string()).unwrap_or_default(),
                "the database is behind the routes that were served before, which Traefik keeps; if the database was \
                 restored from a backup on purpose, delete the file and restart"
            );
        }
        self.follows = None;
        self.board.is_behind(database, served);
    }

    /// What pods route. A pod that cannot be merged with its templates routes nothing, which is reported once.
    fn routed(&mut self, found: Vec<Route>) -> Vec<RoutedPod> {
        let mut routed = Vec::with_capacity(found.len());
        for pod in found {
            let networking = match pod.networking {
                Ok(networking) => {
                    self.underived.remove(&pod.uid);
                    networking
                }
                Err(error) => {
                    if self.underived.insert(pod.uid) {
                        tracing::warn!(pod.uid = %pod.uid, pod.id = pod.pod_id, %error, "a pod has no routes");
                    }
                    BTreeMap::new()
                }
            };
            routed.push(RoutedPod {
                tenant: pod.tenant,
                tenant_host: pod.tenant_host,
                uid: pod.uid,
                k8_name: pod.k8_name,
                status: pod.status,
                live: pod.live,
                networking,
                permissions: pod.permissions,
                pod_id: pod.pod_id,
            });
        }
        routed
    }

    fn publish(&self, cursor: Cursor) -> anyhow::Result<()> {
        self.board.publish(cursor).map_err(anyhow::Error::msg)
    }

    /// A full disk costs a start without Postgres, nothing now.
    async fn save(&mut self) {
        let unsaved = !self.unsaved.step.is_empty() || self.unsaved.all;
        let mark = self.marked.is_none_or(|marked| marked.elapsed() > ALIVE);
        let Some(disk) = self.disk.take_if(|_| unsaved || mark) else { return };
        self.marked = Some(Instant::now());
        let follows = self.follows.clone();
        let mut unsaved = std::mem::take(&mut self.unsaved);
        let task = move || {
            let mut disk = disk;
            let result = write(&mut disk, &mut unsaved, follows.as_ref());
            (disk, unsaved, result)
        };
        match tokio::task::spawn_blocking(task).await {
            Ok((disk, unsaved, result)) => {
                self.disk = Some(disk);
                self.unsaved = unsaved;
                if let Err(error) = result {
                    tracing::warn!(error = format!("{error:#}"), "the routes cannot be written to disk");
                }
            }
            Err(panic) => tracing::error!(%panic, "writing the routes to disk failed; it is not tried again"),
        }
    }

    /// Each entry is reported once, when it begins to be left out.
    fn report_left_out(&mut self) {
        let now: BTreeSet<_> =
            self.board.left_out().into_iter().map(|entry| (entry.uid, entry.name, entry.reason)).collect();
        for (uid, name, reason) in now.difference(&self.left_out) {
            tracing::warn!(pod.uid = %uid, router = %name, reason = %reason, "a running pod has no route");
        }
        self.left_out = now;
    }
}

/// What could not be written stays for the next time.
fn write(disk: &mut Disk, unsaved: &mut Unsaved, follows: Option<&Follows>) -> anyhow::Result<()> {
    disk.mark_alive().context("marking that the process lives")?;
    let Some(Follows { database, cursor }) = follows else { return Ok(()) };
    if unsaved.all {
        disk.replace(database, *cursor, unsaved.step.values().flatten().cloned())?;
    } else if !unsaved.step.is_empty() {
        disk.append(database, *cursor, &unsaved.step)?;
    }
    *unsaved = Unsaved::default();
    Ok(())
}

/// What tells one database from another, so that the places in their feeds are not compared. A standby that takes
/// over keeps the identity of the one before.
async fn identity(conn: &mut Connection) -> anyhow::Result<String> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        identity: String,
    }
    let row: Row = diesel::sql_query(
        "SELECT system_identifier || '-' || (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AS identity FROM pg_control_system()",
    )
    .get_result(conn)
    .await
    .context("asking the database for its identity")?;
    Ok(row.identity)
}
