//! Removes rows that nobody needs any more.
//!
//! In small steps, each a transaction of its own: a long one would hold back every reader of the change feed, and one
//! that is too long for Postgres would be rolled back and begun again for ever. One replica does it, and what fails for
//! one table does not keep the others.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use pods_db::{Connection, Db, DbError, changes, instances, outbox, pods::PodRow, templates::TemplateRow};
use pods_runtime::shutdown::CancellationToken;
use tokio::time::Instant;

use crate::shards::Shards;

const EVERY: Duration = Duration::from_secs(600);
/// How often to look whether it is due, and ours to do.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const KEEP_PUBLISHED: TimeDelta = TimeDelta::hours(1);
const KEEP_CHANGES: TimeDelta = TimeDelta::hours(6);
/// Tombstones and starts stay longer than a message can wait in the broker.
const KEEP_HISTORY: TimeDelta = TimeDelta::hours(48);

/// What grows old.
#[derive(Debug, Clone, Copy)]
enum Old {
    WakeUps,
    Changes,
    Starts,
    Tombstones,
    Templates,
}

impl Old {
    const ALL: [Self; 5] = [Self::WakeUps, Self::Changes, Self::Starts, Self::Tombstones, Self::Templates];

    /// Removes some; 0 means that there are none.
    async fn remove(self, conn: &mut Connection, now: DateTime<Utc>) -> Result<usize, DbError> {
        match self {
            Self::WakeUps => outbox::prune(conn, now - KEEP_PUBLISHED).await,
            Self::Changes => changes::prune(conn, now - KEEP_CHANGES).await,
            Self::Starts => instances::prune(conn, now - KEEP_HISTORY).await,
            Self::Tombstones => PodRow::purge_tombstones(conn, now - KEEP_HISTORY).await,
            Self::Templates => TemplateRow::purge(conn, now - KEEP_HISTORY).await,
        }
    }
}

/// Prunes for ever, wherever the first share of the pods is held.
pub async fn run(db: Db, shards: Shards, shutdown: CancellationToken) -> anyhow::Result<()> {
    let work = async {
        let mut due = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if due <= Instant::now() && shards.holds(0) {
                prune(&db, Utc::now(), || shards.holds(0)).await;
                due = Instant::now() + EVERY;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

async fn prune(db: &Db, now: DateTime<Utc>, ours: impl Fn() -> bool) {
    for old in Old::ALL {
        if let Err(error) = drain(db, old, now, &ours).await {
            tracing::warn!(?old, error = format!("{error:#}"), "old rows could not be removed, later again");
        }
    }
}

async fn drain(db: &Db, old: Old, now: DateTime<Utc>, ours: impl Fn() -> bool) -> anyhow::Result<()> {
    let mut removed = 0;
    while ours() {
        // A connection for each step, so that others get theirs in between.
        let mut conn = db.get().await?;
        match old.remove(&mut conn, now).await? {
            0 => break,
            some => removed += some,
        }
    }
    if removed > 0 {
        tracing::debug!(?old, removed, "old rows were removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel_async::SimpleAsyncConnection;
    use pods_core::transition::Event;
    use pods_db::{
        testing::{TestDatabase, done, now, pod},
        transitions::{Change, mark_objects_gone},
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_removed_does_not_keep_the_rest() {
        let database = TestDatabase::new().await;
        let conn = &mut database.conn().await;
        let mut uids = Vec::new();
        for n in 0..25 {
            let row = pod(conn, &format!("pod{n}"), false).await;
            let tombstone = done(conn, &row, Change::new(Event::Delete, now())).await;
            assert!(mark_objects_gone(conn, &tombstone, now()).await.unwrap());
            uids.push(row.uid);
        }
        conn.batch_execute("ALTER TABLE outbox RENAME TO elsewhere").await.unwrap();
        let db = database.db();
        prune(&db, Utc::now() + TimeDelta::days(3), || false).await;
        assert_eq!(PodRow::by_uids(conn, &uids).await.unwrap().len(), 25, "another replica's to do");
        prune(&db, Utc::now() + TimeDelta::days(3), || true).await;
        assert_eq!(PodRow::by_uids(conn, &uids).await.unwrap(), []);
    }
}
