//! Keeps the board equal to the database: loads everything once, then follows the change feed.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    board::{Board, Document},
    disk::Disk,
};
use crate::metrics;

/// How often the database is asked without having been notified; also what shows that it still answers.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes that come closer together are taken over together: each costs rendering the whole document.
const PAUSE: Duration = Duration::from_millis(100);
/// A database that does not answer for so long is treated as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const BATCH: i64 = 1000;

/// See the module.
#[derive(Debug)]
pub struct Feed {
    db: Db,
    site_id: String,
    board: Arc<Board>,
    disk: Disk,
    follows: Option<Follows>,
    unsaved: Option<Document>,
    failing: bool,
    left_out: BTreeSet<(Uuid, String, String)>,
    underived: BTreeSet<Uuid>,
}

/// Where the feed was read to, and in which database.
#[derive(Debug, Clone)]
struct Follows {
    database: String,
    cursor: Cursor,
    /// Set while the database knows less than the disk copy.
    behind: bool,
}

impl Feed {
    /// A feed of the pods of one site.
    pub fn new(db: Db, site_id: String, board: Arc<Board>, disk: Disk) -> Self {
        let (follows, unsaved, failing, left_out, underived) = Default::default();
        Self { db, site_id, board, disk, follows, unsaved, failing, left_out, underived }
    }

    /// Follows until the token is cancelled; Postgres may come and go.
    ///
    /// # Errors
    /// None; the type is what the supervisor expects.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut notifications = listen::notifications(self.db.url(), changes::CHANNEL);
        loop {
            self.step().await;
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(()) = notifications.recv() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// One look at the database; a failure is reported once and tried again at the next look.
    pub async fn step(&mut self) {
        let begun = Instant::now();
        let result = match tokio::time::timeout(ANSWER_LIMIT, self.look()).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the database did not answer in time")),
        };
        metrics::feed_look(result.is_ok(), begun.elapsed());
        match &result {
            Ok(()) if self.failing => tracing::info!("the change feed is followed again"),
            Err(error) if !self.failing => {
                tracing::warn!(error = format!("{error:#}"), "the change feed cannot be read, trying again");
            }
            Ok(()) | Err(_) => {}
        }
        self.failing = result.is_err();
        self.save().await;
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let asked = Instant::now();
        let db = self.db.clone();
        let mut conn = db.get().await?;
        match self.follows.clone() {
            Some(follows) if !follows.behind => self.follow(&mut conn, follows).await?,
            _ => self.load(&mut conn).await?,
        }
        self.board.fed(asked);
        Ok(())
    }

    async fn follow(&mut self, conn: &mut Connection, mut follows: Follows) -> anyhow::Result<()> {
        let mut changed = false;
        let mut seen = false;
        loop {
            let (uids, next) = match changes::since(conn, follows.cursor, BATCH).await {
                Ok(found) => found,
                Err(ChangesError::TooOld | ChangesError::Ahead) => return self.load(conn).await,
                Err(ChangesError::Db(error)) => return Err(error).context("reading the change feed"),
            };
            if uids.is_empty() {
                break;
            }
            let found = routes::some(conn, &self.site_id, &uids).await.context("reading changed pods")?;
            self.underived.retain(|uid| !uids.contains(uid) || found.iter().any(|pod| pod.uid == *uid));
            let live = self.routed(found);
            let gone: Vec<Uuid> =
                uids.into_iter().filter(|uid| live.iter().all(|pod| pod.uid != *uid)).collect();
            changed |= self.board.apply(&live, &gone);
            seen = true;
            follows.cursor = next;
        }
        if changed {
            self.publish(&follows)?;
        } else if seen {
            self.board.moved(follows.cursor);
        }
        if seen {
            self.report_left_out();
        }
        self.follows = Some(follows);
        Ok(())
    }

    async fn load(&mut self, conn: &mut Connection) -> anyhow::Result<()> {
        let database = identity(conn).await?;
        let cursor = changes::head(conn).await.context("reading the end of the change feed")?;
        let found = routes::all(conn, &self.site_id).await.context("reading all pods")?;
        self.underived.retain(|uid| found.iter().any(|pod| pod.uid == *uid));
        let live = self.routed(found);
        self.board.replace(&live);
        let owed = self.board.owed().filter(|(known, _)| *known == database);
        let behind = owed.is_some_and(|(_, served)| cursor < served);
        if behind && self.follows.is_none() {
            tracing::error!(
                file = %self.disk.path().display(),
                "the database is behind the routing document that was served before, which is kept; if the \
                 database was restored from a backup on purpose, delete the file and restart"
            );
        }
        let follows = Follows { database, cursor, behind };
        self.publish(&follows)?;
        tracing::info!(pods = live.len(), "loaded the routes of the site");
        self.report_left_out();
        self.follows = Some(follows);
        Ok(())
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
                uid: pod.uid,
                k8_name: pod.k8_name,
                status: pod.status,
                networking,
                pod_id: pod.pod_id,
            });
        }
        routed
    }

    fn publish(&mut self, follows: &Follows) -> anyhow::Result<()> {
        let new = self.board.publish(follows.cursor, follows.behind).map_err(anyhow::Error::msg)?;
        self.unsaved = new.or(self.unsaved.take());
        Ok(())
    }

    /// A full disk costs a start without Postgres, nothing now.
    async fn save(&mut self) {
        let (Some(document), Some(follows)) = (self.unsaved.take(), &self.follows) else { return };
        let (disk, database) = (self.disk.clone(), follows.database.clone());
        let saved = tokio::task::spawn_blocking(move || disk.save(&database, &document)).await;
        let error = match saved {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => panic.into(),
        };
        tracing::warn!(error = format!("{error:#}"), "the routing document cannot be written to disk");
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
