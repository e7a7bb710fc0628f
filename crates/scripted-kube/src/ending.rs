//! How a container ends: by itself, because of its limits or its node, or because it is told to.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    kubelet::pod_is_deleting,
    object::Object,
    scenario::Scenario,
    settings::ms,
    state::{Stage, State, Step, resource},
    status,
};

impl State {
    /// The scenario's own end.
    pub(crate) fn end(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let node = self.runs.get(&pod.key).and_then(|run| run.node.clone()).unwrap_or_default();
        let exit = |code: i32| (code, if code == 0 { "Completed" } else { "Error" });
        let (code, reason) = match scenario {
            Scenario::Exit(code, _) => exit(code),
            Scenario::Crash => exit(1),
            Scenario::Oom => (137, "OOMKilled"),
            Scenario::Liveness | Scenario::StartupProbe => {
                let which = if scenario == Scenario::Liveness { "Liveness" } else { "Startup" };
                let failed = format!("{which} probe failed: HTTP probe failed with statuscode: 500");
                self.event(pod, "Warning", "Unhealthy", &failed);
                let name = status::container_name(&pod.value());
                let killing = format!("Container {name} failed {} probe", which.to_lowercase());
                self.event(pod, "Normal", "Killing", &killing);
                (137, "Error")
            }
            Scenario::EvictedMemory => {
                return self.evict(
                    pod,
                    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. ",
                );
            }
            Scenario::EvictedDisk => {
                return self.evict(
                    pod,
                    "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 200Mi. ",
                );
            }
            Scenario::StorageLimit => {
                return self.evict(
                    pod,
                    "Pod ephemeral local storage usage exceeds the total limit of containers 64Mi. ",
                );
            }
            Scenario::Preempted => {
                let message = format!("Preempted by pod scripted on node {node}");
                self.event(pod, "Normal", "Preempted", &message);
                self.show(pod, |pod| status::disrupted(pod, "PreemptionByScheduler", &message));
                let _gone = self.delete(resource("pods"), pod.namespace(), pod.name(), &Value::Null);
                return;
            }
            _ => exit(0),
        };
        self.say_end(pod, code);
        self.show(pod, |pod| status::ended(pod, code, reason, ""));
        self.set_stage(pod, Stage::Over);
    }

    fn say_end(&mut self, pod: &Object, code: i32) {
        if let Some(run) = self.runs.get(&pod.key) {
            run.log.line(&format!("scripted: the container ends with code {code}"));
        }
    }

    pub(crate) fn evict(&mut self, pod: &Arc<Object>, message: &str) {
        self.event(pod, "Warning", "Evicted", message);
        let ran = self.stage(pod) == Stage::Running;
        self.say_end(pod, 137);
        self.show(pod, |pod| {
            if ran {
                status::ended(pod, 137, "Error", "");
            }
            status::failed(pod, "Evicted", message);
            status::disrupted(pod, "TerminationByKubelet", message);
        });
        self.set_stage(pod, Stage::Over);
    }

    pub(crate) fn deadline(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let message = "Pod was active on the node longer than the specified deadline";
        self.event(pod, "Normal", "DeadlineExceeded", message);
        let runs = self.stage(pod) == Stage::Running;
        self.show(pod, |pod| status::failed(pod, "DeadlineExceeded", message));
        if !runs {
            return self.set_stage(pod, Stage::Over);
        }
        let grace = pod.value()["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        self.signal(pod, scenario, Duration::from_secs(grace));
    }

    /// SIGTERM, and SIGKILL when the grace is over.
    fn signal(&mut self, pod: &Arc<Object>, scenario: Scenario, grace: Duration) {
        let term = ms(self.settings.term_ms);
        if let Some(run) = self.runs.get_mut(&pod.key)
            && !std::mem::replace(&mut run.ending, true)
        {
            let name = status::container_name(&pod.value());
            self.event(pod, "Normal", "Killing", &format!("Stopping container {name}"));
        }
        if scenario != Scenario::IgnoresTerm && term < grace {
            self.again(pod, Step::TermEnd, term);
        }
        self.again(pod, Step::Kill, grace);
    }

    /// A Pod was marked for deletion.
    pub(crate) fn tell_to_end(&mut self, pod: &Arc<Object>, grace: Duration) {
        let scenario = self.scenario(pod);
        if scenario == Scenario::StuckTerminating {
            return;
        }
        match self.stage(pod) {
            Stage::Running => self.signal(pod, scenario, grace),
            _ => self.again(pod, Step::TermEnd, ms(20)),
        }
    }

    /// The container ended because it was told to.
    pub(crate) fn terminated(&mut self, pod: &Arc<Object>, code: i32) {
        self.say_end(pod, code);
        self.show(pod, |pod| status::ended(pod, code, "Error", ""));
        self.set_stage(pod, Stage::Over);
        if pod_is_deleting(pod) {
            self.remove_pod(pod.namespace(), pod.name());
        }
    }
}
