//! Which replica looks after which pods.
//!
//! The pods of a site fall into [`SHARDS`] shares by their uid. A share is a lease; only its holder writes about its
//! pods. A holder counts a share as lost two seconds before the lease really ends, so that its work has stopped when
//! another replica begins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use diesel_async::AsyncConnection;
use pods_db::{Db, leases, logs::Fence};
use pods_runtime::{internal_http::Flag, shutdown::CancellationToken};
use tokio::sync::broadcast;
use uuid::Uuid;

/// Number of shares, and the most replicas that can have work.
pub const SHARDS: usize = 16;
const TTL: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(2);
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// The share that a pod belongs to.
pub fn shard_of(uid: Uuid) -> usize {
    // The last byte of a version 7 uuid is random.
    usize::from(uid.as_bytes()[15]) % SHARDS
}

/// A share came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// This replica holds it now.
    Gained(usize),
    /// It holds it no longer.
    Lost(usize),
}

/// The shares of this replica.
#[derive(Clone)]
pub struct Shards {
    held: Arc<Mutex<HashMap<usize, Held>>>,
    shifts: broadcast::Sender<Shift>,
    prefix: Arc<str>,
    holder: Arc<str>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: i64,
    until: Instant,
}

impl Shards {
    /// No shares yet. The holder's name is different for every process that ever ran.
    pub fn new(site_id: &str) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("{}-{}-{}", host.trim(), std::process::id(), Uuid::now_v7());
        Self {
            held: Arc::default(),
            shifts: broadcast::channel(SHARDS * 8).0,
            prefix: format!("health/{site_id}/").into(),
            holder: holder.into(),
        }
    }

    /// The lease under which this replica may write about a pod; `None` when it is another's affair.
    pub fn fence(&self, uid: Uuid) -> Option<Fence> {
        let shard = shard_of(uid);
        let held = *self.lock().get(&shard)?;
        (held.until > Instant::now()).then(|| Fence { name: self.lease(shard), epoch: held.epoch })
    }

    /// Whether a pod is this replica's.
    pub fn mine(&self, uid: Uuid) -> bool {
        self.holds(shard_of(uid))
    }

    /// Whether this replica holds a share.
    pub fn holds(&self, shard: usize) -> bool {
        self.lock().get(&shard).is_some_and(|held| held.until > Instant::now())
    }

    /// What comes and goes from now on.
    pub fn shifts(&self) -> broadcast::Receiver<Shift> {
        self.shifts.subscribe()
    }

    fn lease(&self, shard: usize) -> String {
        format!("{}shard-{shard:02}", self.prefix)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, shard: usize, held: Option<Held>) {
        let (before, after) = {
            let mut all = self.lock();
            let before = match held {
                Some(held) => all.insert(shard, held),
                None => all.remove(&shard),
            };
            (before, held)
        };
        // A changed epoch means that another replica held it in between.
        if before.is_some() && before.map(|held| held.epoch) != after.map(|held| held.epoch) {
            let _nobody = self.shifts.send(Shift::Lost(shard));
        }
        if after.is_some() && before.map(|held| held.epoch) != after.map(|held| held.epoch) {
            let _nobody = self.shifts.send(Shift::Gained(shard));
        }
    }

    /// Drops shares whose time is over without a renewal.
    fn expire(&self) {
        let now = Instant::now();
        let over: Vec<usize> =
            self.lock().iter().filter(|(_, held)| held.until <= now).map(|(shard, _)| *shard).collect();
        for shard in over {
            tracing::warn!(shard, "a share of the pods could not be renewed in time; its work stops");
            self.set(shard, None);
        }
    }
}

/// How many shares a replica should hold when `replicas` are alive.
fn fair_share(replicas: usize) -> usize {
    SHARDS.div_ceil(replicas.max(1))
}

/// Holds a fair part of the shares for ever, and gives them up at the end.
pub async fn run(shards: Shards, db: Db, ready: Flag, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut slot = None;
    let mut failing = false;
    loop {
        match tokio::time::timeout(TTL - MARGIN, round(&shards, &db, &mut slot)).await {
            Ok(Ok(())) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("Postgres answers again");
                }
                ready.ready();
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = format!("{error:#}"), "the shares cannot be renewed");
                }
                ready.not_ready("Postgres does not answer");
            }
            Err(_) => {
                failing = true;
                ready.not_ready("Postgres does not answer in time");
            }
        }
        shards.expire();
        let wait = if failing { RENEW_EVERY / 3 } else { RENEW_EVERY };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => break,
        }
    }
    let held: Vec<usize> = shards.lock().keys().copied().collect();
    for shard in &held {
        shards.set(*shard, None);
    }
    if let Ok(mut conn) = db.get().await {
        for shard in held {
            leases::release(&mut conn, &shards.lease(shard), &shards.holder).await?;
        }
        if let Some(slot) = slot {
            leases::release(&mut conn, &slot_name(&shards, slot), &shards.holder).await?;
        }
    }
    Ok(())
}

/// Numbered, so that the rows of replicas that are no more are used again.
fn slot_name(shards: &Shards, slot: usize) -> String {
    format!("{}replica-{slot:02}", shards.prefix)
}

/// Says that this replica lives, counts the living, renews, gives up what is too much and takes what is free.
async fn round(shards: &Shards, db: &Db, slot: &mut Option<usize>) -> anyhow::Result<()> {
    let mut conn = db.get().await?;
    let begun = Instant::now();
    let until = begun + TTL - MARGIN;
    let holder = &*shards.holder;
    let mut mine = None;
    for candidate in slot.iter().copied().chain(0..SHARDS * 2) {
        if leases::acquire(&mut conn, &slot_name(shards, candidate), holder, TTL).await?.is_some() {
            mine = Some(candidate);
            break;
        }
    }
    *slot = mine;
    let now = Utc::now();
    let known = leases::list(&mut conn, &shards.prefix).await?;
    let alive =
        known.iter().filter(|lease| lease.name.contains("/replica-") && lease.expires_ts > now).count();
    let fair = fair_share(alive);

    let mut held: Vec<usize> = shards.lock().keys().copied().collect();
    held.sort_unstable();
    while held.len() > fair
        && let Some(shard) = held.pop()
    {
        shards.set(shard, None);
        leases::release(&mut conn, &shards.lease(shard), holder).await?;
    }
    let free = (0..SHARDS).filter(|shard| {
        let name = shards.lease(*shard);
        !held.contains(shard)
            && known
                .iter()
                .all(|lease| lease.name != name || lease.expires_ts <= now || lease.holder == holder)
    });
    let room = fair.saturating_sub(held.len());
    let wanted: Vec<usize> = held.iter().copied().chain(free.take(room)).collect();
    // One transaction: one commit for all of them. In ascending order, so that two replicas never wait crosswise.
    let mut ordered = wanted;
    ordered.sort_unstable();
    let names: Vec<(usize, String)> = ordered.iter().map(|shard| (*shard, shards.lease(*shard))).collect();
    let taken: Vec<(usize, Option<i64>)> = conn
        .transaction::<_, pods_db::DbError, _>(async |conn| {
            let mut taken = Vec::with_capacity(names.len());
            for (shard, name) in &names {
                taken.push((*shard, leases::acquire(conn, name, holder, TTL).await?));
            }
            Ok(taken)
        })
        .await?;
    for (shard, epoch) in taken {
        shards.set(shard, epoch.map(|epoch| Held { epoch, until }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_share_fairly_and_leave_nothing() {
        for replicas in 0..40 {
            assert!(fair_share(replicas) * replicas.max(1) >= SHARDS, "{replicas}");
        }
        assert_eq!((fair_share(1), fair_share(2), fair_share(3)), (16, 8, 6));
    }

    #[test]
    fn shares_are_even() {
        let mut counts = [0; SHARDS];
        for _ in 0..16_000 {
            counts[shard_of(Uuid::now_v7())] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_share_ends_before_its_lease() {
        let shards = Shards::new("s");
        let uid = Uuid::now_v7();
        let mut shifts = shards.shifts();
        let held = |until| Some(Held { epoch: 3, until });
        shards.set(shard_of(uid), held(Instant::now() + Duration::from_secs(60)));
        assert_eq!(shards.fence(uid).map(|fence| fence.epoch), Some(3));
        shards.set(shard_of(uid), held(Instant::now() - Duration::from_millis(1)));
        assert!(!shards.mine(uid));
        shards.expire();
        assert_eq!(shifts.try_recv(), Ok(Shift::Gained(shard_of(uid))));
        assert_eq!(shifts.try_recv(), Ok(Shift::Lost(shard_of(uid))));
    }
}
