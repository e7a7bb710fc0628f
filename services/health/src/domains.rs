//! Looks after custom domains: asks DNS who may have one, lets [`pods_core::domains`] decide, and stores that.
//!
//! One replica does so for the whole site, the one that holds the first share. Two that believe that they do harm
//! nothing: what is stored compares what was read.

pub mod dns;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream::FuturesUnordered};
use pods_core::domains::{Answer, Claim, Patience, decide, is_reserved};
use pods_db::{Db, domains};
use pods_runtime::{config::duration, shutdown::CancellationToken};
use serde::Deserialize;

use crate::{metrics, shards::Shards};
use dns::Resolver;

/// How often is asked which domains are due.
const INTERVAL: Duration = Duration::from_secs(2);
/// Domains in one pass; the rest waits for the next one, which begins at once.
const AT_ONCE: i64 = 256;
/// Questions under way.
const CONCURRENCY: usize = 16;

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
}

impl Default for DomainsConfig {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self { servers: Vec::new(), timeout: Duration::from_secs(5), recheck: hours(1), grace: hours(24) }
    }
}

impl DomainsConfig {
    fn patience(&self) -> Patience {
        let delta = |time: Duration| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        Patience { recheck: delta(self.recheck), grace: delta(self.grace) }
    }
}

/// The checker of one site.
pub struct Checker {
    db: Db,
    site_id: String,
    resolver: Resolver,
    patience: Patience,
}

impl Checker {
    /// A checker that asks the servers of the configuration.
    ///
    /// # Errors
    /// A sentence about the setting that cannot be used.
    pub fn new(db: Db, site_id: String, config: &DomainsConfig) -> anyhow::Result<Self> {
        let resolver = Resolver::new(&config.servers, config.timeout)?;
        Ok(Self { db, site_id, resolver, patience: config.patience() })
    }

    /// Checks for ever, while this replica holds the first share.
    ///
    /// # Errors
    /// None; the type is what the supervisor expects.
    pub async fn run(self, shards: Shards, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            while shards.holds(0) {
                let pass = tokio::select! {
                    pass = self.pass(Utc::now()) => pass,
                    () = shutdown.cancelled() => return Ok(()),
                };
                match pass {
                    Ok(looks) if looks >= AT_ONCE as usize => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(error = format!("{error:#}"), "a look at custom domains failed");
                        break;
                    }
                }
            }
        }
    }

    /// One look at every domain that is due, at most [`AT_ONCE`]; answers how many there were.
    ///
    /// # Errors
    /// When Postgres cannot be asked. A domain that cannot be looked at is tried again and hinders no other.
    pub async fn pass(&self, now: DateTime<Utc>) -> anyhow::Result<usize> {
        let (due, own_hosts) = {
            let mut conn = self.db.get().await?;
            let due = domains::due(&mut conn, &self.site_id, now, AT_ONCE).await?;
            if due.is_empty() {
                return Ok(0);
            }
            (due, domains::tenant_hosts(&mut conn).await?)
        };
        let count = due.len();
        // No connection is held while DNS is asked.
        let mut looks = FuturesUnordered::new();
        for domain in due {
            if looks.len() >= CONCURRENCY {
                report(looks.next().await);
            }
            looks.push(self.look(domain, &own_hosts, now));
        }
        while let Some(looked) = looks.next().await {
            report(Some(looked));
        }
        Ok(count)
    }

    async fn look(&self, domain: String, own_hosts: &[String], now: DateTime<Utc>) -> anyhow::Result<()> {
        let reserved = is_reserved(&domain, own_hosts.iter().map(String::as_str));
        let answer = match reserved {
            true => Answer::Nothing,
            false => self.resolver.ask(&domain).await,
        };
        metrics::domain_look(matches!(answer, Answer::Names(_)) || reserved);
        let mut conn = self.db.get().await?;
        // Read after the answer: a pod that was told to want the domain meanwhile is decided about, too.
        let known = domains::claims(&mut conn, &domain).await?;
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
}

/// A domain that cannot be looked at is due again at the next pass.
fn report(looked: Option<anyhow::Result<()>>) {
    if let Some(Err(error)) = looked {
        tracing::debug!(error = format!("{error:#}"), "a look at a custom domain failed");
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
        for row in
            ["| `servers` | none |", "| `timeout` | `5s` |", "| `recheck` | `1h` |", "| `grace` | `24h` |"]
        {
            assert!(page.contains(row), "{row}");
        }
    }
}
