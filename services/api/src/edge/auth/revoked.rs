//! Sessions that ended before their time, as all replicas know them.
//!
//! What is known is on disk, too. While Postgres is away a process that starts believes that, together with what the
//! other replicas know, so that whoever has a session goes on and whoever logged out stays logged out.

mod kept;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{HttpResponse, web::Data};
use chrono::{DateTime, TimeDelta, Utc};
use pods_core::visitor::Session;
use pods_db::{Db, listen, logins::revocations};
use pods_runtime::shutdown::CancellationToken;
use uuid::Uuid;

use self::kept::{Kept, Line};
use super::{Logins, now};
use crate::edge::{
    condition::{self, Condition},
    config::EdgeConfig,
};

/// Where another replica is asked for what it knows.
pub(super) const PATH: &str = "/revoked";
/// How often the table is read without having been notified. A revocation counts at every replica within a minute.
const INTERVAL: Duration = Duration::from_secs(10);
/// A database that does not answer for so long is treated as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Silence after which nobody is led to a login any more.
const CURRENT: Duration = Duration::from_secs(35);
/// What was written so long before the newest row may have been committed after it.
const OVERLAP: TimeDelta = TimeDelta::seconds(120);

/// For the log.
const WHAT: &str = "revoked sessions";

/// When each session would have ended anyway.
type Sessions = HashMap<Uuid, i64>;

/// What is revoked.
#[derive(Debug)]
pub(super) struct Revoked {
    sessions: RwLock<Sessions>,
    /// Known here only, until the database was told.
    untold: Mutex<Sessions>,
    read_at: RwLock<Option<Instant>>,
    /// What was on disk is of a short time ago.
    is_remembered: bool,
    /// The database is away, and what was on disk counts until it answers.
    counts: AtomicBool,
    /// The first look at the table is over.
    has_looked: AtomicBool,
    kept: Arc<tokio::sync::Mutex<Kept>>,
    /// What the disk does not have yet.
    unkept: Arc<Mutex<Vec<Line>>>,
    disk: Arc<Mutex<Condition>>,
}

impl Revoked {
    /// What an earlier process left on disk, which does not count yet.
    pub fn new(config: &EdgeConfig) -> Self {
        let kept = Kept::open(&config.state_dir);
        let saved = kept.load(config.copy_absence);
        let now = now();
        let (mut sessions, mut untold) = (Sessions::new(), Sessions::new());
        for line in saved.lines.into_iter().filter(|line| line.expires > now) {
            sessions.insert(line.sid, line.expires);
            match line.told {
                true => untold.remove(&line.sid),
                false => untold.insert(line.sid, line.expires),
            };
        }
        Self {
            sessions: RwLock::new(sessions),
            untold: Mutex::new(untold),
            read_at: RwLock::default(),
            is_remembered: saved.is_recent,
            counts: AtomicBool::new(false),
            has_looked: AtomicBool::new(false),
            kept: Arc::new(tokio::sync::Mutex::new(kept)),
            unkept: Arc::default(),
            disk: Arc::default(),
        }
    }

    /// Whether a session is revoked.
    pub fn contains(&self, sid: Uuid) -> bool {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).contains_key(&sid)
    }

    /// Whether it is known what is revoked: the table was read, or it is away and the disk says it.
    pub fn is_loaded(&self) -> bool {
        let is_read = self.read_at.read().unwrap_or_else(PoisonError::into_inner).is_some();
        is_read || self.counts.load(Ordering::Acquire)
    }

    /// Whether the table could be read lately.
    pub fn is_current(&self) -> bool {
        let read_at = *self.read_at.read().unwrap_or_else(PoisonError::into_inner);
        read_at.is_some_and(|at| at.elapsed() < CURRENT)
    }

    /// Whether all was done to know what is revoked; whether it is known then, [`Revoked::is_loaded`] says.
    pub fn has_looked(&self) -> bool {
        self.has_looked.load(Ordering::Acquire)
    }

    pub fn looked(&self) {
        self.has_looked.store(true, Ordering::Release);
    }

    /// Counts here at once; the others learn of it through the database. True when it counts after a restart, too.
    pub async fn revoke(&self, sessions: &[Session]) -> bool {
        lock(&self.untold).extend(sessions.iter().map(|session| (session.sid, session.expires)));
        self.learn(sessions.iter().map(|session| (session.sid, session.expires)), false);
        self.keep().await
    }

    /// Everything that is known.
    fn known(&self) -> Sessions {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, rows: impl IntoIterator<Item = (Uuid, i64)>, told: bool) {
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        for (sid, expires) in rows {
            if sessions.insert(sid, expires).is_none() {
                lock(&self.unkept).push(Line { sid, expires, told });
            }
        }
    }

    fn forget_old(&self) {
        let now = now();
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        if sessions.values().any(|expires| *expires <= now) {
            sessions.retain(|_, expires| *expires > now);
        }
    }

    /// Tells the database what was revoked here.
    pub async fn tell(&self, db: &Db) -> anyhow::Result<()> {
        let untold: Vec<(Uuid, i64)> =
            lock(&self.untold).iter().map(|(sid, expires)| (*sid, *expires)).collect();
        if untold.is_empty() {
            return Ok(());
        }
        let mut conn = db.get().await?;
        for (sid, expires) in untold {
            let at = DateTime::from_timestamp(expires, 0).unwrap_or_else(Utc::now);
            revocations::add(&mut conn, sid, at).await?;
            lock(&self.untold).remove(&sid);
            lock(&self.unkept).push(Line { sid, expires, told: true });
        }
        Ok(())
    }

    /// Reads what was revoked since the newest that is known.
    pub async fn read(&self, db: &Db, newest: &mut Option<DateTime<Utc>>) -> anyhow::Result<()> {
        let asked = Instant::now();
        let mut conn = db.get().await?;
        let rows = revocations::since(&mut conn, newest.map(|at| at - OVERLAP)).await?;
        *newest = rows.iter().map(|row| row.at).max().or(*newest);
        self.learn(rows.into_iter().map(|row| (row.sid, row.expires_ts.timestamp())), true);
        self.forget_old();
        *self.read_at.write().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        Ok(())
    }

    /// The database is away: from now on what was on disk counts, with what the other replicas know.
    async fn remember(&self, logins: &Logins) -> anyhow::Result<()> {
        if self.is_loaded() || !self.is_remembered {
            return Ok(());
        }
        for known in logins.peers.ask::<Sessions>(PATH).await? {
            self.learn(known, true);
        }
        self.counts.store(true, Ordering::Release);
        tracing::info!("the database is away; sessions count as far as disk and other replicas know");
        Ok(())
    }

    /// Writes down what is known, and says whether all of it is on disk now. A full disk costs the sessions at a start
    /// without Postgres, nothing else.
    async fn keep(&self) -> bool {
        // The file stands for everything.
        if !self.is_loaded() {
            return false;
        }
        let kept = tokio::time::timeout(condition::LIMIT, self.write()).await;
        kept.unwrap_or_else(|_| {
            lock(&self.disk).waited_in_vain(WHAT);
            false
        })
    }

    /// Goes on when nobody waits for it any more, and whoever writes next waits for that.
    async fn write(&self) -> bool {
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        let (unkept, disk) = (Arc::clone(&self.unkept), Arc::clone(&self.disk));
        let lines = std::mem::take(&mut *lock(&unkept));
        // What comes in between is not lost: it waits in `unkept`.
        let sessions = self.known();
        let all = kept.wants_all(sessions.len()).then(|| self.lines_of(&sessions));
        let task = move || {
            let result = match all {
                Some(all) => kept.replace(&all),
                None => kept.append(&lines),
            };
            lock(&disk).note(WHAT, &result);
            if result.is_err() {
                lock(&unkept).extend(lines);
            }
            result.is_ok()
        };
        tokio::task::spawn_blocking(task).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "writing revoked sessions to disk failed");
            false
        })
    }

    fn lines_of(&self, sessions: &Sessions) -> Vec<Line> {
        let untold = lock(&self.untold);
        let line = |(sid, expires): (&Uuid, &i64)| Line {
            sid: *sid,
            expires: *expires,
            told: !untold.contains_key(sid),
        };
        sessions.iter().map(line).collect()
    }
}

/// Every change under a lock is complete before anything can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this replica knows, for the others.
pub(super) async fn known(logins: Data<Logins>) -> HttpResponse {
    HttpResponse::Ok().json(logins.revoked.known())
}

/// Follows the table for ever; Postgres may come and go.
pub(super) async fn follow(logins: Arc<Logins>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let revoked = &logins.revoked;
    let mut notifications = listen::notifications(logins.db.url(), revocations::CHANNEL);
    let (mut newest, mut failing) = (None, false);
    loop {
        let result = look(&logins, &mut newest).await;
        match &result {
            Ok(()) if failing => tracing::info!("revoked sessions are followed again"),
            Err(error) if !failing => {
                tracing::warn!(error = format!("{error:#}"), "revoked sessions cannot be read, trying again");
            }
            Ok(()) | Err(_) => {}
        }
        failing = result.is_err();
        if failing && let Err(error) = revoked.remember(&logins).await {
            tracing::debug!(
                error = format!("{error:#}"),
                "another replica does not say which sessions are revoked"
            );
        }
        revoked.looked();
        let rests = lock(&revoked.disk).rests();
        if !rests {
            revoked.keep().await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(()) = notifications.recv() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn look(logins: &Logins, newest: &mut Option<DateTime<Utc>>) -> anyhow::Result<()> {
    let look = async {
        logins.revoked.tell(&logins.db).await?;
        logins.revoked.read(&logins.db, newest).await
    };
    let looked = tokio::time::timeout(ANSWER_LIMIT, look).await;
    looked.unwrap_or_else(|_| Err(anyhow::anyhow!("the database did not answer in time")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::tests::disk::hanging;

    fn session(number: u128, expires: i64) -> Session {
        Session {
            sid: Uuid::from_u128(number),
            site_id: "tacc".to_owned(),
            tenant_id: "dev".to_owned(),
            username: "ann".to_owned(),
            pod_uid: Uuid::nil(),
            network: "default".to_owned(),
            host: "shop.pods.dev.example.org".to_owned(),
            issued: 0,
            expires,
        }
    }

    fn config(folder: &std::path::Path) -> EdgeConfig {
        let config = serde_json::json!({
            "bind": "127.0.0.1:0", "api_url": "http://127.0.0.1:1", "self_url": "http://127.0.0.1:1",
            "state_dir": folder,
        });
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn a_revoked_session_is_known_until_it_would_have_ended() {
        let folder = tempfile::tempdir().unwrap();
        let revoked = Revoked::new(&config(folder.path()));
        let (lasting, over) = (Uuid::from_u128(1), Uuid::from_u128(2));
        revoked.learn([(lasting, now() + 60), (over, now() - 1)], true);
        assert!(revoked.contains(lasting) && revoked.contains(over) && !revoked.contains(Uuid::nil()));
        revoked.forget_old();
        assert!(revoked.contains(lasting) && !revoked.contains(over));
        assert!(!revoked.is_loaded() && !revoked.is_current());
    }

    #[tokio::test]
    async fn what_was_revoked_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let before = Revoked::new(&config);
        before.learn([(Uuid::from_u128(1), now() + 60)], true);
        assert!(!before.keep().await);
        assert!(!Revoked::new(&config).is_remembered, "before the table was read nothing is complete");
        *before.read_at.write().unwrap() = Some(Instant::now());
        before.keep().await;
        assert!(before.revoke(&[session(2, now() + 60), session(3, now() - 1)]).await);

        let after = Revoked::new(&config);
        assert!(after.is_remembered && !after.is_loaded(), "the database may know more");
        assert!(after.contains(Uuid::from_u128(1)) && after.contains(Uuid::from_u128(2)));
        assert!(!after.contains(Uuid::from_u128(3)), "that one is over");
        let untold: Vec<Uuid> = lock(&after.untold).keys().copied().collect();
        assert_eq!(untold, [Uuid::from_u128(2)], "the database is told of what was revoked here");

        let old = EdgeConfig { copy_absence: Duration::ZERO, ..config };
        let file =
            std::fs::File::options().write(true).open(folder.path().join("revocations.journal")).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(1)).unwrap();
        let late = Revoked::new(&old);
        assert!(!late.is_remembered && late.contains(Uuid::from_u128(2)));
    }

    #[tokio::test]
    async fn whoever_logs_out_does_not_wait_for_a_disk_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let before = Revoked::new(&config);
        *before.read_at.write().unwrap() = Some(Instant::now());
        let hanging = hanging(folder.path().join("revocations.new"));
        let begun = Instant::now();
        assert!(!before.revoke(&[session(1, now() + 60)]).await, "it is on no disk");
        assert!(!before.revoke(&[session(2, now() + 60)]).await);
        assert!(begun.elapsed() < 3 * condition::LIMIT, "{:?}", begun.elapsed());
        assert!(before.contains(Uuid::from_u128(1)) && before.contains(Uuid::from_u128(2)));
        assert!(lock(&before.disk).rests());
        hanging.goes_on();
        assert!(before.keep().await);
        assert!(!lock(&before.disk).is_failing());
        let after = Revoked::new(&config);
        assert!(after.contains(Uuid::from_u128(1)) && after.contains(Uuid::from_u128(2)), "nothing was lost");
    }
}
