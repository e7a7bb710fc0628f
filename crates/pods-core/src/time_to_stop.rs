//! When a running pod is stopped by itself (Tapis Pods documentation, "Time-to-Stop").

use chrono::{DateTime, Duration, Utc};

/// Seconds that a pod runs unless its user says otherwise: 12 hours.
pub const DEFAULT_SECONDS: i32 = 43_200;
/// The shortest limit that is accepted, in seconds.
pub const MINIMUM_SECONDS: i32 = 300;
/// The value that stands for "no limit".
pub const UNLIMITED: i32 = -1;

/// Whether a number is a limit: `-1`, or at least [`MINIMUM_SECONDS`].
pub fn valid(seconds: i32) -> bool {
    seconds == UNLIMITED || seconds >= MINIMUM_SECONDS
}

/// The deadline of a run that began at `start`: the instance's limit where it has one, else the pod's default.
/// `None` means that it runs until somebody stops it.
pub fn deadline(start: DateTime<Utc>, default: i32, instance: Option<i32>) -> Option<DateTime<Utc>> {
    match instance.unwrap_or(default) {
        UNLIMITED => None,
        seconds => start.checked_add_signed(Duration::seconds(seconds.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_limit_goes_before_the_default() {
        let start = DateTime::UNIX_EPOCH;
        let at = |seconds| Some(start + Duration::seconds(seconds));
        assert_eq!(deadline(start, 600, None), at(600));
        assert_eq!(deadline(start, 600, Some(300)), at(300));
        assert_eq!(deadline(start, 600, Some(UNLIMITED)), None);
        assert_eq!(deadline(start, UNLIMITED, None), None);
        assert_eq!(deadline(start, UNLIMITED, Some(400)), at(400));
    }

    #[test]
    fn limits_below_five_minutes_are_refused() {
        for (seconds, ok) in
            [(-1, true), (0, false), (-2, false), (299, false), (300, true), (i32::MAX, true)]
        {
            assert_eq!(valid(seconds), ok, "{seconds}");
        }
    }
}
