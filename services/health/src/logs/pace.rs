//! How fast a log is read, and how fast it may be.

use std::time::Duration;

use chrono::TimeDelta;
use pods_db::logs::RING_BYTES;
use tokio::time::Instant;

/// Lines older than this are a backlog; of one that is larger than the ring only the end is read.
const BEHIND: TimeDelta = TimeDelta::seconds(10);
/// A follower that reads lines of this age has something left to read.
const LAG: TimeDelta = TimeDelta::seconds(3);
/// Kubelets begin another file when one has so many bytes.
const ROTATION: usize = 10 * 1024 * 1024;
/// Bytes per second that one container may cost in the long run.
const RATE: usize = 2 * 1024 * 1024;
/// Bytes that may come at once after a pause: the whole of what is kept.
const BURST: usize = RING_BYTES;

/// How fast a stream is read, compared with how fast it is written.
#[derive(Default)]
pub struct Pace {
    bytes: usize,
    lines: usize,
    /// Bytes of lines that were too old, since the last one that was not.
    old_bytes: usize,
    age: TimeDelta,
}

impl Pace {
    /// Adds a line of some age.
    pub fn add(&mut self, age: TimeDelta, bytes: usize) {
        self.bytes += bytes;
        self.lines += 1;
        self.age = age;
        self.old_bytes = if age < BEHIND { 0 } else { self.old_bytes + bytes };
    }

    /// Whether more of a backlog was read than the ring holds.
    pub fn is_hopeless(&self) -> bool {
        self.old_bytes > RING_BYTES
    }

    /// Whether more was read than the ring holds.
    pub fn fills_the_ring(&self) -> bool {
        self.bytes > RING_BYTES
    }

    /// Whether what is still unread may be much.
    pub fn lags(&self) -> bool {
        self.age > LAG || self.may_have_lost_the_file()
    }

    /// Whether so much was read that the kubelet may have begun another file meanwhile. A stream that was not at the end of
    /// the old file then stays with that file for ever, in old kubelets.
    pub fn may_have_lost_the_file(&self) -> bool {
        self.bytes > ROTATION / 2
    }

    /// How many lines from the end fill the ring.
    pub fn lines_of_the_ring(&self) -> i64 {
        let average = (self.bytes / self.lines.max(1)).max(1);
        i64::try_from(RING_BYTES / average + 1).unwrap_or(i64::MAX)
    }
}

/// What one container may cost: one that writes without end must not take the time of the others. Reading more slowly
/// loses nothing that would be kept: who falls behind goes on at the end.
pub struct Budget {
    left: usize,
    at: Instant,
}

impl Budget {
    /// A full one.
    pub fn new() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    /// Takes bytes out; how long to wait when there are not enough.
    pub fn spend(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * RATE as f64;
        // Fractions of a byte are not lost: the time counts only once it is worth something.
        if earned >= 1.0 {
            self.at = now;
            self.left = self.left.saturating_add(earned as usize).min(BURST);
        }
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                None
            }
            None => {
                self.left = 0;
                Some(Duration::from_millis(100))
            }
        }
    }
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
            assert!(!caught_up.is_hopeless());
        }
        assert!(caught_up.may_have_lost_the_file() && caught_up.lags());
        let mut quiet = Pace::default();
        quiet.add(TimeDelta::zero(), line);
        assert!(!quiet.may_have_lost_the_file() && !quiet.lags());
    }

    #[test]
    fn a_flood_is_slowed_down_and_everything_else_is_not() {
        let mut now = Instant::now();
        let mut budget = Budget { left: BURST, at: now };
        // A burst of the whole ring is free, then the rate holds.
        assert_eq!(budget.spend(BURST, now), None);
        let (mut read, begun) = (0, now);
        while read < 20 * RATE {
            read += 16 * 1024;
            if let Some(pause) = budget.spend(16 * 1024, now) {
                now += pause;
            }
        }
        let took = (now - begun).as_secs_f64();
        assert!((15.0..25.0).contains(&took), "{took}");
        // A line per millisecond of 1 KiB is half of the rate.
        for _ in 0..20_000 {
            now += Duration::from_millis(1);
            assert_eq!(budget.spend(1024, now), None);
        }
    }
}
