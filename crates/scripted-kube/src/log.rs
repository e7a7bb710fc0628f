//! What containers wrote, with the times that the API server puts before each line.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{SecondsFormat, Utc};
use tokio::sync::watch;

/// How much of a log is kept, as kubelets do.
const KEPT: usize = 10 * 1024 * 1024;

/// The log of one container; clones share it.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// How many bytes were dropped from the front.
    dropped: u64,
    ended: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { inner: Arc::default(), changed: Arc::new(watch::Sender::new(())) }
    }
}

/// A piece of a log.
pub struct Piece {
    /// The bytes, as much as there was.
    pub bytes: Vec<u8>,
    /// Whether nothing will follow.
    pub ended: bool,
}

impl Log {
    /// Adds a line with the present time.
    pub fn line(&self, line: &str) {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
        self.raw(format!("{now} {line}\n").as_bytes());
    }

    /// Adds bytes as the API server sends them.
    pub fn raw(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.bytes.extend_from_slice(bytes);
        if inner.bytes.len() > KEPT {
            let surplus = inner.bytes.len() - KEPT * 9 / 10;
            let cut = inner.bytes[surplus..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(surplus, |at| surplus + at + 1);
            inner.bytes.drain(..cut);
            inner.dropped += cut as u64;
        }
        drop(inner);
        self.changed.send_replace(());
    }

    /// The container has ended, or runs (again).
    pub fn set_ended(&self, ended: bool) {
        self.lock().ended = ended;
        self.changed.send_replace(());
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The place of the first line of this second or later that is among the last `tail` lines.
    pub fn start(&self, since: &str, tail: Option<usize>) -> u64 {
        let inner = self.lock();
        let log = &inner.bytes;
        let mut start = match tail {
            None => 0,
            Some(0) => log.len(),
            Some(lines) => {
                let body = log.strip_suffix(b"\n").unwrap_or(log);
                let feeds = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
                feeds.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0)
            }
        };
        let second = since.trim_end_matches('Z').as_bytes();
        while start < log.len() && log[start..].iter().take(second.len()).lt(second.iter()) {
            start =
                log[start..].iter().position(|byte| *byte == b'\n').map_or(log.len(), |at| start + at + 1);
        }
        inner.dropped + start as u64
    }

    /// What follows a place, at most `limit` bytes; the place moves on.
    pub fn read(&self, place: &mut u64, limit: usize) -> Piece {
        let inner = self.lock();
        let from =
            usize::try_from(place.saturating_sub(inner.dropped)).unwrap_or(usize::MAX).min(inner.bytes.len());
        let to = inner.bytes.len().min(from.saturating_add(limit));
        *place = inner.dropped + to as u64;
        Piece { bytes: inner.bytes[from..to].to_vec(), ended: inner.ended && to == inner.bytes.len() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts the times from the front of lines.
pub fn without_times(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let cut = line.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        plain.extend_from_slice(&line[cut..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_from_a_second_or_a_number_of_lines() {
        let log = Log::default();
        for second in 1..=4 {
            log.raw(format!("2026-11-21T04:00:0{second}.5Z line {second}\n").as_bytes());
        }
        let text = |since: &str, tail| {
            let mut place = log.start(since, tail);
            String::from_utf8(without_times(&log.read(&mut place, usize::MAX).bytes)).unwrap()
        };
        assert_eq!(text("", None), "line 1\nline 2\nline 3\nline 4\n");
        assert_eq!(text("2026-11-21T04:00:03Z", None), "line 3\nline 4\n");
        assert_eq!(text("", Some(1)), "line 4\n");
        assert_eq!(text("2026-11-21T04:00:04Z", Some(3)), "line 4\n");
        assert_eq!(text("", Some(0)), "");
        assert_eq!(text("2026-11-21T05:00:00Z", None), "");
    }

    #[test]
    fn a_long_log_loses_its_oldest_whole_lines_and_places_stay_true() {
        let log = Log::default();
        let line = format!("2026-11-21T04:00:00Z {}\n", "x".repeat(1000));
        let mut place = 0;
        for _ in 0..20_000 {
            log.raw(line.as_bytes());
        }
        let piece = log.read(&mut place, usize::MAX);
        assert!(piece.bytes.len() <= KEPT && piece.bytes.starts_with(b"2026"));
        log.raw(b"end\n");
        assert_eq!(log.read(&mut place, usize::MAX).bytes, b"end\n");
    }
}
