//! Which replica looks after which pods.
//!
//! The pods of a site fall into [`SHARDS`] shares by their uid. A share is a lease; only its holder writes about its
//! pods. The database's clock says when a lease ends; a holder measures from before it asked, by a clock that cannot be
//! set, and counts a share as lost two seconds earlier, so that its work has stopped when another replica begins. One
//! that was paused and does not know better is stopped by the epoch that its writes name ([`Fence`]).
//!
//! A replica that comes, and one that goes in an orderly way, tells the others, which look at once. One that was killed
//! is missed when its leases end: the others look at that very moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pods_db::{
    Connection, Db, DbError,
    leases::{self, Lease, Taken},
    listen::notifications,
    logs::Fence,
};
use pods_runtime::{internal_http::Flag, shutdown::CancellationToken};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::metrics;

/// Number of shares, and the most replicas that can have work.
pub const SHARDS: usize = 16;
const TTL: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(2);
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// After another one's lease has ended by the database's clock.
const JUST_AFTER: Duration = Duration::from_millis(50);
/// When the renewal of a share was put off.
const PUT_OFF: Duration = Duration::from_secs(1);
/// When another replica was quicker with a free share.
const BEATEN: Duration = Duration::from_millis(100);
/// How long the work under the shares may take to end before they are given up all the same.
const SETTLE_LIMIT: Duration = Duration::from_secs(4);

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

    /// Whether a lease is held by this replica.
    fn is_own(&self, lease: &Lease) -> bool {
        lease.is_held() && lease.holder == *self.holder
    }

    /// The numbers of the shares that were held last, in order.
    fn held(&self) -> Vec<usize> {
        let mut held: Vec<usize> = self.lock().keys().copied().collect();
        held.sort_unstable();
        held
    }

    /// The lease that says that a replica lives. Numbered, so that the rows of replicas that are no more are used
    /// again.
    fn slot(&self, number: usize) -> String {
        format!("{}replica-{number:02}", self.prefix)
    }

    /// Takes the first number that no living replica has.
    async fn take_slot(&self, conn: &mut Connection, known: &[Lease]) -> Result<Option<usize>, DbError> {
        for number in 0..SHARDS * 2 {
            let name = self.slot(number);
            let free = known.iter().all(|lease| lease.name != name || !lease.is_held());
            if free && leases::acquire(conn, &name, &self.holder, TTL).await?.is_some() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The leases of up to `room` shares that nobody holds.
    fn free(&self, known: &[Lease], held: &[usize], room: usize) -> Vec<String> {
        let nobodys = |name: &String| {
            known.iter().all(|lease| lease.name != *name || !lease.is_held() || lease.holder == *self.holder)
        };
        (0..SHARDS)
            .filter(|shard| !held.contains(shard))
            .map(|shard| self.lease(shard))
            .filter(nobodys)
            .take(room)
            .collect()
    }

    /// Drops shares whose time is over without a renewal.
    fn expire(&self) {
        let now = Instant::now();
        let over: Vec<usize> =
            self.lock().iter().filter(|(_, held)| held.until <= now).map(|(shard, _)| *shard).collect();
        for shard in over {
            tracing::warn!(shard, "a share of the pods could not be renewed in time; its work stops");
            metrics::share_lost();
            self.set(shard, None);
        }
    }
}

/// How many shares a replica should hold when `replicas` are alive.
fn fair_share(replicas: usize) -> usize {
    SHARDS.div_ceil(replicas.max(1))
}

/// Holds a fair part of the shares for ever, and gives them up at the end, when the work under them has `settled`.
pub async fn run(
    shards: Shards,
    db: Db,
    ready: Flag,
    settled: impl Future<Output = ()>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut news = notifications(db.url(), leases::CHANNEL);
    let mut slot = None;
    let mut failing = false;
    loop {
        let outcome = tokio::time::timeout(TTL - MARGIN, round(&shards, &db, &mut slot)).await;
        let wait = match outcome {
            Ok(Ok(wait)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("Postgres answers again");
                }
                ready.ready();
                wait
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = format!("{error:#}"), "the shares cannot be renewed");
                }
                ready.not_ready("Postgres does not answer");
                RENEW_EVERY / 3
            }
            Err(_) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("the shares cannot be renewed: Postgres does not answer in time");
                }
                ready.not_ready("Postgres does not answer in time");
                RENEW_EVERY / 3
            }
        };
        shards.expire();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Some(()) = news.recv(), if !failing => {}
            () = shutdown.cancelled() => break,
        }
    }
    let _late = tokio::time::timeout(SETTLE_LIMIT, settled).await;
    leave(&shards, &db, slot).await
}

/// Gives everything up, so that the others need not wait for its end.
async fn leave(shards: &Shards, db: &Db, slot: Option<usize>) -> anyhow::Result<()> {
    let held = shards.held();
    for shard in &held {
        shards.set(*shard, None);
    }
    let leases = held.iter().map(|shard| shards.lease(*shard));
    let names: Vec<String> = leases.chain(slot.map(|slot| shards.slot(slot))).collect();
    // Without Postgres there is nobody to give anything to; the leases end by themselves.
    if let Ok(mut conn) = db.get().await {
        leases::release_all(&mut conn, &names, &shards.holder).await?;
    }
    Ok(())
}

/// Renews, says that this replica lives, counts the living, gives up what is too much and takes what is free. Answers
/// when to look again.
async fn round(shards: &Shards, db: &Db, slot: &mut Option<usize>) -> anyhow::Result<Duration> {
    let mut conn = db.get().await?;
    let held = shards.held();
    let kept = slot.map(|slot| shards.slot(slot));
    let mut names: Vec<String> = held.iter().map(|shard| shards.lease(*shard)).collect();
    names.extend(kept.clone());
    let renewed = renew(shards, &mut conn, &names).await?;
    let known = leases::list(&mut conn, &shards.prefix).await?;
    // Of those that could not be renewed some are still ours: their logs are being written at this moment.
    let put_off = |name: &str| known.iter().any(|lease| lease.name == name && shards.is_own(lease));
    for shard in &held {
        let name = shards.lease(*shard);
        if !renewed.contains(&name) && !put_off(&name) {
            shards.set(*shard, None);
        }
    }
    if kept.is_some_and(|kept| !renewed.contains(&kept) && !put_off(&kept)) {
        *slot = None;
    }
    let soon = shards.held().iter().any(|shard| !renewed.contains(&shards.lease(*shard)));
    let mut alive = known.iter().filter(|lease| is_slot(lease) && lease.is_held()).count();
    if slot.is_none() {
        *slot = shards.take_slot(&mut conn, &known).await?;
        alive += 1;
        leases::announce(&mut conn).await?;
    }

    let fair = fair_share(alive);
    let mut held = shards.held();
    let surplus = held.split_off(fair.min(held.len()));
    for shard in &surplus {
        shards.set(*shard, None);
    }
    let names: Vec<String> = surplus.iter().map(|shard| shards.lease(*shard)).collect();
    leases::release_all(&mut conn, &names, &shards.holder).await?;
    let wanted = shards.free(&known, &held, fair.saturating_sub(held.len()));
    let taken = take(shards, &mut conn, &wanted).await?;
    if taken.len() < wanted.len() {
        return Ok(BEATEN);
    }
    let next = next_look(&known, &shards.holder);
    Ok(if soon { next.min(PUT_OFF) } else { next })
}

/// Takes leases in one statement, so that it costs one commit, and notes the shares among them.
async fn take(shards: &Shards, conn: &mut Connection, names: &[String]) -> Result<Vec<String>, DbError> {
    // From before the database's clock was read: the share is over here before it is over there.
    let until = Instant::now() + TTL - MARGIN;
    Ok(note(shards, until, leases::acquire_all(conn, names, &shards.holder, TTL).await?))
}

/// The same for leases that are held.
async fn renew(shards: &Shards, conn: &mut Connection, names: &[String]) -> Result<Vec<String>, DbError> {
    let until = Instant::now() + TTL - MARGIN;
    Ok(note(shards, until, leases::renew_all(conn, names, &shards.holder, TTL).await?))
}

/// Notes the shares among leases that are held until then; answers the names of all.
fn note(shards: &Shards, until: Instant, taken: Vec<Taken>) -> Vec<String> {
    for lease in &taken {
        if let Some(shard) = (0..SHARDS).find(|shard| shards.lease(*shard) == lease.name) {
            shards.set(shard, Some(Held { epoch: lease.epoch, until }));
        }
    }
    taken.into_iter().map(|lease| lease.name).collect()
}

/// Whether a lease says that a replica lives.
fn is_slot(lease: &Lease) -> bool {
    lease.name.contains("/replica-")
}

/// The time of the next renewal, or of the end of another's lease when that is sooner.
fn next_look(known: &[Lease], holder: &str) -> Duration {
    let others = known.iter().filter(|lease| lease.holder != holder && lease.is_held());
    let soonest = others.map(|lease| lease.remaining).fold(f64::INFINITY, f64::min);
    let ends =
        Duration::try_from_secs_f64(soonest).map_or(Duration::MAX, |left| left.saturating_add(JUST_AFTER));
    ends.min(RENEW_EVERY)
}

#[cfg(test)]
mod tests;
