//! Reads the log of one container, from where Postgres has it to its end.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::Utc;
use futures::{Stream, StreamExt};
use pods_db::{
    instances,
    logs::runs::{self, Place},
};
use pods_kube::{
    Failure,
    client::CALL_LIMIT,
    logs::{LINE_MAX, LogLine, LogQuery, stream},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Life, Shared, Target, WAITING_BYTES,
    buffer::{self, Buffer, Resume},
    pace::{Budget, Pace},
    seam::Seam,
};
use crate::metrics;

/// The writer is woken when so many bytes of one container wait.
const FLUSH_BYTES: usize = 64 * 1024;
/// A container whose bytes wait is not read any further beyond this.
const BUFFER_BYTES: usize = 256 * 1024;
/// A stream without a line is made again after this time, in case that its connection is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The same for a stream that brought much: its file may have been replaced.
const SILENCE_OF_A_FLOOD: Duration = Duration::from_secs(5);
/// How long the first line after a jump waits for the next one.
const HELD: Duration = Duration::from_secs(1);
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
    // What is awaited once is boxed: thousands of followers keep only what they need while they wait for a line.
    let place = {
        let now = *life.borrow();
        let Some(_turn) = shared.turn(now).await else { return };
        Box::pin(place(&shared, &target)).await
    };
    match place {
        Some(place) => buffer::lock(&buffer).resume_at(place),
        None => return shared.stored(&target),
    }
    let mut budget = Budget::new();
    let mut tail_lines = None;
    let mut failures: u32 = 0;
    let mut last_stream_ended = false;
    loop {
        // Seen before the stream is opened: what is read then is everything.
        let seen = *life.borrow_and_update();
        let over = seen == Life::Ended || last_stream_ended;
        let outcome = read(&shared, &target, &buffer, &mut life, over, tail_lines.take(), &mut budget).await;
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
    Box::pin(finish(&shared, &target, &buffer)).await;
}

/// Where the log stands in Postgres; `None` when it is complete or nobody needs it.
async fn place(shared: &Shared, target: &Target) -> Option<Place> {
    loop {
        match try_place(shared, target).await {
            Ok(Some(place)) => {
                if place.log_end == 0 {
                    shared.begun(target.uid);
                }
                return Some(place);
            }
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(pod.uid = %target.uid, error = format!("{error:#}"), "the place of a log is not known yet");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn try_place(shared: &Shared, target: &Target) -> anyhow::Result<Option<Place>> {
    let mut conn = shared.db.get().await?;
    if instances::log_complete(&mut conn, target.instance).await? != Some(false) {
        return Ok(None);
    }
    if let Some(place) = runs::place(&mut conn, target.instance).await? {
        return Ok(Some(place));
    }
    // Usually the status tells first that the container runs; that of a pod that is stopped meanwhile never does.
    runs::begin(&conn, target.uid, target.instance, target.since.unwrap_or_else(Utc::now)).await?;
    Ok(runs::place(&mut conn, target.instance).await?)
}

/// Opens a stream when it is the container's turn.
async fn open(
    shared: &Shared,
    target: &Target,
    query: &LogQuery,
    life: Life,
) -> Result<impl Stream<Item = io::Result<LogLine>> + Unpin + use<>, Ended> {
    let Some(_turn) = shared.turn(life).await else { return Err(Ended::Gone) };
    match Box::pin(timeout(CALL_LIMIT, stream(&shared.api, &target.pod_name, query))).await {
        Ok(Ok(lines)) => Ok(lines),
        Ok(Err(Failure::Gone)) => Err(Ended::Gone),
        Ok(Err(Failure::Refused { message, .. })) => Err(Ended::Broken(format!("refused: {message}"))),
        Ok(Err(failure)) => Err(Ended::Broken(failure.to_string())),
        Err(_) => Err(Ended::Broken("no answer".to_owned())),
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
    budget: &mut Budget,
) -> Ended {
    let from = buffer::lock(buffer).cursor();
    let query = LogQuery { follow: !over, since: from.at, tail_lines };
    let now = *life.borrow();
    let mut lines = match open(shared, target, &query, now).await {
        Ok(lines) => lines,
        Err(ended) => return ended,
    };
    let mut resume = Resume::new(from);
    let mut pace = Pace::default();
    // Whether the stream has shown a line that is stored, so that nothing lies between that and what is new.
    let mut seamless = tail_lines.is_none();
    let mut seam = Seam::new(!seamless);
    loop {
        let line = tokio::select! {
            line = timeout(patience(&seam, &pace), lines.next()) => line,
            // The container has ended: a new stream reads what is left and does not wait for more.
            _ = life.wait_for(|life| *life == Life::Ended && !over) => {
                return if pace.lags() { Ended::Behind(pace.lines_of_the_ring()) } else { Ended::Silent };
            }
        };
        let ended = matches!(line, Ok(None));
        let line = match line {
            Ok(Some(Ok(line))) => {
                // A line that was cut off is read again, whole, by the next stream; in the last one it is the end.
                let cut_off = !line.bytes.ends_with(b"\n") && line.bytes.len() < LINE_MAX;
                if cut_off && !over {
                    continue;
                }
                if !resume.is_new(line.at) {
                    seamless = true;
                    seam.close();
                    continue;
                }
                seam.pass(line)
            }
            Ok(Some(Err(error))) => return Ended::Broken(error.to_string()),
            Ok(None) | Err(_) if seam.holds() => seam.give_up(),
            Ok(None) => None,
            Err(_) if pace.may_have_lost_the_file() => return Ended::Behind(pace.lines_of_the_ring()),
            Err(_) => return Ended::Silent,
        };
        let Some(line) = line else {
            if ended {
                return Ended::Complete;
            }
            continue;
        };
        let gap = (!std::mem::replace(&mut seamless, true)).then(|| {
            let time = from.at.map(|from| line.at - from).and_then(|time| time.to_std().ok());
            time.unwrap_or_default()
        });
        keep(shared, buffer, &line, gap).await;
        if ended {
            return Ended::Complete;
        }
        pace.add(Utc::now() - line.at, line.bytes.len());
        // The end of an ended container is wanted soon: what its ring would drop is not read, and what is left once.
        let hopeless = if over { tail_lines.is_none() && pace.fills_the_ring() } else { pace.is_hopeless() };
        if hopeless {
            return Ended::Behind(pace.lines_of_the_ring());
        }
        // One that ends is wanted soon.
        let runs = !over && *life.borrow() == Life::Runs;
        if runs && let Some(pause) = budget.spend(line.bytes.len(), Instant::now()) {
            let _ended = timeout(pause, life.wait_for(|life| *life == Life::Ended)).await;
        }
    }
}

/// How long the next line of a stream is waited for.
fn patience(seam: &Seam, pace: &Pace) -> Duration {
    match () {
        () if seam.holds() => HELD,
        () if pace.may_have_lost_the_file() => SILENCE_OF_A_FLOOD,
        () => SILENCE_LIMIT,
    }
}

/// Puts a line into the buffer when there is room, after a gap of so much time if there is one.
async fn keep(shared: &Shared, buffer: &Mutex<Buffer>, line: &LogLine, gap: Option<Duration>) {
    let (first, size) = {
        let mut buffer = buffer::lock(buffer);
        let first = !buffer.has_news();
        if let Some(time) = gap {
            buffer.leave_out();
            metrics::log_left_out(time);
        }
        buffer.push(line);
        (first, buffer.len())
    };
    if first {
        shared.some.notify_one();
    }
    if size >= FLUSH_BYTES {
        shared.flush.notify_one();
    }
    if size >= BUFFER_BYTES || shared.waiting_bytes() >= WAITING_BYTES {
        room(shared, buffer).await;
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
