//! Containers as their kubelets see them.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::Step,
    log::Log,
    nodes::Amounts,
    object::{Key, Object},
    scenario::Scenario,
    state::{Mode, State},
};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not placed.
    Unplaced,
    /// Placed, does not run yet.
    Waiting,
    /// Runs.
    Running,
    /// Has ended, or never will run.
    Over,
}

/// A Pod as its kubelet sees it.
#[derive(Debug)]
pub(crate) struct Run {
    pub uid: Box<str>,
    pub scenario: Scenario,
    pub stage: Stage,
    pub node: Option<String>,
    /// What it takes from its node, while it does.
    pub takes: Option<Amounts>,
    pub log: Log,
    /// When its Pod was created.
    pub begun: Instant,
    /// Counts attempts of what keeps failing.
    pub attempts: u32,
    /// Whether it was told to end.
    pub ending: bool,
}

impl State {
    pub(crate) fn adopt(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let run = Run {
            uid: pod.uid.clone(),
            scenario,
            stage: Stage::Unplaced,
            node: None,
            takes: None,
            // A test may write the log before it says that the container runs.
            log: self.runs.get(&pod.key).map(|run| run.log.clone()).unwrap_or_default(),
            begun: Instant::now(),
            attempts: 0,
            ending: false,
        };
        self.runs.insert(Arc::clone(&pod.key), run);
        if self.mode == Mode::Scripted {
            let after = Duration::from_millis(self.settings.schedule_ms);
            self.later(Arc::clone(&pod.key), &pod.uid, Step::Place, after);
        }
    }

    /// Everything that a kubelet knew of a Pod.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.release(key);
        if let Some(run) = self.runs.remove(key) {
            run.log.set_ended(true);
        }
    }

    /// Gives back what a Pod takes from its node.
    pub(crate) fn release(&mut self, key: &Key) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if let (Some(takes), Some(node)) =
            (run.takes.take(), run.node.as_ref().and_then(|name| self.nodes.get_mut(name)))
        {
            node.account(&takes, -1);
        }
    }
}
