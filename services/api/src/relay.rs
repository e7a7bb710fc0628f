//! Publishes what the outbox holds, as soon as it is written.

use std::time::Duration;

use pods_db::{
    Db,
    listen::notifications,
    outbox::{self, OutboxRow, Relayed},
};
use pods_messages::{Publisher, WakeUp};
use pods_runtime::shutdown::CancellationToken;

/// Rows that are published together.
const BATCH: i64 = 200;
/// Longest time that a row waits when its notification was lost.
const SWEEP: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

/// Runs until the token is cancelled. Any number of relays may run in any number of processes.
///
/// # Errors
/// None: outages of Postgres and NATS are waited out.
pub async fn run(db: Db, publisher: Publisher, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut woken = notifications(db.url(), outbox::CHANNEL);
    let mut failing = false;
    loop {
        let wait = match relay(&db, &publisher).await {
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
            () = shutdown.cancelled() => return Ok(()),
            _ = woken.recv(), if wait != RETRY => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn relay(db: &Db, publisher: &Publisher) -> anyhow::Result<Relayed> {
    let mut conn = db.get().await?;
    let publish = |row: OutboxRow| async move {
        let wake_up = WakeUp::new(row.pod_uid, &row.reason, row.id, row.created_ts.into());
        publisher.publish(&wake_up, &row.message_id.to_string()).await.is_ok()
    };
    Ok(outbox::relay_once(&mut conn, BATCH, publish).await?)
}
