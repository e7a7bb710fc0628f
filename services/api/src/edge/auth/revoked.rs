//! Sessions that ended before their time, as all replicas know them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::visitor::Session;
use pods_db::{Db, listen, logins::revocations};
use pods_runtime::shutdown::CancellationToken;
use uuid::Uuid;

use super::{Logins, now};

/// How often the table is read without having been notified. A revocation counts at every replica within a minute.
const INTERVAL: Duration = Duration::from_secs(10);
/// A database that does not answer for so long is treated as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Silence after which nobody is led to a login any more.
const CURRENT: Duration = Duration::from_secs(35);
/// What was written so long before the newest row may have been committed after it.
const OVERLAP: TimeDelta = TimeDelta::seconds(120);

/// What is revoked.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// When each would have ended anyway.
    sessions: RwLock<HashMap<Uuid, i64>>,
    /// Known here only, until the database was told.
    untold: Mutex<HashMap<Uuid, i64>>,
    read_at: RwLock<Option<Instant>>,
}

impl Revoked {
    /// Whether a session is revoked.
    pub fn contains(&self, sid: Uuid) -> bool {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).contains_key(&sid)
    }

    /// Whether the table was ever read.
    pub fn is_loaded(&self) -> bool {
        self.read_at.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the table could be read lately.
    pub fn is_current(&self) -> bool {
        let read_at = *self.read_at.read().unwrap_or_else(PoisonError::into_inner);
        read_at.is_some_and(|at| at.elapsed() < CURRENT)
    }

    /// Counts here at once; the others learn of it through the database.
    pub fn revoke(&self, session: &Session) {
        self.learn([(session.sid, session.expires)]);
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.insert(session.sid, session.expires);
    }

    fn learn(&self, rows: impl IntoIterator<Item = (Uuid, i64)>) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).extend(rows);
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
        let untold: Vec<(Uuid, i64)> = {
            let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.iter().map(|(sid, expires)| (*sid, *expires)).collect()
        };
        if untold.is_empty() {
            return Ok(());
        }
        let mut conn = db.get().await?;
        for (sid, expires) in untold {
            let expires = DateTime::from_timestamp(expires, 0).unwrap_or_else(Utc::now);
            revocations::add(&mut conn, sid, expires).await?;
            self.untold.lock().unwrap_or_else(PoisonError::into_inner).remove(&sid);
        }
        Ok(())
    }

    /// Reads what was revoked since the newest that is known.
    pub async fn read(&self, db: &Db, newest: &mut Option<DateTime<Utc>>) -> anyhow::Result<()> {
        let asked = Instant::now();
        let mut conn = db.get().await?;
        let rows = revocations::since(&mut conn, newest.map(|at| at - OVERLAP)).await?;
        *newest = rows.iter().map(|row| row.at).max().or(*newest);
        self.learn(rows.into_iter().map(|row| (row.sid, row.expires_ts.timestamp())));
        self.forget_old();
        *self.read_at.write().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        Ok(())
    }
}

/// Follows the table for ever; Postgres may come and go.
pub(super) async fn follow(logins: Arc<Logins>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut notifications = listen::notifications(logins.db.url(), revocations::CHANNEL);
    let (mut newest, mut failing) = (None, false);
    loop {
        let look = async {
            logins.revoked.tell(&logins.db).await?;
            logins.revoked.read(&logins.db, &mut newest).await
        };
        let result = match tokio::time::timeout(ANSWER_LIMIT, look).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the database did not answer in time")),
        };
        match &result {
            Ok(()) if failing => tracing::info!("revoked sessions are followed again"),
            Err(error) if !failing => {
                tracing::warn!(error = format!("{error:#}"), "revoked sessions cannot be read, trying again");
            }
            Ok(()) | Err(_) => {}
        }
        failing = result.is_err();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(()) = notifications.recv() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_session_is_known_until_it_would_have_ended() {
        let revoked = Revoked::default();
        let (lasting, over) = (Uuid::from_u128(1), Uuid::from_u128(2));
        revoked.learn([(lasting, now() + 60), (over, now() - 1)]);
        assert!(revoked.contains(lasting) && revoked.contains(over) && !revoked.contains(Uuid::nil()));
        revoked.forget_old();
        assert!(revoked.contains(lasting) && !revoked.contains(over));
        assert!(!revoked.is_loaded() && !revoked.is_current());
    }
}
