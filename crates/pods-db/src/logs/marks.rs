//! Times of a log, without storing one for each line.

use chrono::{DateTime, Utc};

/// Marks of a merged chunk; more are thinned out evenly.
const PER_CHUNK: usize = 1024;

/// A place where a line begins, and when that line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The place in the run.
    pub offset: i64,
    /// The time.
    pub at: DateTime<Utc>,
}

/// Two numbers of 8 bytes each.
const PACKED: usize = 16;

/// Marks as they are stored.
pub fn pack(marks: &[Mark]) -> Vec<u8> {
    let numbers = marks.iter().flat_map(|mark| [mark.offset, mark.at.timestamp_micros()]);
    numbers.flat_map(i64::to_be_bytes).collect()
}

/// Marks as they were before [`pack`].
pub fn unpack(packed: &[u8]) -> Vec<Mark> {
    let number =
        |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte)).cast_signed();
    let pairs = packed.chunks_exact(PACKED).map(|pair| pair.split_at(PACKED / 2));
    pairs
        .filter_map(|(offset, at)| {
            let at = DateTime::from_timestamp_micros(number(at))?;
            Some(Mark { offset: number(offset), at })
        })
        .collect()
}

/// The marks of neighbours as those of one chunk: not more than fit, and always the first.
pub fn merge(parts: impl Iterator<Item = Mark>) -> Vec<Mark> {
    let all: Vec<Mark> = parts.collect();
    let step = all.len().div_ceil(PER_CHUNK).max(1);
    all.into_iter().step_by(step).collect()
}

/// Where to begin so that no line of `since` or later is missed: the last mark before that time, if there is one.
pub fn before(marks: &[Mark], since: DateTime<Utc>) -> Option<Mark> {
    marks.iter().rev().find(|mark| mark.at < since).copied()
}

/// Where lines of `since` or later begin in a chunk that begins at `offset`.
pub fn start(offset: i64, marks: &[Mark], since: DateTime<Utc>) -> i64 {
    match (before(marks, since), marks.first()) {
        // A line of this very time begins where the one before it ends.
        (Some(mark), _) => {
            marks.iter().find(|other| other.at == since).map_or(mark.offset, |exact| exact.offset)
        }
        (None, Some(first)) => first.offset,
        (None, None) => offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: i64, millis: i64) -> Mark {
        Mark { offset, at: at(millis) }
    }

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).unwrap()
    }

    #[test]
    fn marks_survive_storage() {
        let marks = [mark(0, -1), mark(i64::MAX / 2, 1_795_000_000_123)];
        assert_eq!(unpack(&pack(&marks)), marks);
        assert_eq!(unpack(&pack(&marks)[..20]), marks[..1], "half a mark is none");
    }

    #[test]
    fn reading_begins_at_or_a_little_before_the_time() {
        let marks = [mark(100, 1000), mark(150, 2000), mark(180, 3000)];
        assert_eq!(start(100, &marks, at(500)), 100);
        assert_eq!(start(100, &marks, at(2000)), 150);
        assert_eq!(start(100, &marks, at(2500)), 150, "lines after the mark may be as old as it");
        assert_eq!(start(100, &marks, at(9000)), 180);
        // The chunk begins inside of a long line.
        assert_eq!(start(90, &marks, at(500)), 100);
        assert_eq!(start(90, &[], at(500)), 90);
    }

    #[test]
    fn merged_marks_are_bounded_and_keep_the_first() {
        let merged = merge((0..5000).map(|n| mark(n, n)));
        assert!(merged.len() <= PER_CHUNK && merged.len() > PER_CHUNK / 2);
        assert_eq!(merged[0], mark(0, 0));
        assert_eq!(merge((0..10).map(|n| mark(n, n))).len(), 10);
    }
}
