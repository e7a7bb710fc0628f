//! What a pod may be after everything that was asked and answered so far.
//!
//! A request that got a 200 happened; a definite refusal changed nothing; one without an answer may have happened or
//! not. The model keeps every state that is possible. An answer or a read that none of them explains is a
//! contradiction: something that was accepted is lost, or something happened that nobody asked for.

use std::collections::BTreeSet;

use crate::script::Kind;

/// Whether a pod is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wants {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// A pod that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Live {
    /// What it runs.
    pub kind: Kind,
    /// Whether it is to run.
    pub wants: Wants,
    /// The number of the request that wrote its definition last.
    pub mark: u32,
    /// The container was started from this definition or a later one.
    pub least: u32,
}

/// A pod, or none.
pub type World = Option<Live>;

/// A request, with the number that it writes into the definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Create it.
    Create {
        /// The number.
        mark: u32,
        /// What it runs.
        kind: Kind,
        /// Whether it is to run.
        wants: Wants,
    },
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Restart it.
    Restart,
    /// Change its definition, perhaps also whether it runs.
    Update {
        /// The number.
        mark: u32,
        /// `status_requested`, if it is in the body.
        to: Option<&'static str>,
    },
    /// Delete it.
    Delete,
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 200.
    Accepted,
    /// 404.
    Absent,
    /// 409.
    Conflict,
    /// No answer, or one that says that a part was away.
    Unknown,
}

/// What a read showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The number of the request that wrote its definition last.
    pub mark: u32,
    /// Whether it is to run.
    pub wants: Wants,
}

/// Nothing that could have happened explains what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(pub String);

/// Everything that a pod may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    worlds: BTreeSet<World>,
}

impl Model {
    /// There is no such pod.
    pub fn absent() -> Self {
        Self { worlds: BTreeSet::from([None]) }
    }

    /// What is possible.
    pub fn worlds(&self) -> impl Iterator<Item = &World> {
        self.worlds.iter()
    }

    /// Notes a request and its answer.
    pub fn note(&mut self, request: Request, outcome: Outcome) -> Result<(), Contradiction> {
        let next = step(&self.worlds, request, outcome);
        self.take(next, || format!("{request:?} was answered with {outcome:?}"))
    }

    /// Notes two requests that were made at the same time.
    pub fn note_both(
        &mut self,
        (first, to_first): (Request, Outcome),
        (second, to_second): (Request, Outcome),
    ) -> Result<(), Contradiction> {
        let mut next = step(&step(&self.worlds, first, to_first), second, to_second);
        next.extend(step(&step(&self.worlds, second, to_second), first, to_first));
        self.take(next, || {
            format!("{first:?} was answered with {to_first:?} and, beside it, {second:?} with {to_second:?}")
        })
    }

    /// Notes what a read showed.
    pub fn read(&mut self, seen: Option<Seen>) -> Result<(), Contradiction> {
        let fits = |world: &World| match (world, seen) {
            (None, None) => true,
            (Some(live), Some(seen)) => live.mark == seen.mark && live.wants == seen.wants,
            _ => false,
        };
        let next = self.worlds.iter().filter(|world| fits(world)).copied().collect();
        self.take(next, || format!("a read showed {seen:?}"))
    }

    fn take(&mut self, next: BTreeSet<World>, what: impl Fn() -> String) -> Result<(), Contradiction> {
        if next.is_empty() {
            return Err(Contradiction(format!("{}, but it must be one of {:?}", what(), self.worlds)));
        }
        self.worlds = next;
        Ok(())
    }
}

fn step(worlds: &BTreeSet<World>, request: Request, outcome: Outcome) -> BTreeSet<World> {
    let accepted = || worlds.iter().filter_map(|world| after(*world, request));
    match outcome {
        Outcome::Accepted => accepted().collect(),
        Outcome::Absent => worlds.iter().filter(|world| world.is_none()).copied().collect(),
        Outcome::Conflict => worlds.iter().filter(|world| world.is_some()).copied().collect(),
        Outcome::Unknown => worlds.iter().copied().chain(accepted()).collect(),
    }
}

/// What an accepted request makes of a pod; `None` when it cannot have been accepted.
fn after(world: World, request: Request) -> Option<World> {
    let (live, request) = match (world, request) {
        (None, Request::Create { mark, kind, wants }) => {
            return Some(Some(Live { kind, wants, mark, least: mark }));
        }
        (None, _) | (Some(_), Request::Create { .. }) => return None,
        (Some(live), request) => (live, request),
    };
    let begun = |live: Live| Live { wants: Wants::On, least: live.mark, ..live };
    Some(match request {
        Request::Create { .. } | Request::Delete => None,
        Request::Start | Request::Restart => Some(begun(live)),
        Request::Stop => Some(Live { wants: Wants::Off, ..live }),
        Request::Update { mark, to } => {
            let changed = Live { mark, ..live };
            Some(match to {
                None => changed,
                Some("OFF") => Live { wants: Wants::Off, ..changed },
                Some("RESTART") => begun(changed),
                // A pod that is on already is not started again.
                Some(_) if live.wants == Wants::On => changed,
                Some(_) => begun(changed),
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: Request = Request::Create { mark: 1, kind: Kind::Httpd, wants: Wants::On };

    fn seen(mark: u32, wants: Wants) -> Option<Seen> {
        Some(Seen { mark, wants })
    }

    fn created() -> Model {
        let mut model = Model::absent();
        model.note(CREATE, Outcome::Accepted).unwrap();
        model
    }

    #[test]
    fn an_accepted_request_must_be_seen() {
        let mut model = created();
        assert!(model.clone().read(None).is_err(), "a lost create");
        model.note(Request::Stop, Outcome::Accepted).unwrap();
        assert!(model.clone().read(seen(1, Wants::On)).is_err(), "a lost stop");
        model.read(seen(1, Wants::Off)).unwrap();
        model.note(Request::Delete, Outcome::Accepted).unwrap();
        assert!(model.read(seen(1, Wants::Off)).is_err(), "a lost delete");
    }

    #[test]
    fn without_an_answer_both_are_possible_until_a_read() {
        let mut model = created();
        model.note(Request::Delete, Outcome::Unknown).unwrap();
        assert!(model.clone().read(None).is_ok());
        model.read(seen(1, Wants::On)).unwrap();
        assert!(model.read(None).is_err(), "it was settled");
    }

    #[test]
    fn a_refusal_changes_nothing_and_may_contradict() {
        let mut model = created();
        model.note(Request::Start, Outcome::Conflict).unwrap();
        model.read(seen(1, Wants::On)).unwrap();
        assert!(model.clone().note(Request::Stop, Outcome::Absent).is_err(), "it was created");
        assert!(model.note(CREATE, Outcome::Accepted).is_err(), "it exists already");
    }

    #[test]
    fn of_two_at_once_either_may_be_the_last() {
        let mut model = created();
        model.note_both((Request::Stop, Outcome::Accepted), (Request::Restart, Outcome::Accepted)).unwrap();
        assert_eq!(model.worlds().count(), 2);
        model.note_both((Request::Delete, Outcome::Accepted), (Request::Start, Outcome::Absent)).unwrap();
        assert_eq!(model.worlds().copied().collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn a_restart_begins_with_the_definition_of_its_time_or_later() {
        let mut model = created();
        model.note(Request::Update { mark: 2, to: None }, Outcome::Accepted).unwrap();
        let least = |model: &Model| model.worlds().flatten().map(|live| live.least).collect::<Vec<_>>();
        assert_eq!(least(&model), [1], "a running container keeps what it was started with");
        model.note(Request::Restart, Outcome::Accepted).unwrap();
        assert_eq!(least(&model), [2]);
        model.note(Request::Update { mark: 3, to: Some("ON") }, Outcome::Accepted).unwrap();
        assert_eq!(least(&model), [2], "it was on already");
    }
}
