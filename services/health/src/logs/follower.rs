//! Reads the log of one container, from where Postgres has it to its end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use futures::StreamExt;
use pods_db::{instances, logs::RING_BYTES};
use pods_kube::{
    Failure,
    client::CALL_LIMIT,
    logs::{LINE_MAX, LogQuery, stream},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    Life, Shared, Target, WAITING_BYTES,
    buffer::{self, Buffer, Cursor, Resume},
};

/// The writer is woken when so many bytes of one container wait.
const FLUSH_BYTES: usize = 64 * 1024;
/// A container whose bytes wait is not read any further beyond this.
const BUFFER_BYTES: usize = 256 * 1024;
/// A stream without a line is made again after this time, in case that its connection is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);
/// Lines older than this are a backlog; of one that is larger than the ring only the end is read.
const BEHIND: TimeDelta = TimeDelta::seconds(10);
/// A follower that reads lines of this age has something left to read.
const LAG: TimeDelta = TimeDelta::seconds(3);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the end of a log is asked for before its absence is believed.
const END_ATTEMPTS: u32 = 5;

/// How a stream ended.
enum Ended {
    /// Everything that there was when the stream was opened has been read.
    Complete,
    /// The container writes faster than it can be read: go on with so many lines from the end.
    Behind(i64),
    /// There is no reason to wait on this stream any longer; the next one goes on.
    Silent,
    /// The Pod or its log is gone.
    Gone,
    /// Something was in the way.
    Broken(String),
}

/// Follows a container until its log is stored to the end.
pub async fn follow(
    shared: Arc<Shared>,
    target: Target,
    mut life: watch::Receiver<Life>,
    buffer: Arc<Mutex<Buffer>>,
) {
    match place(&shared, &target).await {
        Some(cursor) => buffer::lock(&buffer).resume_at(cursor),
        None => return shared.stored(&target),
    }
    let mut tail_lines = None;
    let mut failures: u32 = 0;
    let mut last_stream_ended = false;
    loop {
        // Seen before the stream is opened: what is read then is everything.
        let seen = *life.borrow_and_update();
        let over = seen == Life::Ended || last_stream_ended;
        let outcome = read(&shared, &target, &buffer, &mut life, over, tail_lines.take()).await;
        match outcome {
            Ended::Complete if over => break,
            Ended::Gone if over || seen == Life::Ending => break,
            Ended::Complete if seen == Life::Ending => {
                // The kubelet ends a stream when the container ends; one more read takes a last line without its
                // line feed.
                last_stream_ended = true;
                continue;
            }
            Ended::Complete => {
                failures = 0;
                // The stream often ends a moment before the container's status says so.
                let _changed = timeout(Duration::from_secs(1), life.wait_for(|life| *life > seen)).await;
                continue;
            }
            Ended::Silent => continue,
            Ended::Behind(lines) => {
                tracing::debug!(pod.uid = %target.uid, lines, "a log is skipped to its end, it is written faster than it can be read");
                tail_lines = Some(lines);
                continue;
            }
            Ended::Gone => failures += 1,
            Ended::Broken(problem) => {
                failures += 1;
                tracing::debug!(pod.uid = %target.uid, problem, "a log stream broke");
                if over && failures >= END_ATTEMPTS && problem.starts_with("refused") {
                    break;
                }
            }
        }
        let wait = (Duration::from_millis(200) * failures.min(25)).min(LONGEST_WAIT);
        tokio::select! {
            () = sleep(wait) => {}
            _ = life.wait_for(|life| *life > seen && !over) => {}
        }
    }
    finish(&shared, &target, &buffer).await;
}

/// Where the log stands in Postgres; `None` when it is complete or nobody needs it.
async fn place(shared: &Shared, target: &Target) -> Option<Cursor> {
    loop {
        if let Ok(mut conn) = shared.db.get().await
            && let Ok(instance) = instances::get(&mut conn, target.instance).await
        {
            let instance = instance?;
            let cursor = Cursor { at: instance.log_resume_ts, count: instance.log_resume_skip };
            return (!instance.log_complete).then_some(cursor);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Opens the stream at the buffer's place and reads it to its end.
async fn read(
    shared: &Shared,
    target: &Target,
    buffer: &Mutex<Buffer>,
    life: &mut watch::Receiver<Life>,
    over: bool,
    tail_lines: Option<i64>,
) -> Ended {
    let from = buffer::lock(buffer).cursor();
    let query = LogQuery { follow: !over, since: from.at, tail_lines };
    let opened = {
        let Ok(_permit) = shared.opening.acquire().await else { return Ended::Gone };
        timeout(CALL_LIMIT, stream(&shared.api, &target.pod_name, &query)).await
    };
    let mut lines = match opened {
        Ok(Ok(lines)) => lines,
        Ok(Err(Failure::Gone)) => return Ended::Gone,
        Ok(Err(Failure::Refused { message, .. })) => return Ended::Broken(format!("refused: {message}")),
        Ok(Err(failure)) => return Ended::Broken(failure.to_string()),
        Err(_) => return Ended::Broken("no answer".to_owned()),
    };
    let mut resume = Resume::new(from);
    let mut pace = Pace::default();
    loop {
        let line = tokio::select! {
            line = timeout(SILENCE_LIMIT, lines.next()) => line,
            // The container has ended: a new stream reads what is left and does not wait for more.
            _ = life.wait_for(|life| *life == Life::Ended && !over) => {
                return if pace.lags() { Ended::Behind(pace.lines_of_the_ring()) } else { Ended::Silent };
            }
        };
        let line = match line {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(error))) => return Ended::Broken(error.to_string()),
            Ok(None) => return Ended::Complete,
            Err(_) => return Ended::Silent,
        };
        // A line that was cut off is read again, whole, by the next stream; in the last one it is the end.
        let cut_off = !line.bytes.ends_with(b"\n") && line.bytes.len() < LINE_MAX;
        if cut_off && !over {
            continue;
        }
        if !resume.is_new(line.at) {
            continue;
        }
        let (first, size) = {
            let mut buffer = buffer::lock(buffer);
            let first = !buffer.has_news();
            buffer.push(&line);
            (first, buffer.len())
        };
        if first {
            shared.some.notify_one();
        }
        if size >= FLUSH_BYTES {
            shared.flush.notify_one();
        }
        if size >= BUFFER_BYTES {
            room(shared, buffer).await;
        }
        pace.add(Utc::now() - line.at, line.bytes.len());
        // The end of an ended container is wanted soon: what its ring would drop is not read.
        let too_much = over && pace.bytes > RING_BYTES;
        if tail_lines.is_none() && (pace.is_hopeless() || too_much) {
            return Ended::Behind(pace.lines_of_the_ring());
        }
    }
}

/// Waits until the writer has caught up with this container and with all of them.
async fn room(shared: &Shared, buffer: &Mutex<Buffer>) {
    loop {
        let flushed = shared.flushed.notified();
        if buffer::lock(buffer).len() < BUFFER_BYTES && shared.waiting_bytes() < WAITING_BYTES {
            return;
        }
        shared.flush.notify_one();
        flushed.await;
    }
}

/// How fast a stream is read, compared with how fast it is written.
#[derive(Default)]
struct Pace {
    bytes: usize,
    lines: usize,
    /// Bytes of lines that were too old, since the last one that was not.
    old_bytes: usize,
    age: TimeDelta,
}

impl Pace {
    /// Adds a line of some age.
    fn add(&mut self, age: TimeDelta, bytes: usize) {
        self.bytes += bytes;
        self.lines += 1;
        self.age = age;
        self.old_bytes = if age < BEHIND { 0 } else { self.old_bytes + bytes };
    }

    /// Whether more of a backlog was read than the ring holds.
    fn is_hopeless(&self) -> bool {
        self.old_bytes > RING_BYTES
    }

    /// Whether what is still unread may be much.
    fn lags(&self) -> bool {
        self.age > LAG
    }

    /// How many lines from the end fill the ring.
    fn lines_of_the_ring(&self) -> i64 {
        let average = (self.bytes / self.lines.max(1)).max(1);
        i64::try_from(RING_BYTES / average + 1).unwrap_or(i64::MAX)
    }
}

/// Waits until everything is in Postgres and notes that the log is complete.
async fn finish(shared: &Shared, target: &Target, buffer: &Mutex<Buffer>) {
    loop {
        let flushed = shared.flushed.notified();
        if buffer::lock(buffer).is_empty() {
            break;
        }
        shared.flush.notify_one();
        flushed.await;
    }
    loop {
        // A replica that lost the share leaves the last word to the one that has it now.
        if shared.shards.mine(target.uid)
            && let Ok(mut conn) = shared.db.get().await
            && instances::set_log_complete(&mut conn, target.instance).await.is_ok()
        {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    shared.stored(target);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_backlog_larger_than_the_ring_is_skipped() {
        let mut pace = Pace::default();
        let old = TimeDelta::seconds(60);
        let line = 1024 * 1024;
        for _ in 0..10 {
            pace.add(old, line);
            assert!(!pace.is_hopeless());
        }
        pace.add(old, line);
        assert!(pace.is_hopeless() && pace.lags());
        assert_eq!(pace.lines_of_the_ring(), 11);
        let mut caught_up = Pace::default();
        for _ in 0..100 {
            caught_up.add(old, line / 2);
            caught_up.add(TimeDelta::zero(), 10);
            assert!(!caught_up.is_hopeless() && !caught_up.lags());
        }
    }
}
