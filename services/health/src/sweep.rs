//! What no event tells: deadlines that pass, wake-ups that were lost, Pods that vanished while nobody looked, and
//! rows that nobody needs any more.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::Status;
use pods_db::{Connection, Db, changes, instances, outbox, pods::PodRow, templates::TemplateRow};
use pods_runtime::shutdown::CancellationToken;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    expiry,
    queue::{Pusher, Trigger},
    settled::Settled,
    shards::{Shards, Shift},
    view::View,
};

const AT_ONCE: i64 = 1000;
const FULL_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const KEEP_PUBLISHED: TimeDelta = TimeDelta::hours(1);
const KEEP_CHANGES: TimeDelta = TimeDelta::hours(6);
/// Tombstones and starts stay longer than a message can wait in the broker.
const KEEP_HISTORY: TimeDelta = TimeDelta::hours(48);

/// The tools of the sweep.
pub struct Sweep {
    /// Postgres.
    pub db: Db,
    /// The site whose pods are swept.
    pub site_id: String,
    /// Which of them are ours.
    pub shards: Shards,
    /// The Pods as last seen.
    pub view: View,
    /// Rows at which nothing was left to do.
    pub settled: Settled,
    /// Where rows are pushed that need a look.
    pub queue: Pusher,
    /// How often.
    pub interval: Duration,
}

/// When a row was last woken by the sweep, at which revision, and how often.
struct Woken {
    at: Instant,
    revision: i64,
    times: u32,
}

impl Sweep {
    /// Sweeps for ever.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut shifts = self.shards.shifts();
        let mut woken: HashMap<Uuid, Woken> = HashMap::new();
        let mut full_at = None;
        let mut pruned_at: Option<Instant> = None;
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                shift = shifts.recv() => match shift {
                    // What was missed while another held the share, or nobody did.
                    Ok(Shift::Gained(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        full_at = None;
                        self.settled.forget_all();
                        // Several shares usually come together.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        shifts = shifts.resubscribe();
                    }
                    Ok(Shift::Lost(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                () = shutdown.cancelled() => return Ok(()),
            }
            let full = full_at.is_none_or(|at: Instant| at.elapsed() >= FULL_EVERY) && self.view.synced();
            match self.pass(&mut woken, full).await {
                Ok(()) if full => full_at = Some(Instant::now()),
                Ok(()) => {}
                Err(error) => tracing::debug!(error = format!("{error:#}"), "a sweep failed"),
            }
            if pruned_at.is_none_or(|at| at.elapsed() >= PRUNE_EVERY) && self.shards.holds(0) {
                match self.prune(Utc::now()).await {
                    Ok(()) => pruned_at = Some(Instant::now()),
                    Err(error) => tracing::debug!(error = format!("{error:#}"), "pruning failed"),
                }
            }
        }
    }

    async fn pass(&self, woken: &mut HashMap<Uuid, Woken>, full: bool) -> anyhow::Result<()> {
        let mut conn = self.db.get().await?;
        let now = Utc::now();
        expiry::pass(&mut conn, &self.site_id, &self.shards, now).await?;
        self.wake_unsettled(&mut conn, woken, now).await?;
        if full {
            self.push_all(&mut conn).await?;
        }
        Ok(())
    }

    /// Tells the spawner again about rows on which nothing moved, ever less often.
    async fn wake_unsettled(
        &self,
        conn: &mut Connection,
        woken: &mut HashMap<Uuid, Woken>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let before = now - TimeDelta::from_std(self.interval).unwrap_or_default();
        let rows = PodRow::unsettled(conn, &self.site_id, before, AT_ONCE).await?;
        woken.retain(|uid, _| rows.iter().any(|row| row.uid == *uid));
        for row in rows.iter().filter(|row| self.shards.mine(row.uid)) {
            if row.not_before.is_some_and(|at| at > now) && row.status == Status::Requested {
                continue;
            }
            let known = woken.get(&row.uid).filter(|known| known.revision == row.revision);
            let times = known.map_or(0, |known| known.times);
            let pause = self.interval.saturating_mul(1 << times.min(6)).min(LONGEST_PAUSE.max(self.interval));
            // The first time right away: it has been an interval already since the row moved.
            if known.is_some_and(|known| known.at.elapsed() < pause) {
                continue;
            }
            outbox::add(conn, row.uid, "sweep").await?;
            self.queue.push(row.uid, Trigger::TIMER);
            woken.insert(row.uid, Woken { at: Instant::now(), revision: row.revision, times: times + 1 });
        }
        Ok(())
    }

    /// Looks at every row that has a Pod or should have one, and that moved since it was looked at.
    async fn push_all(&self, conn: &mut Connection) -> anyhow::Result<()> {
        let mut with_pods: HashSet<Uuid> = self.view.uids().into_iter().collect();
        for row in PodRow::not_stopped(conn, &self.site_id).await? {
            let has_pods = with_pods.remove(&row.uid);
            let settled = self.settled.is_settled(row.uid, row.revision);
            if (has_pods || row.should_run()) && !settled && self.shards.mine(row.uid) {
                self.queue.push(row.uid, Trigger::TIMER);
            }
        }
        // Pods of rows that are stopped, or that do not exist.
        for uid in with_pods.into_iter().filter(|uid| self.shards.mine(*uid)) {
            self.queue.push(uid, Trigger::TIMER);
        }
        Ok(())
    }

    async fn prune(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let mut conn = self.db.get().await?;
        outbox::prune(&mut conn, now - KEEP_PUBLISHED).await?;
        changes::prune(&mut conn, now - KEEP_CHANGES).await?;
        instances::prune(&mut conn, now - KEEP_HISTORY).await?;
        PodRow::purge_tombstones(&mut conn, now - KEEP_HISTORY).await?;
        TemplateRow::purge(&mut conn, now - KEEP_HISTORY).await?;
        Ok(())
    }
}
