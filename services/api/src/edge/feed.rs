//! Keeps the board equal to the database: loads everything once, then follows the change feed.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use pods_core::routing::RoutedPod;
use pods_db::{
    Connection, Db,
    changes::{
        self, ChangesError,
        committed::{self, Extent, Snapshot},
    },
    listen,
    routes::{self, Route},
};
use pods_runtime::shutdown::CancellationToken;
use uuid::Uuid;

use super::{
    board::Board,
    disk::Disk,
    document::NotServed,
    saver::{Known, Saver},
};
use crate::metrics;

/// How often the database is asked without having been notified; also what shows that it still answers.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes that come closer together are taken over together.
const PAUSE: Duration = Duration::from_millis(50);
/// A database that does not answer for so long is treated as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Pods that are read with one statement.
const BATCH: usize = 1000;

/// See the module.
#[derive(Debug)]
pub struct Feed {
    db: Db,
    site_id: String,
    board: Arc<Board>,
    saver: Saver,
    follows: Option<Follows>,
    /// The board knows of changes that are in no document yet.
    unpublished: bool,
    /// When the question was asked that the database answered last.
    answered: Option<SystemTime>,
    failing: bool,
    left_out: BTreeSet<(Uuid, String, String)>,
    underived: BTreeSet<Uuid>,
}

/// What was read, and of which database.
#[derive(Debug, Clone)]
struct Follows {
    database: String,
    seen: Snapshot,
    /// Nothing of this transaction or a later one was read.
    below: i64,
}

impl Follows {
    fn extent(&self) -> Extent {
        Extent { cursor: self.seen.cursor(), below: self.below }
    }

    fn known(&self) -> (String, Extent) {
        (self.database.clone(), self.extent())
    }
}

/// What a look at the database found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All that was committed.
    All,
    /// Nothing: the database did not answer.
    Nothing,
}

impl Feed {
    /// A feed of the pods of one site.
    pub fn new(db: Db, site_id: String, board: Arc<Board>, disk: Disk) -> Self {
        Self {
            db,
            site_id,
            board,
            saver: Saver::new(disk),
            follows: None,
            unpublished: false,
            answered: None,
            failing: false,
            left_out: BTreeSet::new(),
            underived: BTreeSet::new(),
        }
    }

    /// Follows until the token is cancelled; Postgres may come and go.
    ///
    /// # Errors
    /// None; the type is what the supervisor expects.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut notifications = listen::notifications(self.db.url(), changes::CHANNEL);
        loop {
            self.step().await;
            let board = Arc::clone(&self.board);
            let signal = async {
                tokio::time::sleep(PAUSE).await;
                tokio::select! {
                    Some(()) = notifications.recv() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
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
        let (begun, asked) = (Instant::now(), SystemTime::now());
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
        if result.is_ok() && self.follows.is_some() {
            self.answered = Some(asked);
        }
        // Before anybody is served what came with this look: whoever starts after us must not know less.
        let of = self.follows.as_ref().map(Follows::known);
        self.saver.save(Known { of, answered: self.answered }).await;
        match result {
            Ok(()) => {
                self.board.fed(begun);
                Found::All
            }
            Err(_) => {
                self.board.lost(begun);
                Found::Nothing
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let db = self.db.clone();
        let mut conn = db.get().await?;
        match self.follows.clone() {
            Some(follows) => self.follow(&mut conn, follows).await,
            None => self.load(&mut conn).await,
        }
    }

    async fn follow(&mut self, conn: &mut Connection, mut follows: Follows) -> anyhow::Result<()> {
        let news = match committed::since(conn, &follows.seen).await {
            Ok(news) => news,
            Err(ChangesError::TooOld | ChangesError::Ahead) => return self.load(conn).await,
            Err(ChangesError::Db(error)) => return Err(error).context("reading the change feed"),
        };
        self.board.reached();
        follows.seen = news.seen;
        if !news.pods.is_empty() {
            // Should this look fail half way, nobody knows how far the pods are that were read.
            if let Some(before) = &mut self.follows {
                before.below = committed::UNKNOWN;
            }
            for uids in news.pods.chunks(BATCH) {
                self.take_over(conn, uids).await?;
            }
            // They were read after the feed, so they may be of later transactions.
            follows.below = committed::now(conn).await.context("reading how far the pods are")?.below();
        }
        if self.unpublished {
            self.publish(follows.extent())?;
        } else {
            self.board.moved(follows.seen.cursor());
        }
        if !news.pods.is_empty() {
            self.report_left_out();
        }
        self.follows = Some(follows);
        Ok(())
    }

    /// Reads changed pods.
    async fn take_over(&mut self, conn: &mut Connection, uids: &[Uuid]) -> anyhow::Result<()> {
        let found = routes::some(conn, &self.site_id, uids).await.context("reading changed pods")?;
        let here: HashSet<Uuid> = found.iter().map(|pod| pod.uid).collect();
        let gone: Vec<Uuid> = uids.iter().copied().filter(|uid| !here.contains(uid)).collect();
        for uid in &gone {
            self.underived.remove(uid);
        }
        let live = self.routed(found);
        self.unpublished |= self.board.apply(&live, &gone);
        self.saver.add(gone.into_iter().map(|uid| (uid, None)).collect());
        self.saver.add(live.into_iter().map(|pod| (pod.uid, Some(pod))).collect());
        Ok(())
    }

    async fn load(&mut self, conn: &mut Connection) -> anyhow::Result<()> {
        let database = identity(conn).await?;
        self.board.reached();
        let seen = committed::now(conn).await.context("reading the end of the change feed")?;
        if let Some(served) = self.served(&database).filter(|served| seen.is_before(served)) {
            self.is_behind(database, served);
            return Ok(());
        }
        let found = routes::all(conn, &self.site_id).await.context("reading all pods")?;
        let below = committed::now(conn).await.context("reading how far the pods are")?.below();
        self.underived.retain(|uid| found.iter().any(|pod| pod.uid == *uid));
        let live = self.routed(found);
        let follows = Follows { database, seen, below };
        self.board.replace(&live);
        self.board.is_of(&follows.database);
        self.publish(follows.extent())?;
        tracing::info!(pods = live.len(), "loaded the routes of the site");
        self.report_left_out();
        self.follows = Some(follows);
        self.saver.replace(live.into_iter().map(|pod| (pod.uid, Some(pod))).collect());
        Ok(())
    }

    /// What of the same database was served before.
    fn served(&self, database: &str) -> Option<Extent> {
        let followed = self.follows.as_ref().map(Follows::known);
        let served = [followed, self.board.owed()].into_iter().flatten();
        served
            .filter(|(known, _)| known == database)
            .map(|(_, extent)| extent)
            .max_by_key(|extent| extent.cursor)
    }

    /// The database knew more before: that is what a restored backup looks like, or a standby that lost something.
    /// Once it is as far as it was, everything is read anew.
    fn is_behind(&mut self, database: String, served: Extent) {
        if self.board.trouble(Instant::now()) != Some(NotServed::Behind) {
            tracing::error!(
                file = %self.saver.path().display(),
                "the database is behind the routes that were served before, which Traefik keeps; if the database was \
                 restored from a backup on purpose, delete the file and restart"
            );
        }
        self.follows = None;
        self.board.is_behind(database, served);
    }

    /// What pods route. A pod that cannot be merged with its templates is led to by nothing, which is reported once.
    fn routed(&mut self, found: Vec<Route>) -> Vec<RoutedPod> {
        let routed = |pod: Route| {
            let problem = pod.problem.map(|problem| problem.to_string());
            if let Some(problem) = &problem {
                if self.underived.insert(pod.uid) {
                    tracing::warn!(pod.uid = %pod.uid, pod.id = pod.pod_id, %problem, "a pod has no routes");
                }
            } else {
                self.underived.remove(&pod.uid);
            }
            RoutedPod {
                tenant: pod.tenant,
                tenant_host: pod.tenant_host,
                uid: pod.uid,
                k8_name: pod.k8_name,
                status: pod.status,
                live: pod.live,
                networking: pod.networking,
                problem,
                permissions: pod.permissions,
                pod_id: pod.pod_id,
            }
        };
        found.into_iter().map(routed).collect()
    }

    fn publish(&mut self, extent: Extent) -> anyhow::Result<()> {
        self.board.publish(extent).map_err(anyhow::Error::msg)?;
        self.unpublished = false;
        Ok(())
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
