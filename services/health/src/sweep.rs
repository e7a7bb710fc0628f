//! What no event tells: deadlines that pass, wake-ups that were lost, Pods that vanished while nobody looked.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::Status;
use pods_db::{Connection, Db, outbox, pods::PodRow};
use pods_messages::WakeUp;
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

const FULL_EVERY: Duration = Duration::from_secs(60);
/// A deadline is kept to within this time and a little.
const EXPIRE_EVERY: Duration = Duration::from_secs(2);

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
        let (mut not_swept, mut not_expired) = (false, false);
        let mut incomplete = true;
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut deadlines = tokio::time::interval(EXPIRE_EVERY);
        deadlines.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = deadlines.tick() => {
                    report(&mut not_expired, "deadlines", self.expire().await);
                    continue;
                }
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
                // Shares that were gained while the first list was on its way: what it had shown by then was not ours yet.
                () = self.view.first_sync(), if incomplete => incomplete = false,
                () = shutdown.cancelled() => return Ok(()),
            }
            let full = full_at.is_none_or(|at: Instant| at.elapsed() >= FULL_EVERY) && self.view.synced();
            let swept = self.pass(&mut woken, full).await;
            if swept.is_ok() && full {
                full_at = Some(Instant::now());
            }
            report(&mut not_swept, "rows without progress", swept);
        }
    }

    async fn expire(&self) -> anyhow::Result<()> {
        let mut conn = self.db.get().await?;
        expiry::pass(&mut conn, &self.site_id, &self.shards, Utc::now()).await?;
        Ok(())
    }

    async fn pass(&self, woken: &mut HashMap<Uuid, Woken>, full: bool) -> anyhow::Result<()> {
        let mut conn = self.db.get().await?;
        self.wake_unsettled(&mut conn, woken, Utc::now()).await?;
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
        let mut rows = PodRow::unsettled(conn, &self.site_id, before).await?;
        rows.retain(|row| self.shards.mine(row.uid));
        let waiting: HashSet<Uuid> = rows.iter().map(|row| row.uid).collect();
        woken.retain(|uid, _| waiting.contains(uid));
        let mut due = Vec::new();
        for row in &rows {
            if row.not_before.is_some_and(|at| at > now) && row.status == Status::Requested {
                continue;
            }
            let known = woken.get(&row.uid).filter(|known| known.revision == row.revision);
            let times = known.map_or(0, |known| known.times);
            let pause = self
                .interval
                .saturating_mul(1 << times.min(6))
                .min(WakeUp::REPEATED_EVERY.max(self.interval));
            // The first time right away: it has been an interval already since the row moved.
            if known.is_some_and(|known| known.at.elapsed() < pause) {
                continue;
            }
            due.push((row.uid, Woken { at: Instant::now(), revision: row.revision, times: times + 1 }));
        }
        let uids: Vec<Uuid> = due.iter().map(|(uid, _)| *uid).collect();
        outbox::add_all(conn, &uids, WakeUp::SWEEP).await?;
        for uid in uids {
            self.queue.push(uid, Trigger::TIMER);
        }
        woken.extend(due);
        Ok(())
    }

    /// Looks at every row that has a Pod or should have one, and that moved since it was looked at.
    async fn push_all(&self, conn: &mut Connection) -> anyhow::Result<()> {
        let mut moved = Vec::new();
        let mut with_pods: HashSet<Uuid> = self.view.uids().into_iter().collect();
        for row in PodRow::not_stopped(conn, &self.site_id).await? {
            let has_pods = with_pods.remove(&row.uid);
            let settled = self.settled.is_settled(row.uid, row.revision);
            if (has_pods || row.should_run()) && !settled && self.shards.mine(row.uid) {
                moved.push(row.uid);
            }
        }
        // Pods of rows that are stopped, or that do not exist.
        moved.extend(with_pods.into_iter().filter(|uid| self.shards.mine(*uid)));
        // Somebody waits for the ends; the others usually need nothing.
        let ended = self.view.ended();
        moved.sort_by_key(|uid| !ended.contains(uid));
        self.queue.push_all(moved, Trigger::TIMER);
        Ok(())
    }
}

/// Logs the first failure to look after something, and the recovery.
fn report(failing: &mut bool, what: &'static str, result: anyhow::Result<()>) {
    match result {
        Ok(()) if std::mem::take(failing) => tracing::info!(what, "the sweep works again"),
        Ok(()) => {}
        Err(error) if !std::mem::replace(failing, true) => {
            tracing::warn!(
                what,
                error = format!("{error:#}"),
                "the sweep failed; it is tried again until it does not"
            );
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use pods_core::transition::Event;
    use pods_db::{
        testing::{TestDatabase, done, now, pod},
        transitions::Change,
    };
    use pods_runtime::internal_http::{Beat, Health};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{queue, shards};

    const LIMIT: Duration = Duration::from_secs(30);
    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(flavor = "multi_thread")]
    async fn shares_that_came_before_the_first_list_was_complete_are_looked_at_then() {
        let database = TestDatabase::new().await;
        let row = pod(&mut *database.conn().await, "early", true).await;
        let begun = Change::new(Event::SpawnBegun, now() - 2 * HOUR);
        let row = done(&mut *database.conn().await, &row, begun).await;

        let (shards, stop) = (Shards::new(&row.site_id), CancellationToken::new());
        let mut shifts = shards.shifts();
        let ready = Health::new().flag("postgres");
        tokio::spawn(shards::run(shards.clone(), database.db(), ready, std::future::ready(()), stop.clone()));
        for _ in 0..shards::SHARDS {
            tokio::time::timeout(LIMIT, shifts.recv()).await.unwrap().unwrap();
        }

        let view = View::default();
        let (pusher, one_by_one, surveys) = queue::queue();
        let (seen, mut looked_at) = mpsc::unbounded_channel();
        let (single, many) = (seen.clone(), seen);
        tokio::spawn(queue::run(one_by_one, 1, Beat::new(), stop.clone(), move |uid, _| {
            single.send(("single", vec![uid])).unwrap();
            std::future::ready(None)
        }));
        tokio::spawn(queue::survey(surveys, pusher.clone(), stop.clone(), move |uids, _| {
            many.send(("many", uids)).unwrap();
            std::future::ready(Vec::new())
        }));
        let sweep = Sweep {
            db: database.db(),
            site_id: row.site_id.clone(),
            shards,
            view: view.clone(),
            settled: Settled::default(),
            queue: pusher,
            interval: HOUR,
        };
        tokio::spawn(sweep.run(stop.clone()));
        let mut next = async || tokio::time::timeout(LIMIT, looked_at.recv()).await.unwrap().unwrap();
        assert_eq!(
            next().await,
            ("single", vec![row.uid]),
            "the first pass, which does not know what exists"
        );
        view.keep_only(&HashSet::new());
        assert_eq!(next().await, ("many", vec![row.uid]));
        stop.cancel();
    }
}
