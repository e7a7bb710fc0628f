//! The pretended scheduler.

use std::sync::Arc;

use crate::{
    nodes,
    object::Object,
    scenario::Scenario,
    settings::ms,
    state::{Stage, State, Step},
    status,
};

impl State {
    pub(crate) fn place(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let value = pod.value();
        let mut wanted = nodes::requests(&value);
        match scenario {
            Scenario::UnschedulableCpu => drop(wanted.insert("cpu".to_owned(), i64::MAX / 2)),
            Scenario::UnschedulableGpu => drop(wanted.insert("nvidia.com/gpu".to_owned(), 1)),
            _ => {}
        }
        match nodes::place(&self.nodes, &value, &wanted) {
            Err(why) => {
                if self.attempt(pod) == 1 {
                    self.event(pod, "Warning", "FailedScheduling", &why);
                }
                self.show(pod, |pod| status::unschedulable(pod, &why));
                let after = ms(self.settings.retry_ms);
                self.again(pod, Step::Place, after);
            }
            Ok(node) => {
                if let Some(found) = self.nodes.get_mut(&node) {
                    found.account(&wanted, 1);
                }
                if let Some(run) = self.runs.get_mut(&pod.key) {
                    run.stage = Stage::Waiting;
                    run.node = Some(node.clone());
                    run.takes = Some(wanted);
                    run.attempts = 0;
                }
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.event(pod, "Normal", "Scheduled", &message);
                self.show(pod, |pod| status::scheduled(pod, &node));
                let after = ms(self.settings.create_ms);
                self.again(pod, Step::Create, after);
            }
        }
    }

    fn attempt(&mut self, pod: &Object) -> u32 {
        let Some(run) = self.runs.get_mut(&pod.key) else { return 0 };
        run.attempts += 1;
        run.attempts
    }
}
