//! Older runs become one compressed row each, and the oldest go.

use std::time::Duration;

use pods_db::{Db, logs::archive};
use pods_runtime::shutdown::CancellationToken;
use pods_telemetry::outage::Outage;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::shards::Shards;

/// How often all pods are looked at: what a replica that ended left undone.
const ALL_EVERY: Duration = Duration::from_secs(600);
/// Runs of one look.
const AT_ONCE: i64 = 100;

/// Looks at pods that began another run, and now and then at all. Runs are compressed one after the other, so that
/// never more than one log is in memory.
pub async fn run(
    db: Db,
    shards: Shards,
    keep: i64,
    mut begun: mpsc::Receiver<Uuid>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let outage = Outage::new("older logs cannot be archived");
    let mut all = tokio::time::interval(ALL_EVERY);
    all.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let pod = tokio::select! {
            Some(uid) = begun.recv() => Some(uid),
            _ = all.tick() => None,
            () = shutdown.cancelled() => return Ok(()),
        };
        if !pod.map_or(shards.holds(0), |uid| shards.mine(uid)) {
            continue;
        }
        tokio::select! {
            result = settle(&db, pod, keep) => outage.note(&result),
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Archives and drops what is due, of one pod or of all. A run with which that fails does not keep the others.
async fn settle(db: &Db, pod: Option<Uuid>, keep: i64) -> anyhow::Result<()> {
    let full = usize::try_from(AT_ONCE)?;
    while archive::drop_oldest(&mut *db.get().await?, pod, keep, AT_ONCE).await? >= full {}
    let mut result = Ok(());
    loop {
        let due = archive::due(&mut *db.get().await?, pod, keep, AT_ONCE).await?;
        let mut stored = 0;
        for run in &due {
            match archive_one(db, *run).await {
                Ok(done) => stored += usize::from(done),
                Err(error) => result = result.and(Err(error.context(format!("archiving run {run}")))),
            }
        }
        // What could not be archived now is due again.
        if due.len() < full || stored == 0 {
            return result;
        }
    }
}

async fn archive_one(db: &Db, run: Uuid) -> anyhow::Result<bool> {
    let content = archive::load(&mut *db.get().await?, run).await?;
    let compressed = tokio::task::spawn_blocking(move || archive::compress(&content)).await??;
    Ok(archive::store(&mut *db.get().await?, run, &compressed).await?)
}
