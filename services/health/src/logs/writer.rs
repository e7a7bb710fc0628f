//! Carries what is buffered to Postgres: one insert per flush and share, under the share's lease.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use diesel::result::DatabaseErrorKind;
use pods_db::{
    Connection, DbError,
    logs::{self, Append, Stored},
};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{
    Shared,
    buffer::{self, Buffer, Segment},
};
use crate::{metrics, shards::shard_of};

const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Largest batch of one insert, in bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A part of a batch and the buffer that it is from.
struct Piece {
    uid: Uuid,
    run: Uuid,
    segment: Arc<Segment>,
    buffer: Arc<Mutex<Buffer>>,
}

impl Piece {
    fn append(&self) -> Option<Append<'_>> {
        Some(Append {
            pod_uid: self.uid,
            run_id: self.run,
            offset: self.segment.offset,
            bytes: &self.segment.bytes,
            marks: &self.segment.marks,
            resume_ts: self.segment.cursor.at?,
            resume_skip: self.segment.cursor.count,
        })
    }
}

/// Writes for ever: what comes after a pause right away, then once a second, or sooner when much waits.
pub async fn run(shared: &Shared) {
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
        let well = flush(shared).await;
        if !well && !failing {
            tracing::warn!("logs cannot be written at the moment; they are kept and read on later");
        }
        failing = !well;
        if failing {
            sleep(FLUSH_EVERY).await;
            shared.some.notify_one();
        }
    }
}

/// Writes everything that is buffered now; `false` when some of it could not be written.
pub async fn flush(shared: &Shared) -> bool {
    let mut shares: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
    for (run, followed) in shared.lock().iter() {
        if let Some(segment) = buffer::lock(&followed.buffer).take() {
            let (uid, buffer) = (followed.uid, Arc::clone(&followed.buffer));
            shares.entry(shard_of(uid)).or_default().push(Piece { uid, run: *run, segment, buffer });
        }
    }
    let mut well = true;
    for pieces in shares.into_values() {
        for batch in batches(pieces) {
            well &= write(shared, batch).await;
        }
    }
    shared.flushed.notify_waiters();
    metrics::logs(shared.lock().len(), shared.waiting_bytes());
    well
}

fn batches(pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut batches: Vec<Vec<Piece>> = Vec::new();
    let mut size = usize::MAX;
    for piece in pieces {
        let length = piece.segment.bytes.len();
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

async fn write(shared: &Shared, pieces: Vec<Piece>) -> bool {
    // Without the lease the followers are being dropped; what was read is read again by the new holder.
    let Some(fence) = pieces.first().and_then(|piece| shared.shards.fence(piece.uid)) else {
        return false;
    };
    let Ok(mut conn) = shared.db.get().await else { return false };
    let appends: Vec<Append<'_>> = pieces.iter().filter_map(Piece::append).collect();
    let but = match logs::append(&mut conn, Some(&fence), &appends).await {
        Ok(Stored::All { but }) => but,
        Ok(Stored::Fenced) => return false,
        Err(DbError::DatabaseError(..)) if pieces.len() > 1 => {
            // One pod whose row was removed must not keep the others' logs back.
            drop(conn);
            let mut well = true;
            for piece in pieces {
                well &= Box::pin(write(shared, vec![piece])).await;
            }
            return well;
        }
        Err(DbError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
            pieces.iter().map(|piece| piece.run).collect()
        }
        Err(error) => {
            tracing::debug!(error = %error, "a batch of logs was not written");
            return false;
        }
    };
    metrics::log_stored(pieces.iter().map(|piece| piece.segment.bytes.len()).sum());
    for piece in &pieces {
        if but.contains(&piece.run) {
            // The run is gone, or another replica wrote to it: whoever follows it begins anew at its place.
            shared.forget(piece.run);
            continue;
        }
        let (full, news) = {
            let mut buffer = buffer::lock(&piece.buffer);
            (buffer.written(), !buffer.is_empty())
        };
        if news {
            shared.some.notify_one();
        }
        if full {
            compact(&mut conn, piece).await;
        }
    }
    true
}

async fn compact(conn: &mut Connection, piece: &Piece) {
    if let Err(error) = logs::compact_and_trim(conn, piece.run).await {
        tracing::warn!(pod.uid = %piece.uid, error = %error, "a log could not be compacted");
    }
}
