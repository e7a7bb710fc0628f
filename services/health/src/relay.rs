//! Publishes wake-ups that wait in the outbox.

use std::time::Duration;

use pods_db::{Db, listen, outbox};
use pods_messages::{Publisher, WakeUp};
use pods_runtime::shutdown::CancellationToken;

const BATCH: i64 = 100;
/// Finds what a lost notification would have said.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Relays for ever. Any number of processes may do so at the same time.
pub async fn run(db: Db, publisher: Publisher, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut added = listen::notifications(db.url(), outbox::CHANNEL);
    let mut failing = false;
    loop {
        let relayed = once(&db, &publisher).await;
        let (more, failed) = match &relayed {
            Ok(relayed) => (relayed.more && relayed.published > 0, relayed.failed > 0),
            Err(_) => (false, true),
        };
        if failed != failing {
            failing = failed;
            match failing {
                true => tracing::warn!("wake-ups cannot be published at the moment; they wait in the outbox"),
                false => tracing::info!("wake-ups are published again"),
            }
        }
        if more {
            continue;
        }
        let wait = async {
            match failing {
                true => tokio::time::sleep(Duration::from_millis(500)).await,
                false => {
                    let _elapsed = tokio::time::timeout(LOOK_EVERY, added.recv()).await;
                }
            }
        };
        tokio::select! {
            () = wait => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

async fn once(db: &Db, publisher: &Publisher) -> anyhow::Result<outbox::Relayed> {
    let mut conn = db.get().await?;
    let relayed = outbox::relay_once(&mut conn, BATCH, |row| async move {
        let wake_up = WakeUp::new(row.pod_uid, &row.reason, row.id, row.created_ts.into());
        publisher.publish(&wake_up, &row.message_id.to_string()).await.is_ok()
    });
    Ok(relayed.await?)
}
