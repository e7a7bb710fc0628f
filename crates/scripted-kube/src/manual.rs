//! What a test does in place of scheduler and kubelet.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    object::Object,
    scenario::Scenario,
    state::{Stage, State, Step, resource},
    status,
};

impl State {
    /// Applies a scenario to a Pod that exists: what ends a container ends it now, `remove` takes the Pod away.
    ///
    /// # Errors
    /// A scenario that concerns the beginning of a Pod only.
    pub fn perform(&mut self, pod: &Arc<Object>, scenario: Scenario) -> Result<(), &'static str> {
        match scenario {
            Scenario::Run(_) | Scenario::Logs(_) | Scenario::IgnoresTerm | Scenario::StuckTerminating => {
                if let Some(run) = self.runs.get_mut(&pod.key) {
                    run.scenario = scenario;
                }
                if self.stage(pod) == Stage::Running {
                    if let Some(after) = scenario.ends_after() {
                        self.again(pod, Step::End, after);
                    }
                    self.again(pod, Step::Log, Duration::ZERO);
                }
                Ok(())
            }
            Scenario::NotReady => {
                if let Some(run) = self.runs.get_mut(&pod.key) {
                    run.scenario = scenario;
                }
                self.show(pod, status::not_ready);
                self.again(pod, Step::Unhealthy, Duration::ZERO);
                Ok(())
            }
            other if other.ends_after().is_some() => {
                self.end(pod, other);
                Ok(())
            }
            _ => Err("this scenario concerns the beginning of a Pod only"),
        }
    }

    pub(crate) fn set_status(&mut self, namespace: &str, name: &str, status: Value) -> Option<Arc<Object>> {
        let pod = self.store.get(resource("pods"), namespace, name).ok()?;
        let mut value = pod.value();
        value["status"] = status;
        if value["spec"]["nodeName"].is_null() {
            value["spec"]["nodeName"] = json!("node");
        }
        let running = !value["status"]["containerStatuses"][0]["state"]["running"].is_null();
        let over = !value["status"]["containerStatuses"][0]["state"]["terminated"].is_null();
        if let Some(run) = self.runs.get_mut(&pod.key) {
            run.stage = match (running, over) {
                (true, _) => Stage::Running,
                (_, true) => Stage::Over,
                _ => run.stage,
            };
            run.log.set_ended(!running);
        }
        Some(self.store.put(resource("pods"), value))
    }

    pub(crate) fn set_running(&mut self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let pod = self.store.get(resource("pods"), namespace, name).ok()?;
        let mut value = pod.value();
        status::scheduled(&mut value, "node");
        status::running(&mut value);
        status::ready(&mut value);
        self.set_status(namespace, name, value["status"].clone())
    }

    pub(crate) fn end_by_deadline(&mut self, namespace: &str, name: &str) {
        let Ok(pod) = self.store.get(resource("pods"), namespace, name) else { return };
        let mut value = pod.value();
        let message = "Pod was active on the node longer than the specified deadline";
        status::ended(&mut value, 143, "Error", "");
        status::failed(&mut value, "DeadlineExceeded", message);
        self.set_status(namespace, name, value["status"].clone());
    }
}
