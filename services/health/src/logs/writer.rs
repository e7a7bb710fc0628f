//! Carries what is buffered to Postgres: one insert per flush and share, under the share's lease.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use diesel::result::DatabaseErrorKind;
use pods_db::{
    Connection, DbError,
    logs::{self, Append, Stored},
};
use pods_telemetry::outage::Outage;
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
const SHARE_LOST: &str = "the share that the pods belong to is not held any more";

/// A part of a batch and the buffer that it is from.
struct Piece {
    uid: Uuid,
    run: Uuid,
    segment: Arc<Segment>,
    buffer: Arc<Mutex<Buffer>>,
}

impl Piece {
    /// It is stored.
    fn measure(&self, now: DateTime<Utc>) {
        metrics::log_stored(self.segment.bytes.len());
        // The clock of the node may be ahead.
        let age = self.segment.cursor.at.map(|at| (now - at).to_std().unwrap_or_default());
        age.into_iter().for_each(metrics::log_lag);
    }

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
    let outage = Outage::new("logs cannot be written; they are kept and read on later");
    let mut written_at = Instant::now();
    loop {
        tokio::select! {
            () = shared.flush.notified() => {}
            () = shared.some.notified() => {
                let _elapsed = timeout_at(written_at + FLUSH_EVERY, shared.flush.notified()).await;
            }
        }
        written_at = Instant::now();
        let flushed = flush(shared).await;
        outage.note(&flushed);
        if flushed.is_err() {
            sleep(FLUSH_EVERY).await;
            shared.some.notify_one();
        }
    }
}

/// Writes everything that is buffered now.
///
/// # Errors
/// Why some of it could not be written; the rest is.
pub async fn flush(shared: &Shared) -> anyhow::Result<()> {
    let mut result = Ok(());
    for pieces in take(shared).into_values() {
        for batch in batches(pieces) {
            result = result.and(write(shared, batch).await);
        }
    }
    shared.flushed.notify_waiters();
    let followed = shared.lock().values().map(BTreeMap::len).sum();
    metrics::logs(followed, shared.waiting_bytes());
    result
}

/// What is buffered, by share.
fn take(shared: &Shared) -> BTreeMap<usize, Vec<Piece>> {
    let mut shares: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
    let followed = shared.lock();
    let starts =
        followed.iter().flat_map(|(uid, starts)| starts.iter().map(move |(run, start)| (*uid, *run, start)));
    for (uid, run, start) in starts {
        if let Some(segment) = buffer::lock(&start.buffer).take() {
            let buffer = Arc::clone(&start.buffer);
            shares.entry(shard_of(uid)).or_default().push(Piece { uid, run, segment, buffer });
        }
    }
    shares
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

async fn write(shared: &Shared, pieces: Vec<Piece>) -> anyhow::Result<()> {
    // Without the lease the followers are being dropped; what was read is read again by the new holder.
    let fence = pieces.first().and_then(|piece| shared.shards.fence(piece.uid)).context(SHARE_LOST)?;
    let mut conn = shared.db.get().await?;
    let appends: Vec<Append<'_>> = pieces.iter().filter_map(Piece::append).collect();
    let but = match logs::append(&mut conn, Some(&fence), &appends).await {
        Ok(Stored::All { but }) => but,
        Ok(Stored::Fenced) => anyhow::bail!(SHARE_LOST),
        Err(DbError::DatabaseError(..)) if pieces.len() > 1 => {
            // One pod whose row was removed must not keep the others' logs back.
            drop(conn);
            let mut result = Ok(());
            for piece in pieces {
                result = result.and(Box::pin(write(shared, vec![piece])).await);
            }
            return result;
        }
        Err(DbError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)) => {
            pieces.iter().map(|piece| piece.run).collect()
        }
        Err(error) => return Err(error.into()),
    };
    let now = Utc::now();
    for piece in &pieces {
        if but.contains(&piece.run) {
            // The run is gone, or another replica wrote to it: whoever follows it begins anew at its place.
            shared.forget(piece.uid, piece.run);
            continue;
        }
        piece.measure(now);
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
    Ok(())
}

async fn compact(conn: &mut Connection, piece: &Piece) {
    match logs::compact_and_trim(conn, piece.run).await {
        Ok(dropped) => metrics::log_dropped(dropped),
        Err(error) => {
            tracing::warn!(pod.uid = %piece.uid, error = %error, "a log could not be compacted");
        }
    }
}
