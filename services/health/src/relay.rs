//! Publishes wake-ups that wait in the outbox. The API does the same, so they go out while either runs.

use pods_db::{Db, outbox::OutboxRow};
use pods_messages::{Publisher, WakeUp};
use pods_runtime::{internal_http::Beat, shutdown::CancellationToken};
use tracing::Instrument;

/// Relays for ever. Any number of processes may do so at the same time.
pub async fn run(
    db: Db,
    publisher: Publisher,
    beat: Beat,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let publish = |row: OutboxRow| {
        let (publisher, span) = (publisher.clone(), row.span());
        let publish = async move {
            let wake_up = WakeUp::new(row.pod_uid, &row.reason, row.id, row.created_ts.into());
            publisher.publish(&wake_up, &row.message_id.to_string()).await.is_ok()
        };
        publish.instrument(span)
    };
    pods_db::relay::run(db, publish, beat, shutdown.cancelled_owned()).await;
    Ok(())
}
