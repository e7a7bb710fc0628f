//! The relay: publishes what the outbox holds, as soon as it is written. Library code that the API and health run.

use std::{future::Future, time::Duration};

use pods_telemetry::beat::Beat;

use crate::{
    Db,
    listen::notifications,
    metrics,
    outbox::{self, OutboxRow, Relayed},
};

/// Rows that are published together; each holds an advisory lock, of which a server has some thousands.
const BATCH: i64 = 100;
/// Longest time that a row waits when its notification was lost.
const SWEEP: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// Runs until `stop` completes. Any number of relays may run in any number of processes. `publish` answers whether
/// the broker acknowledged the row. Outages of Postgres and of the broker are waited out; `beat` ticks all the same.
pub async fn run<P, F>(db: Db, publish: P, beat: Beat, stop: impl Future<Output = ()>)
where
    P: Fn(OutboxRow) -> F + Send + Sync,
    F: Future<Output = bool> + Send,
{
    let mut woken = notifications(db.url(), outbox::CHANNEL);
    let mut failing = false;
    tokio::pin!(stop);
    loop {
        beat.tick();
        let wait = match relay(&db, &publish).await {
            Ok(Relayed { failed: 0, more: true, .. }) => Duration::ZERO,
            Ok(Relayed { failed: 0, more: false, .. }) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("wake-ups are published again");
                }
                SWEEP
            }
            Ok(Relayed { failed, .. }) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(outbox.waiting = failed, "wake-ups cannot be published; they are kept");
                }
                RETRY
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = format!("{error:#}"), "the outbox cannot be read; trying again");
                }
                RETRY
            }
        };
        tokio::select! {
            () = &mut stop => return,
            Some(()) = woken.recv(), if wait != RETRY => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn relay<P, F>(db: &Db, publish: &P) -> anyhow::Result<Relayed>
where
    P: Fn(OutboxRow) -> F + Send + Sync,
    F: Future<Output = bool> + Send,
{
    let mut conn = db.get().await?;
    let relayed = outbox::relay_once(&mut conn, BATCH, publish).await?;
    metrics::relayed(&relayed);
    Ok(relayed)
}
