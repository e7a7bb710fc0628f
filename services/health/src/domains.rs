//! Looks after custom domains: asks DNS who may have one, lets [`pods_core::domains`] decide, and stores that.
//!
//! One replica does so for the whole site, the one that holds the first share. Two that believe that they do harm
//! nothing: what is stored compares what was read.
//!
//! Name servers are the users' own and may take as long as they like, so domains are looked at in lanes: those that lead
//! to a pod, those that are wanted, and those whose servers were silent the last time.

pub mod dns;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use pods_core::domains::{Answer, Claim, Patience, decide, is_reserved};
use pods_db::{
    Db,
    domains::{self, Due, Lane},
};
use pods_runtime::{config::duration, shutdown::CancellationToken};
use serde::Deserialize;

use crate::{metrics, shards::Shards};
use dns::Resolver;

/// How often is asked which domains are due, when nothing else is the occasion. A domain that was looked at rests until
/// then.
const INTERVAL: Duration = Duration::from_secs(2);
const LANES: [Lane; 3] = [Lane::Held, Lane::Wanted, Lane::Silent];

/// Questions under way in a lane.
fn places(lane: Lane) -> usize {
    match lane {
        Lane::Held | Lane::Silent => 4,
        Lane::Wanted => 8,
    }
}

/// `[domains]`: how custom domains are proven.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainsConfig {
    /// DNS servers as `address` or `address:port`; none are those of the machine.
    pub servers: Vec<String>,
    /// How long a server may take to answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Between two looks at a verified domain.
    #[serde(with = "duration")]
    pub recheck: Duration,
    /// How long a verified domain goes on leading to its pod without its record.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// How long DNS may be silent about a verified domain before that is as if the record were gone.
    #[serde(with = "duration")]
    pub silence: Duration,
}

impl Default for DomainsConfig {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let (recheck, grace, silence) = (hours(1), hours(24), hours(7 * 24));
        Self { servers: Vec::new(), timeout: Duration::from_secs(5), recheck, grace, silence }
    }
}

impl DomainsConfig {
    fn patience(&self) -> Patience {
        let delta = |time: Duration| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        Patience { recheck: delta(self.recheck), grace: delta(self.grace), silence: delta(self.silence) }
    }
}

/// The checker of one site.
pub struct Checker {
    db: Db,
    site_id: String,
    resolver: Resolver,
    patience: Patience,
    failing: AtomicBool,
}

impl Checker {
    /// A checker that asks the servers of the configuration.
    ///
    /// # Errors
    /// A sentence about the setting that cannot be used.
    pub fn new(db: Db, site_id: String, config: &DomainsConfig) -> anyhow::Result<Self> {
        let resolver = Resolver::new(&config.servers, config.timeout)?;
        let (patience, failing) = (config.patience(), AtomicBool::new(false));
        Ok(Self { db, site_id, resolver, patience, failing })
    }

    /// Checks for ever, while this replica holds the first share.
    ///
    /// # Errors
    /// None; the type is what the supervisor expects.
    pub async fn run(self, shards: Shards, shutdown: CancellationToken) -> anyhow::Result<()> {
        let lanes = LANES.map(|lane| self.follow(lane, &shards));
        tokio::select! {
            _never = join_all(lanes) => {}
            () = shutdown.cancelled() => {}
        }
        Ok(())
    }

    async fn follow(&self, lane: Lane, shards: &Shards) {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = Looks::new(self, lane);
        loop {
            if shards.holds(0) {
                looks.begin(Utc::now()).await;
            }
            tokio::select! {
                Some(()) = looks.next() => {}
                _ = tick.tick() => looks.rested.clear(),
            }
        }
    }

    /// One look at every domain that is due; answers how many there were.
    pub async fn pass(&self, now: DateTime<Utc>) -> usize {
        let lanes = LANES.map(|lane| async move {
            let mut looks = Looks::new(self, lane);
            looks.begin(now).await;
            while looks.next().await.is_some() {
                looks.begin(now).await;
            }
            looks.rested.len()
        });
        join_all(lanes).await.into_iter().sum()
    }

    /// Domains that are due, and the hosts that no record can give away.
    async fn due(&self, due: &Due<'_>) -> anyhow::Result<(Vec<String>, Arc<[String]>)> {
        let mut conn = self.db.get().await?;
        let due = domains::due(&mut conn, due).await?;
        let own_hosts = if due.is_empty() { Vec::new() } else { domains::tenant_hosts(&mut conn).await? };
        Ok((due, own_hosts.into()))
    }

    async fn look(
        &self,
        domain: &str,
        limit: Duration,
        own_hosts: &[String],
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let reserved = is_reserved(domain, own_hosts.iter().map(String::as_str));
        // No connection is held while DNS is asked.
        let answer = match reserved {
            true => Answer::Nothing,
            false => self.resolver.ask_within(domain, limit).await,
        };
        let answered = matches!(answer, Answer::Names(_)) || reserved;
        metrics::domain_look(if answered { "answered" } else { "silent" });
        let mut conn = self.db.get().await?;
        // Read after the answer: a pod that was told to want the domain meanwhile is decided about, too.
        let known = domains::claims(&mut conn, domain).await?;
        let claims: Vec<Claim> = known.iter().map(|known| known.claim.clone()).collect();
        for verdict in decide(&claims, &answer, reserved, self.patience, now) {
            let uid = verdict.after.pod_uid;
            let Some(before) = known.iter().find(|known| known.claim.pod_uid == uid) else { continue };
            let stored = domains::record(&mut conn, before, &verdict, now).await?;
            if stored && verdict.turns(&before.claim) {
                let verified = verdict.after.verified.is_some();
                tracing::info!(pod.uid = %uid, domain, verified, "a custom domain has turned");
            }
        }
        Ok(())
    }

    /// Says once that domains cannot be looked at, and once that they can be again.
    fn report(&self, result: &anyhow::Result<()>) {
        let failed = result.is_err();
        if failed {
            metrics::domain_look("failed");
        }
        match (result, self.failing.swap(failed, Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(
                error = format!("{error:#}"),
                "custom domains cannot be looked at, trying again"
            ),
            (Err(error), true) => {
                tracing::debug!(error = format!("{error:#}"), "a look at a custom domain failed again");
            }
            (Ok(()), true) => tracing::info!("custom domains are looked at again"),
            (Ok(()), false) => {}
        }
    }
}

/// The looks of a lane.
struct Looks<'a> {
    checker: &'a Checker,
    lane: Lane,
    running: FuturesUnordered<BoxFuture<'a, String>>,
    /// Domains that are looked at.
    under_way: HashSet<String>,
    /// Domains that were looked at, and are not looked at again so soon, whatever came of it.
    rested: HashSet<String>,
}

impl<'a> Looks<'a> {
    fn new(checker: &'a Checker, lane: Lane) -> Self {
        let (running, under_way, rested) = Default::default();
        Self { checker, lane, running, under_way, rested }
    }

    /// Begins with as many domains that are due as there are places. One that cannot be looked at hinders no other.
    async fn begin(&mut self, now: DateTime<Utc>) {
        let limit = places(self.lane).saturating_sub(self.under_way.len());
        if limit == 0 {
            return;
        }
        let without: Vec<String> = self.under_way.iter().chain(&self.rested).cloned().collect();
        let checker = self.checker;
        let due = Due { site_id: &checker.site_id, lane: self.lane, now, without: &without, limit };
        let (due, own_hosts) = match checker.due(&due).await {
            Ok(found) => found,
            Err(error) => return checker.report(&Err(error)),
        };
        let patience = checker.resolver.patience(self.lane == Lane::Held);
        for domain in due {
            self.under_way.insert(domain.clone());
            let own_hosts = Arc::clone(&own_hosts);
            self.running.push(Box::pin(async move {
                checker.report(&checker.look(&domain, patience, &own_hosts, now).await);
                domain
            }));
        }
    }

    /// Waits until one look is over; `None` when none is under way.
    async fn next(&mut self) -> Option<()> {
        let domain = self.running.next().await?;
        self.under_way.remove(&domain);
        self.rested.insert(domain);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_documented() {
        let page = include_str!("../../../docs/networking.md");
        let config = DomainsConfig::default();
        assert_eq!((config.servers.len(), config.timeout.as_secs()), (0, 5));
        assert_eq!((config.recheck.as_secs(), config.grace.as_secs()), (3600, 24 * 3600));
        assert_eq!(config.silence.as_secs(), 7 * 24 * 3600);
        for row in [
            "| `servers` | none |",
            "| `timeout` | `5s` |",
            "| `recheck` | `1h` |",
            "| `grace` | `24h` |",
            "| `silence` | `7d` |",
        ] {
            assert!(page.contains(row), "{row}");
        }
    }
}
