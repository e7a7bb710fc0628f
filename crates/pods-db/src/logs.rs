//! What the containers of pods wrote.
//!
//! A *run* is a start whose container ran. Its log is a sequence of bytes in which every byte has a place (offset) that
//! never changes: readers go on where they were, whatever happened in between. The newest [`RING_BYTES`] of the newest
//! runs are stored in chunks; older runs are one compressed piece each ([`archive`]), and the oldest are dropped.
//!
//! Bytes are stored as the container wrote them. Times are stored as [`Mark`]s: where a line begins and when it was
//! written, for some of the lines.

pub mod archive;
mod compact;
mod marks;
mod read;
pub mod runs;
mod write;

pub use compact::compact_and_trim;
pub use marks::Mark;
pub use read::{Piece, Wanted, next, of_latest, read, start};
pub use write::{Append, Fence, Stored, append};

/// How much of a log is kept, in bytes.
pub const RING_BYTES: usize = 10 * 1024 * 1024;
/// How many chunks a run may have before they are merged.
pub const CHUNKS_MAX: usize = 512;
/// The channel that is notified when something was stored. The payload is the uids of pods without hyphens, with
/// commas in between.
pub const CHANNEL: &str = "pods_logs";

/// The newest whole lines that fit in `limit` bytes; a single longer line keeps its end.
pub fn newest_lines(all: &[u8], limit: usize) -> &[u8] {
    if all.len() <= limit {
        return all;
    }
    let cut = all.len() - limit;
    // The byte before the cut may be the end of a line: then the cut is at a line already.
    match all[cut - 1..].iter().position(|byte| *byte == b'\n') {
        Some(at) if cut + at < all.len() => &all[cut + at..],
        _ => &all[cut..],
    }
}

/// Where the last `lines` lines begin; text without a line feed at the end counts as a line. `None` when there are not
/// that many.
fn last_lines(all: &[u8], lines: u64) -> Result<usize, u64> {
    let mut left = lines;
    if left == 0 {
        return Ok(all.len());
    }
    for at in (0..all.len().saturating_sub(1)).rev() {
        if all[at] == b'\n' {
            left -= 1;
            if left == 0 {
                return Ok(at + 1);
            }
        }
    }
    Err(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_lines_are_kept() {
        assert_eq!(newest_lines(b"a\nb\nc\n", 10), b"a\nb\nc\n");
        assert_eq!(newest_lines(b"aa\nbb\ncc\n", 6), b"bb\ncc\n");
        assert_eq!(newest_lines(b"aa\nbb\ncc\n", 5), b"cc\n");
        assert_eq!(newest_lines(b"aaaaaaaa", 3), b"aaa");
        assert_eq!(newest_lines(b"aaaa\n", 3), b"aa\n");
    }

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        let log = b"a\nbb\n\nccc\n";
        for (lines, tail) in [(0, ""), (1, "ccc\n"), (2, "\nccc\n"), (3, "bb\n\nccc\n")] {
            assert_eq!(&log[last_lines(log, lines).unwrap()..], tail.as_bytes(), "{lines}");
        }
        // The first line has no line feed before it.
        assert_eq!(last_lines(log, 4), Err(1));
        assert_eq!(&b"a\nb"[last_lines(b"a\nb", 1).unwrap()..], b"b");
        assert_eq!(last_lines(b"", 1), Err(1));
    }
}
