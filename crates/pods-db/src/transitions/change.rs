//! What is to be written, and what became of it.

use chrono::{DateTime, Utc};

use pods_core::{
    phases::Phases,
    reason::StatusContainer,
    template::ChainError,
    transition::{Event, IllegalTransition},
};

use crate::{logs::Fence, pods::PodRow};

/// An event and what is to be written with it.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    pub(super) event: Event,
    pub(super) now: DateTime<Utc>,
    pub(super) status_container: Option<StatusContainer>,
    pub(super) log: Option<&'a str>,
    pub(super) not_before: Option<DateTime<Utc>>,
    pub(super) losses: Option<i32>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) phases: Phases,
    pub(super) fence: Option<Fence>,
}

impl<'a> Change<'a> {
    /// An event at `now`.
    pub fn new(event: Event, now: DateTime<Utc>) -> Self {
        Self {
            event,
            now,
            status_container: None,
            log: None,
            not_before: None,
            losses: None,
            started_at: None,
            phases: Phases::default(),
            fence: None,
        }
    }

    /// Sets `status_container`; without it the column stays, or is cleared with the instance.
    #[must_use]
    pub fn because(mut self, status_container: StatusContainer) -> Self {
        self.status_container = Some(status_container);
        self
    }

    /// Adds a line to the action log (without date).
    #[must_use]
    pub fn log(mut self, text: &'a str) -> Self {
        self.log = Some(text);
        self
    }

    /// The spawner must not start the new instance before this time.
    #[must_use]
    pub fn not_before(mut self, at: DateTime<Utc>) -> Self {
        self.not_before = Some(at);
        self
    }

    /// How often in a row the pod was lost.
    #[must_use]
    pub fn losses(mut self, losses: i32) -> Self {
        self.losses = Some(losses);
        self
    }

    /// When the container began to run; `now` without it.
    #[must_use]
    pub fn started_at(mut self, at: DateTime<Utc>) -> Self {
        self.started_at = Some(at);
        self
    }

    /// Phases that the start has reached, as far as the writer knows.
    #[must_use]
    pub fn phases(mut self, phases: Phases) -> Self {
        self.phases = phases;
        self
    }

    /// Writes only while the lease still has this epoch: a replica that was paused and lost its share without
    /// knowing it is answered with [`Applied::Moved`].
    #[must_use]
    pub fn under(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    pub(super) fn by_user(&self) -> bool {
        matches!(self.event, Event::Start | Event::Stop | Event::Restart | Event::Delete)
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// Written; the row as it is now.
    Done(Box<PodRow>),
    /// The event does not fit the row's status; nothing was written.
    Illegal(IllegalTransition),
    /// Somebody else wrote first; read the row again and decide anew.
    Moved,
    /// The pod cannot be started because its templates cannot be merged; nothing was written.
    Underivable(ChainError),
}

impl Applied {
    /// A word for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Illegal(_) => "illegal",
            Self::Moved => "moved",
            Self::Underivable(_) => "underivable",
        }
    }
}
