//! Lines of one container between the stream that they come from and Postgres.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use pods_kube::logs::LogLine;

/// A place in a log: the time of the last line and how many lines of exactly that time are behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The time of the last line; `None` before the first.
    pub at: Option<DateTime<Utc>>,
    /// Lines of that time, the last one included.
    pub count: i32,
}

impl Cursor {
    fn advance(&mut self, at: DateTime<Utc>) {
        match self.at {
            Some(last) if at == last => self.count = self.count.saturating_add(1),
            // A clock that was set back: the place stays at the latest time, or everything since would come again.
            Some(last) if at < last => {}
            _ => *self = Self { at: Some(at), count: 1 },
        }
    }
}

/// Recognizes the lines of a newly opened stream that are behind the cursor already.
#[derive(Debug)]
pub struct Resume {
    from: Cursor,
    same: i32,
    passed: bool,
}

impl Resume {
    /// For a stream that begins at or before `from`.
    pub fn new(from: Cursor) -> Self {
        Self { from, same: 0, passed: from.at.is_none() }
    }

    /// Whether a line is new.
    pub fn is_new(&mut self, at: DateTime<Utc>) -> bool {
        if self.passed {
            return true;
        }
        let Some(last) = self.from.at else { return true };
        if at < last {
            return false;
        }
        if at == last && self.same < self.from.count {
            self.same += 1;
            return false;
        }
        self.passed = true;
        true
    }
}

/// What waits for Postgres. The cursor is that of the last line in it.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    cursor: Cursor,
    /// What a write that is under way took.
    taken: Option<(Vec<u8>, Cursor)>,
}

impl Buffer {
    /// Starts at a place.
    pub fn resume_at(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// The place after everything that was pushed.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Adds a line.
    pub fn push(&mut self, line: &LogLine) {
        self.bytes.extend_from_slice(&line.bytes);
        self.cursor.advance(line.at);
    }

    /// Bytes that are not in Postgres.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.taken.as_ref().map_or(0, |(bytes, _)| bytes.len())
    }

    /// Whether everything is in Postgres.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.taken.is_none()
    }

    /// Whether something was pushed since the last write began.
    pub fn has_news(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// What is to be written next; the same again until [`Buffer::written`].
    pub fn take(&mut self) -> Option<(Vec<u8>, Cursor)> {
        if self.taken.is_none() && !self.bytes.is_empty() {
            self.taken = Some((std::mem::take(&mut self.bytes), self.cursor));
        }
        self.taken.clone()
    }

    /// What was taken is in Postgres.
    pub fn written(&mut self) {
        self.taken = None;
    }
}

/// Locks a buffer; every change under the lock is complete before anything can panic.
pub fn lock(buffer: &Mutex<Buffer>) -> MutexGuard<'_, Buffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn line(second: i64, text: &str) -> LogLine {
        LogLine { at: at(second), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_reopened_stream_gives_no_line_twice_and_loses_none() {
        let log = [line(1, "a"), line(2, "b"), line(2, "c"), line(2, "d"), line(3, "e")];
        for stop in 0..=log.len() {
            let mut buffer = Buffer::default();
            log[..stop].iter().for_each(|line| buffer.push(line));
            // The API server begins at the whole second of the cursor, or at the start.
            let mut resume = Resume::new(buffer.cursor());
            let from = buffer.cursor().at;
            for line in log.iter().filter(|line| from.is_none_or(|from| line.at >= from)) {
                if resume.is_new(line.at) {
                    buffer.push(line);
                }
            }
            assert_eq!(buffer.take().unwrap().0, b"abcde", "stopped after {stop}");
        }
    }

    #[test]
    fn a_failed_write_is_repeated_before_anything_newer() {
        let mut buffer = Buffer::default();
        buffer.push(&line(1, "a"));
        let first = buffer.take();
        buffer.push(&line(2, "b"));
        assert_eq!(buffer.take(), first);
        assert_eq!(buffer.len(), 2);
        buffer.written();
        let (bytes, cursor) = buffer.take().unwrap();
        assert_eq!((bytes.as_slice(), cursor), (b"b".as_slice(), Cursor { at: Some(at(2)), count: 1 }));
        buffer.written();
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_nothing() {
        let mut buffer = Buffer::default();
        buffer.push(&line(5, "a"));
        buffer.push(&line(3, "b"));
        assert_eq!(buffer.cursor(), Cursor { at: Some(at(5)), count: 1 });
    }
}
