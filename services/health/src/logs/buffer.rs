//! What was read of one container's log and is not in Postgres yet.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use pods_db::logs::{CHUNKS_MAX, Mark, RING_BYTES, runs::Place};
use pods_kube::logs::LogLine;

/// Lines that follow each other more closely share a mark.
const MARK_EVERY: TimeDelta = TimeDelta::milliseconds(100);
/// Marks of one write.
const MARKS_MAX: usize = 64;

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

/// Neighbouring bytes with their place in the run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The place of the first byte.
    pub offset: i64,
    /// What the container wrote.
    pub bytes: Vec<u8>,
    /// Where lines begin in it, with their times.
    pub marks: Vec<Mark>,
    /// The place after its last line.
    pub cursor: Cursor,
}

/// What waits for Postgres. The cursor is that of the last line in it.
#[derive(Debug)]
pub struct Buffer {
    filling: Segment,
    /// Full ones, oldest first; the first may be on its way to Postgres.
    sealed: VecDeque<Arc<Segment>>,
    /// The place of the next byte.
    end: i64,
    bytes: usize,
    /// The bytes of all buffers.
    all: Arc<AtomicUsize>,
    /// Chunks and bytes in Postgres since the last compaction.
    chunks: usize,
    written: usize,
}

impl Buffer {
    /// An empty one. `all` counts the bytes of all buffers that share it.
    pub fn new(all: Arc<AtomicUsize>) -> Self {
        Self {
            filling: Segment::default(),
            sealed: VecDeque::new(),
            end: 0,
            bytes: 0,
            all,
            chunks: 0,
            written: 0,
        }
    }

    /// Starts where Postgres stands.
    pub fn resume_at(&mut self, place: Place) {
        self.filling.cursor = Cursor { at: place.resume_ts, count: place.resume_skip };
        (self.end, self.chunks) = (place.log_end, place.chunks);
    }

    /// The place after everything that was pushed.
    pub fn cursor(&self) -> Cursor {
        self.filling.cursor
    }

    /// Adds a line.
    pub fn push(&mut self, line: &LogLine) {
        let segment = &mut self.filling;
        if segment.bytes.is_empty() {
            segment.offset = self.end;
        }
        segment.cursor.advance(line.at);
        if line.begins && segment.marks.len() < MARKS_MAX {
            // Never earlier than what is before it, even if the clock was set back.
            let at = segment.cursor.at.unwrap_or(line.at);
            if segment.marks.last().is_none_or(|last| at - last.at >= MARK_EVERY) {
                segment.marks.push(Mark { offset: self.end, at });
            }
        }
        segment.bytes.extend_from_slice(&line.bytes);
        self.end += i64::try_from(line.bytes.len()).unwrap_or(0);
        self.bytes += line.bytes.len();
        self.all.fetch_add(line.bytes.len(), Ordering::Relaxed);
    }

    /// Notes that something was left out here.
    pub fn leave_out(&mut self) {
        self.seal();
        self.end += 1;
    }

    fn seal(&mut self) {
        if !self.filling.bytes.is_empty() {
            let cursor = self.filling.cursor;
            let full = std::mem::replace(&mut self.filling, Segment { cursor, ..Segment::default() });
            self.sealed.push_back(Arc::new(full));
        }
    }

    /// Bytes that are not in Postgres.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether everything is in Postgres.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether something was pushed since the last write began.
    pub fn has_news(&self) -> bool {
        !self.filling.bytes.is_empty()
    }

    /// What is to be written next; the same again until [`Buffer::written`].
    pub fn take(&mut self) -> Option<Arc<Segment>> {
        if self.sealed.is_empty() {
            self.seal();
        }
        self.sealed.front().cloned()
    }

    /// What was taken is in Postgres. `true` when it is time for a compaction there.
    pub fn written(&mut self) -> bool {
        if let Some(segment) = self.sealed.pop_front() {
            self.bytes -= segment.bytes.len();
            self.all.fetch_sub(segment.bytes.len(), Ordering::Relaxed);
            self.chunks += 1;
            self.written += segment.bytes.len();
        }
        let due = self.chunks >= CHUNKS_MAX || self.written >= RING_BYTES;
        if due {
            (self.chunks, self.written) = (0, 0);
        }
        due
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
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
        LogLine { at: at(second), bytes: text.as_bytes().to_vec(), begins: true }
    }

    fn buffer() -> Buffer {
        Buffer::new(Arc::default())
    }

    #[test]
    fn a_reopened_stream_gives_no_line_twice_and_loses_none() {
        let log = [line(1, "a"), line(2, "b"), line(2, "c"), line(2, "d"), line(3, "e")];
        for stop in 0..=log.len() {
            let mut buffer = buffer();
            log[..stop].iter().for_each(|line| buffer.push(line));
            // The API server begins at the whole second of the cursor, or at the start.
            let mut resume = Resume::new(buffer.cursor());
            let from = buffer.cursor().at;
            for line in log.iter().filter(|line| from.is_none_or(|from| line.at >= from)) {
                if resume.is_new(line.at) {
                    buffer.push(line);
                }
            }
            assert_eq!(buffer.take().unwrap().bytes, b"abcde", "stopped after {stop}");
        }
    }

    #[test]
    fn a_failed_write_is_repeated_before_anything_newer() {
        let mut buffer = buffer();
        buffer.push(&line(1, "a"));
        let first = buffer.take();
        buffer.push(&line(2, "b"));
        assert_eq!(buffer.take(), first);
        assert_eq!(buffer.len(), 2);
        buffer.written();
        let second = buffer.take().unwrap();
        assert_eq!((second.offset, second.bytes.as_slice()), (1, b"b".as_slice()));
        assert_eq!(second.cursor, Cursor { at: Some(at(2)), count: 1 });
        buffer.written();
        assert!(buffer.is_empty() && buffer.take().is_none());
    }

    #[test]
    fn places_go_on_where_postgres_stands_and_jump_where_something_is_left_out() {
        let mut buffer = buffer();
        buffer.resume_at(Place {
            log_end: 100,
            resume_ts: Some(at(1)),
            resume_skip: 1,
            chunks: CHUNKS_MAX - 2,
        });
        buffer.push(&line(2, "abc\n"));
        buffer.leave_out();
        buffer.push(&line(9, "xyz\n"));
        let before = buffer.take().unwrap();
        assert_eq!((before.offset, before.cursor.at), (100, Some(at(2))));
        assert!(!buffer.written());
        let after = buffer.take().unwrap();
        assert_eq!((after.offset, after.bytes.as_slice()), (105, b"xyz\n".as_slice()));
        assert_eq!(after.marks, [Mark { offset: 105, at: at(9) }]);
        assert!(buffer.written(), "what was there before counts too");
    }

    #[test]
    fn the_bytes_of_all_buffers_are_counted() {
        let all = Arc::new(AtomicUsize::new(0));
        let (mut one, mut two) = (Buffer::new(Arc::clone(&all)), Buffer::new(Arc::clone(&all)));
        one.push(&line(1, "abc"));
        two.push(&line(1, "de"));
        assert_eq!(all.load(Ordering::Relaxed), 5);
        one.take();
        one.written();
        assert_eq!(all.load(Ordering::Relaxed), 2);
        drop(two);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_nothing() {
        let mut buffer = buffer();
        buffer.push(&line(5, "a"));
        buffer.push(&line(3, "b"));
        assert_eq!(buffer.cursor(), Cursor { at: Some(at(5)), count: 1 });
    }

    #[test]
    fn marks_are_few_and_only_where_lines_begin() {
        let mut buffer = buffer();
        buffer.push(&line(1, "one "));
        buffer.push(&LogLine { begins: false, ..line(2, "goes on\n") });
        buffer.push(&line(2, "same second\n"));
        for second in 3..500 {
            buffer.push(&line(second, "x\n"));
        }
        let segment = buffer.take().unwrap();
        assert_eq!(segment.marks[..2], [Mark { offset: 0, at: at(1) }, Mark { offset: 12, at: at(2) }]);
        assert_eq!(segment.marks.len(), MARKS_MAX);
    }
}
