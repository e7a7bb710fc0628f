//! What happens to a pod that was taken away while it should run (docs/lifecycle.md, "Lost pods").

use chrono::{DateTime, Duration, Utc};

/// Losses in a row after which a pod ends in ERROR instead of being started again.
pub const MAX_LOSSES: i32 = 8;
/// A run of at least this length proves that the pod works; earlier losses are forgotten.
pub const STABLE_AFTER: Duration = Duration::minutes(10);
const LONGEST_WAIT: Duration = Duration::minutes(5);

/// What to do about a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossDecision {
    /// Start again, not before the given time; `losses` is stored on the row.
    StartAgain {
        /// Losses in a row, this one included.
        losses: i32,
        /// The earliest time at which the spawner may create the new Pod.
        not_before: DateTime<Utc>,
    },
    /// It happened too often: ERROR.
    GiveUp,
}

/// Decides about a loss at `now` of a pod that ran since `running_since` and was lost `losses` times before.
///
/// The first new start is immediate; then the wait doubles from one second up to five minutes.
pub fn decide(losses: i32, running_since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> LossDecision {
    let stable = running_since.is_some_and(|since| now - since >= STABLE_AFTER);
    let losses = if stable { 1 } else { losses.saturating_add(1) };
    if losses > MAX_LOSSES {
        return LossDecision::GiveUp;
    }
    let wait = match losses {
        ..=1 => Duration::zero(),
        n => Duration::seconds(1 << (n - 2).min(20)).min(LONGEST_WAIT),
    };
    LossDecision::StartAgain { losses, not_before: now + wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_in_giving_up() {
        let now = DateTime::UNIX_EPOCH;
        let waits: Vec<i64> = (0..MAX_LOSSES)
            .map(|before| match decide(before, None, now) {
                LossDecision::StartAgain { not_before, .. } => (not_before - now).num_seconds(),
                LossDecision::GiveUp => -1,
            })
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(decide(MAX_LOSSES, None, now), LossDecision::GiveUp);
    }

    #[test]
    fn a_long_run_forgets_earlier_losses() {
        let now = DateTime::UNIX_EPOCH + STABLE_AFTER;
        let decision = decide(MAX_LOSSES, Some(DateTime::UNIX_EPOCH), now);
        assert_eq!(decision, LossDecision::StartAgain { losses: 1, not_before: now });
    }
}
