//! What is done to a pod, one step after the other: a function of the seed and the pod's number alone.
//!
//! The steps follow the life that the pod would have if every request were accepted, so that most of them make sense;
//! what the answers really are never changes the sequence.

use std::time::Duration;

use crate::random::Random;

/// What a pod runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Serves a page, for ever.
    Httpd,
    /// Writes numbered lines, for ever.
    Ticker,
    /// Writes a few lines and ends by itself.
    Job,
}

/// A request about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `POST /pods`.
    Create {
        /// What it runs.
        kind: Kind,
        /// Whether it is to run.
        on: bool,
    },
    /// `GET /pods/{id}/start`.
    Start,
    /// `GET /pods/{id}/stop`.
    Stop,
    /// `GET /pods/{id}/restart`.
    Restart,
    /// `PUT /pods/{id}` with another definition.
    Update,
    /// The same together with a `status_requested`.
    UpdateTo(&'static str),
    /// `DELETE /pods/{id}`.
    Delete,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Before it.
    pub pause: Duration,
    /// What is asked for.
    pub action: Action,
    /// What a second user asks for at the same moment.
    pub beside: Option<Action>,
    /// Whether the user with whom the pod is shared asks, instead of its owner.
    pub by_partner: bool,
    /// Whether the pod is read right afterwards.
    pub read: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Absent,
    On,
    Off,
}

/// The steps of one pod, without end.
#[derive(Debug, Clone)]
pub struct Script {
    random: Random,
    life: Life,
    mean_pause: Duration,
    first: bool,
}

impl Script {
    /// The steps of the pod of this number, with this pause on the average.
    pub fn new(seed: u64, number: usize, mean_pause: Duration) -> Self {
        Self { random: Random::of(seed, "pod", number), life: Life::Absent, mean_pause, first: true }
    }

    fn action(&mut self) -> Action {
        use Action::{Delete, Restart, Start, Stop, Update, UpdateTo};
        let create = self.create();
        let choices: &[(usize, Action)] = match self.life {
            Life::Absent => &[(30, create), (1, Start), (1, Delete)],
            Life::On => &[
                (30, Stop),
                (25, Restart),
                (15, Update),
                (14, Delete),
                (5, UpdateTo("OFF")),
                (5, UpdateTo("RESTART")),
                (3, Start),
                (3, create),
            ],
            Life::Off => &[
                (40, Start),
                (15, Update),
                (14, Delete),
                (12, UpdateTo("ON")),
                (8, Restart),
                (5, Stop),
                (3, create),
            ],
        };
        *self.random.choose(choices)
    }

    fn create(&mut self) -> Action {
        let kind = *self.random.choose(&[(5, Kind::Httpd), (3, Kind::Ticker), (2, Kind::Job)]);
        Action::Create { kind, on: self.random.percent(85) }
    }

    fn live(&mut self, action: Action) {
        self.life = match (self.life, action) {
            (Life::Absent, Action::Create { on: true, .. }) => Life::On,
            (Life::Absent, Action::Create { on: false, .. }) => Life::Off,
            (Life::Absent, _) | (_, Action::Delete) => Life::Absent,
            (_, Action::Start | Action::Restart | Action::UpdateTo("ON" | "RESTART")) => Life::On,
            (_, Action::Stop | Action::UpdateTo("OFF")) => Life::Off,
            (life, _) => life,
        };
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        // The first requests come soon: what does not exist cannot be harmed.
        let most =
            if self.first { self.mean_pause.min(Duration::from_secs(15)) } else { self.mean_pause * 2 };
        let pause = self.random.between(Duration::ZERO, most);
        let action = if self.first { self.create() } else { self.action() };
        self.first = false;
        let races = self.life != Life::Absent && self.random.percent(8);
        let beside = races.then(|| self.action());
        self.live(action);
        beside.into_iter().for_each(|beside| self.live(beside));
        let (by_partner, read) = (self.random.percent(30), self.random.percent(30));
        Some(Step { pause, action, beside, by_partner, read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_repeats_the_steps_and_they_have_everything() {
        let pause = Duration::from_secs(5);
        let steps = |seed| Script::new(seed, 1, pause).take(500).collect::<Vec<_>>();
        assert_eq!(steps(4), steps(4));
        assert_ne!(steps(4), steps(5));
        let steps = steps(4);
        assert!(matches!(steps[0].action, Action::Create { .. }));
        let has = |wanted: fn(&Action) -> bool| steps.iter().any(|step| wanted(&step.action));
        assert!(has(|action| *action == Action::Start) && has(|action| *action == Action::Stop));
        assert!(has(|action| *action == Action::Restart) && has(|action| *action == Action::Delete));
        assert!(has(|action| *action == Action::Update) && has(|action| *action == Action::UpdateTo("OFF")));
        assert!(
            steps.iter().skip(1).any(|step| matches!(step.action, Action::Create { .. })),
            "created again"
        );
        assert!(steps.iter().any(|step| step.beside.is_some()) && steps.iter().any(|step| step.by_partner));
        assert!(steps.iter().all(|step| step.pause <= pause * 2));
    }
}
