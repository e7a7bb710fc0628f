//! How far a start has come, and when it got there.

use chrono::{DateTime, TimeDelta, Utc};

use crate::status::text_enum;

text_enum! {
    /// A step of every start, in the order in which they come.
    Phase {
        /// The service accepted the start.
        Accepted => "accepted",
        /// A spawner began to work on it.
        Taken => "taken",
        /// Its objects stand in Kubernetes.
        Created => "created",
        /// A node was found.
        Scheduled => "scheduled",
        /// The image is on the node.
        Pulled => "pulled",
        /// The container runs.
        Started => "started",
        /// The container passes its probes, or runs and has none.
        Ready => "ready",
        /// The proxy knows the way to it.
        Routed => "routed",
    }
}

/// The phases that a start has reached, each with its time. What was noted first stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases {
    times: [Option<DateTime<Utc>>; Phase::ALL.len()],
}

/// A phase that was reached, as users see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    /// Which one.
    pub phase: Phase,
    /// When.
    pub at: DateTime<Utc>,
    /// How long after the one before it; `None` for the first.
    pub since_previous: Option<TimeDelta>,
}

impl Phases {
    /// One phase at a time.
    pub fn at(phase: Phase, at: DateTime<Utc>) -> Self {
        let mut phases = Self::default();
        phases.note(phase, Some(at));
        phases
    }

    /// What of this is not in `known`.
    pub fn but(&self, known: &Self) -> Self {
        let mut news = *self;
        for phase in Phase::ALL.iter().filter(|phase| known.get(**phase).is_some()) {
            news.times[*phase as usize] = None;
        }
        news
    }

    /// When a phase was reached.
    pub fn get(&self, phase: Phase) -> Option<DateTime<Utc>> {
        self.times[phase as usize]
    }

    /// Notes a phase, unless its time is known already.
    pub fn note(&mut self, phase: Phase, at: Option<DateTime<Utc>>) {
        let time = &mut self.times[phase as usize];
        *time = time.or(at);
    }

    /// The same with the phases of `other` that are not known here.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        Phase::ALL.iter().for_each(|phase| self.note(*phase, other.get(*phase)));
        self
    }

    /// Whether no phase is known.
    pub fn is_empty(&self) -> bool {
        self.times.iter().all(Option::is_none)
    }

    /// The time from one phase to another, if both are known; never negative.
    pub fn between(&self, from: Phase, to: Phase) -> Option<TimeDelta> {
        Some((self.get(to)? - self.get(from)?).max(TimeDelta::zero()))
    }

    /// The newest of all times.
    pub fn newest(&self) -> Option<DateTime<Utc>> {
        self.times.iter().flatten().max().copied()
    }

    /// The phases that were reached, in their order. Clocks differ between nodes, and Kubernetes counts in seconds; a
    /// phase never seems to come before the one that leads to it.
    pub fn reached(&self) -> Vec<Reached> {
        let mut reached: Vec<Reached> = Vec::with_capacity(Phase::ALL.len());
        for phase in Phase::ALL {
            let Some(at) = self.get(*phase) else { continue };
            let previous = reached.last().map(|previous| previous.at);
            let at = previous.map_or(at, |previous| at.max(previous));
            let since_previous = previous.map(|previous| at - previous);
            reached.push(Reached { phase: *phase, at, since_previous });
        }
        reached
    }
}

/// The best guess at when something happened that Kubernetes dates to the second, `told`, and that was seen at `seen`:
/// the sighting, as long as it lies within that second.
pub fn moment(told: Option<DateTime<Utc>>, seen: DateTime<Utc>) -> DateTime<Utc> {
    match told {
        Some(told) => seen.clamp(told, told + TimeDelta::seconds(1)),
        None => seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_000_000 + millis).unwrap()
    }

    #[test]
    fn what_was_noted_first_stays() {
        let mut phases = Phases::at(Phase::Taken, at(5));
        phases.note(Phase::Taken, Some(at(9)));
        let both = phases.or(&Phases::at(Phase::Accepted, at(0)).or(&Phases::at(Phase::Taken, at(7))));
        assert_eq!((both.get(Phase::Accepted), both.get(Phase::Taken)), (Some(at(0)), Some(at(5))));
        assert_eq!(both.between(Phase::Accepted, Phase::Taken), Some(TimeDelta::milliseconds(5)));
        assert_eq!(both.between(Phase::Accepted, Phase::Ready), None);
        assert_eq!(both.newest(), Some(at(5)));
        assert_eq!(both.but(&Phases::at(Phase::Accepted, at(3))), Phases::at(Phase::Taken, at(5)));
    }

    #[test]
    fn phases_come_in_their_order_whatever_the_clocks_say() {
        let mut phases = Phases::at(Phase::Accepted, at(900));
        phases.note(Phase::Scheduled, Some(at(0)));
        phases.note(Phase::Ready, Some(at(1500)));
        let reached: Vec<(Phase, i64)> = phases
            .reached()
            .iter()
            .map(|step| (step.phase, step.since_previous.map_or(-1, |time| time.num_milliseconds())))
            .collect();
        assert_eq!(reached, [(Phase::Accepted, -1), (Phase::Scheduled, 0), (Phase::Ready, 600)]);
    }

    #[test]
    fn a_sighting_is_more_exact_than_a_second_unless_it_came_late() {
        assert_eq!(moment(Some(at(0)), at(300)), at(300));
        assert_eq!(moment(Some(at(0)), at(60_000)), at(1000));
        assert_eq!(moment(Some(at(1000)), at(700)), at(1000));
        assert_eq!(moment(None, at(700)), at(700));
    }
}
