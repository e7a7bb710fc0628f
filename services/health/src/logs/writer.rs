//! Carries what is buffered to Postgres: one insert per flush and share, under the share's lease.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use diesel::result::DatabaseErrorKind;
use pods_db::{
    DbError,
    logs::{self, Append, CHUNKS_MAX, RING_BYTES},
};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{
    Shared,
    buffer::{self, Buffer, Cursor},
};
use crate::shards::shard_of;

const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Largest batch of one insert, in bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Chunks and bytes of each start since its last compaction.
pub type Counters = HashMap<Uuid, (usize, usize)>;

struct Piece {
    append: Append,
    buffer: Arc<Mutex<Buffer>>,
}

/// Writes for ever: what comes after a pause right away, then once a second, or sooner when much waits.
pub async fn run(shared: &Shared) {
    let mut counters = Counters::new();
    let mut failing = false;
    let mut written_at = Instant::now();
    loop {
        tokio::select! {
            () = shared.flush.notified() => {}
            () = shared.some.notified() => {
                let _elapsed = timeout_at(written_at + FLUSH_EVERY, shared.flush.notified()).await;
            }
        }
        written_at = Instant::now();
        let well = flush(shared, &mut counters).await;
        if !well && !failing {
            tracing::warn!("logs cannot be written at the moment; they are kept and read on later");
        }
        failing = !well;
        if failing {
            sleep(FLUSH_EVERY).await;
            shared.some.notify_one();
        }
        let followed = shared.lock();
        counters.retain(|instance, _| followed.contains_key(instance));
    }
}

/// Writes everything that is buffered now; `false` when some of it could not be written.
pub async fn flush(shared: &Shared, counters: &mut Counters) -> bool {
    let mut shares: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
    for (instance, followed) in shared.lock().iter() {
        let taken = buffer::lock(&followed.buffer).take();
        if let Some((bytes, Cursor { at: Some(resume_ts), count })) = taken {
            let append = Append {
                pod_uid: followed.uid,
                instance_id: *instance,
                bytes,
                resume_ts,
                resume_skip: count,
            };
            let piece = Piece { append, buffer: Arc::clone(&followed.buffer) };
            shares.entry(shard_of(followed.uid)).or_default().push(piece);
        }
    }
    let mut well = true;
    for pieces in shares.into_values() {
        for batch in batches(pieces) {
            well &= write(shared, batch, counters).await;
        }
    }
    shared.flushed.notify_waiters();
    well
}

fn batches(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut batches: Vec<Vec<Piece>> = Vec::new();
    let mut size = usize::MAX;
    for piece in pieces {
        let length = piece.append.bytes.len();
        if size.saturating_add(length) > BATCH_BYTES {
            batches.push(Vec::new());
            size = 0;
        }
        size += length;
        if let Some(last) = batches.last_mut() {
            last.push(piece);
        }
    }
    batches
}

async fn write(shared: &Shared, pieces: Vec<Piece>, counters: &mut Counters) -> bool {
    // Without the lease the followers are being dropped; what was read is read again by the new holder.
    let Some(fence) = pieces.first().and_then(|piece| shared.shards.fence(piece.append.pod_uid)) else {
        return false;
    };
    let (appends, buffers): (Vec<Append>, Vec<_>) =
        pieces.into_iter().map(|piece| (piece.append, piece.buffer)).unzip();
    let Ok(mut conn) = shared.db.get().await else { return false };
    match logs::append(&mut conn, Some(&fence), &appends).await {
        Ok(true) => {}
        Ok(false) => return false,
        Err(DbError::DatabaseError(..)) if appends.len() > 1 => {
            // One pod whose row was removed must not keep the others' logs back.
            drop(conn);
            let mut well = true;
            for (append, buffer) in appends.into_iter().zip(buffers) {
                well &= Box::pin(write(shared, vec![Piece { append, buffer }], counters)).await;
            }
            return well;
        }
        Err(DbError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
            buffers.iter().for_each(|buffer| buffer::lock(buffer).written());
            return true;
        }
        Err(error) => {
            tracing::debug!(error = %error, "a batch of logs was not written");
            return false;
        }
    }
    for buffer in &buffers {
        let mut buffer = buffer::lock(buffer);
        buffer.written();
        if buffer.has_news() {
            shared.some.notify_one();
        }
    }
    for append in &appends {
        let (chunks, bytes) = counters.entry(append.instance_id).or_default();
        *chunks += 1;
        *bytes += append.bytes.len();
        if *chunks >= CHUNKS_MAX || *bytes >= RING_BYTES {
            (*chunks, *bytes) = (0, 0);
            if let Err(error) = logs::compact_and_trim(&mut conn, append.instance_id).await {
                tracing::warn!(pod.uid = %append.pod_uid, error = %error, "a log could not be compacted");
            }
        }
    }
    true
}
