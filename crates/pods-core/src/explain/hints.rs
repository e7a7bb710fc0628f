//! What is worth knowing besides.

use chrono::TimeDelta;

use super::{Facts, moment};
use crate::{Status, lost::MAX_LOSSES, phases::Phase};

/// The proxy asks for its routes every second or two.
const ROUTED_WITHIN: TimeDelta = TimeDelta::seconds(15);
/// An end that is nearer is worth a hint.
const ENDS_SOON: TimeDelta = TimeDelta::minutes(15);

/// The hints about a pod's life.
pub(super) fn of(facts: &Facts<'_>) -> Vec<String> {
    let mut hints = Vec::new();
    if facts.losses > 0 && facts.status.wants_objects() {
        let times =
            if facts.losses == 1 { "once".to_owned() } else { format!("{} times in a row", facts.losses) };
        hints.push(format!(
            "The pod was lost {times} and started again; after {MAX_LOSSES} losses in a row it ends in ERROR."
        ));
    }
    if facts.status == Status::Available {
        if !facts.observed {
            hints.push(
                "Nobody watches the containers at the moment; what happened lately may be missing."
                    .to_owned(),
            );
        }
        let running = facts.phases.get(Phase::Started).map(|at| facts.now - at);
        if facts.network.has_visitors()
            && facts.phases.get(Phase::Routed).is_none()
            && running.is_some_and(|time| time > ROUTED_WITHIN)
        {
            hints.push("That the proxy leads to the pod is not confirmed; if its address does not work, tell an operator.".to_owned());
        }
        if let Some(at) = facts.deadline.filter(|at| *at - facts.now < ENDS_SOON) {
            hints.push(format!("The run ends at {}; a larger time_to_stop_instance moves that.", moment(at)));
        }
    }
    hints
}
