//! The pretended scheduler and kubelets: one step of one Pod or node at a time.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    nodes,
    object::{Key, Object},
    scenario::Scenario,
    settings::ms,
    state::{Stage, State, Step, Task, resource},
    status,
};

/// How long a node that cannot be reached is waited for, again and again.
const SILENT: Duration = Duration::from_millis(500);

impl State {
    pub(crate) fn step(&mut self, task: &Task) {
        let Some((namespace, name)) = task.key.split_once('/') else { return };
        match task.step {
            Step::Heartbeat => {
                if self.nodes.get(name).is_some_and(|node| node.ready != "Unknown") {
                    self.show_node(name);
                }
                let after = ms(self.settings.heartbeat_ms.max(100));
                if self.nodes.contains_key(name) {
                    self.later(Arc::clone(&task.key), "", Step::Heartbeat, after);
                }
                return;
            }
            Step::Evict => return self.evict_next(name),
            Step::Taint => return self.taint(name),
            _ => {}
        }
        let same = self.runs.get(&task.key).is_some_and(|run| run.uid == task.uid);
        let Ok(pod) = self.store.get(resource("pods"), namespace, name) else { return };
        if !same || pod.uid != task.uid {
            return;
        }
        if self.on_silent_node(&task.key) {
            return self.again(&pod, task.step, SILENT);
        }
        self.step_pod(&pod, task.step);
    }

    fn on_silent_node(&self, key: &Key) -> bool {
        let node = self.runs.get(key).and_then(|run| run.node.as_ref());
        node.and_then(|name| self.nodes.get(name)).is_some_and(|node| node.ready == "Unknown")
    }

    pub(crate) fn again(&mut self, pod: &Object, step: Step, after: Duration) {
        self.later(Arc::clone(&pod.key), &pod.uid, step, after);
    }

    fn stage(&self, pod: &Object) -> Stage {
        self.runs.get(&pod.key).map_or(Stage::Over, |run| run.stage)
    }

    fn scenario(&self, pod: &Object) -> Scenario {
        self.runs.get(&pod.key).map_or(Scenario::Run(None), |run| run.scenario)
    }

    fn set_stage(&mut self, pod: &Object, stage: Stage) {
        if let Some(run) = self.runs.get_mut(&pod.key) {
            run.stage = stage;
        }
        if stage == Stage::Over {
            self.release(&pod.key);
            if let Some(run) = self.runs.get(&pod.key) {
                run.log.set_ended(true);
            }
        }
    }

    fn attempt(&mut self, pod: &Object) -> u32 {
        let Some(run) = self.runs.get_mut(&pod.key) else { return 0 };
        run.attempts += 1;
        run.attempts
    }

    /// Writes a Pod's status.
    fn show(&mut self, pod: &Object, change: impl FnOnce(&mut Value)) -> Option<Arc<Object>> {
        let changed = self.store.update(resource("pods"), pod.namespace(), pod.name(), |value| {
            change(value);
            Ok(())
        });
        changed.ok()
    }

    fn step_pod(&mut self, pod: &Arc<Object>, step: Step) {
        let scenario = self.scenario(pod);
        let stage = self.stage(pod);
        let waits = stage == Stage::Waiting;
        let runs = stage == Stage::Running;
        match step {
            Step::Place if stage == Stage::Unplaced => self.place(pod, scenario),
            Step::Create if waits => self.create_container(pod, scenario),
            Step::Setup if waits => self.set_up(pod, scenario),
            Step::PullFailed if waits => self.pull_failed(pod, scenario),
            Step::PullBackOff if waits => {
                let image = status::image(&pod.value());
                let message = format!("Back-off pulling image \"{image}\"");
                self.event(pod, "Normal", "BackOff", &message);
                self.show(pod, |pod| status::waiting(pod, "ImagePullBackOff", &message));
                let after = ms(self.settings.retry_ms * 10);
                self.again(pod, Step::PullFailed, after);
            }
            Step::Pulled if waits => self.pulled(pod, scenario),
            Step::Start if waits => self.start(pod, scenario),
            Step::Ready if runs => {
                self.show(pod, status::ready);
            }
            Step::Unhealthy if runs => {
                self.event(
                    pod,
                    "Warning",
                    "Unhealthy",
                    "Readiness probe failed: HTTP probe failed with statuscode: 503",
                );
                let after = ms(self.settings.retry_ms * 10);
                self.again(pod, Step::Unhealthy, after);
            }
            Step::End if runs => self.end(pod, scenario),
            Step::Deadline if stage != Stage::Over => self.deadline(pod, scenario),
            Step::TermEnd if runs => self.terminated(pod, 143),
            Step::TermEnd if pod_is_deleting(pod) => self.remove_pod(pod.namespace(), pod.name()),
            Step::Kill if runs => self.terminated(pod, 137),
            Step::Kill if pod_is_deleting(pod) => self.remove_pod(pod.namespace(), pod.name()),
            Step::Log if runs => self.write(pod, scenario),
            _ => {}
        }
    }

    fn place(&mut self, pod: &Arc<Object>, scenario: Scenario) {
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

    fn create_container(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        if scenario == Scenario::NodeRefused {
            let message = "Pod was rejected: Node didn't have enough resource: cpu, requested: 100, used: 64000, capacity: 64000";
            self.event(pod, "Warning", "OutOfcpu", message);
            self.show(pod, |pod| status::failed(pod, "OutOfcpu", message));
            return self.set_stage(pod, Stage::Over);
        }
        self.show(pod, |pod| status::waiting(pod, "ContainerCreating", ""));
        let after = match scenario {
            Scenario::SlowStart(seconds) => Duration::from_secs(seconds),
            _ => Duration::ZERO,
        };
        self.again(pod, Step::Setup, after);
    }

    fn set_up(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let trouble = match scenario {
            Scenario::MountFailed => Some((
                "FailedMount",
                "MountVolume.SetUp failed for volume \"data\" : references non-existent secret key: scripted",
            )),
            Scenario::SandboxFailed => Some((
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: \
                 plugin type=\"bridge\" failed (add): no IP addresses available",
            )),
            _ => None,
        };
        match trouble {
            Some((reason, message)) => {
                self.event(pod, "Warning", reason, message);
                let after = ms(self.settings.retry_ms * 5);
                self.again(pod, Step::Setup, after);
            }
            None => self.pull(pod, scenario),
        }
    }

    fn pull(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let image = status::image(&pod.value());
        let pull = ms(self.settings.pull_ms);
        match scenario {
            Scenario::ImageInvalid => {
                let why = format!(
                    "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
                );
                self.event(pod, "Warning", "InspectFailed", &why);
                self.show(pod, |pod| status::waiting(pod, "InvalidImageName", &why));
            }
            Scenario::ImageNotFound | Scenario::ImageDenied | Scenario::ImageUnreachable => {
                self.event(pod, "Normal", "Pulling", &format!("Pulling image \"{image}\""));
                self.again(pod, Step::PullFailed, pull);
            }
            _ => {
                let here = pod.value()["spec"]["containers"][0]["imagePullPolicy"] != "Always"
                    && self.pulled.contains(&image)
                    && !matches!(scenario, Scenario::ImageSlow(_));
                if here {
                    return self.pulled(pod, scenario);
                }
                self.event(pod, "Normal", "Pulling", &format!("Pulling image \"{image}\""));
                let after = match scenario {
                    Scenario::ImageSlow(seconds) => Duration::from_secs(seconds),
                    _ => pull,
                };
                self.again(pod, Step::Pulled, after);
            }
        }
    }

    fn pull_failed(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let image = status::image(&pod.value());
        let why = match scenario {
            Scenario::ImageNotFound => format!(
                "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve \
                 reference \"{image}\": {image}: not found"
            ),
            Scenario::ImageDenied => format!(
                "rpc error: code = Unknown desc = failed to pull and unpack image \"{image}\": failed to resolve \
                 reference \"{image}\": pull access denied, repository does not exist or may require authorization: \
                 authorization failed: no basic auth credentials"
            ),
            _ => format!(
                "rpc error: code = Unknown desc = failed to pull and unpack image \"{image}\": failed to do request: \
                 Head \"https://registry.invalid/v2/\": dial tcp: lookup registry.invalid: no such host"
            ),
        };
        self.event(pod, "Warning", "Failed", &format!("Failed to pull image \"{image}\": {why}"));
        self.show(pod, |pod| status::waiting(pod, "ErrImagePull", &why));
        let after = ms(self.settings.retry_ms);
        self.again(pod, Step::PullBackOff, after);
    }

    fn pulled(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let image = status::image(&pod.value());
        let message = if self.pulled.insert(image.clone()) {
            let took = self.settings.pull_ms;
            format!("Successfully pulled image \"{image}\" in {took}ms ({took}ms including waiting)")
        } else {
            format!("Container image \"{image}\" already present on machine")
        };
        self.event(pod, "Normal", "Pulled", &message);
        match scenario {
            Scenario::CreateError => {
                let why = "secret \"scripted\" not found";
                self.event(pod, "Warning", "Failed", &format!("Error: {why}"));
                self.show(pod, |pod| status::waiting(pod, "CreateContainerConfigError", why));
            }
            Scenario::CannotStart => {
                let why = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc \
                           create failed: unable to start container process: error during container init: exec: \
                           \"scripted\": executable file not found in $PATH: unknown";
                self.event(pod, "Warning", "Failed", &format!("Error: {why}"));
                self.show(pod, |pod| status::ended(pod, 128, "StartError", why));
                self.set_stage(pod, Stage::Over);
            }
            _ => {
                let after = ms(self.settings.start_ms);
                self.again(pod, Step::Start, after);
            }
        }
    }

    fn start(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let name = status::container_name(&pod.value());
        self.event(pod, "Normal", "Created", &format!("Created container: {name}"));
        self.event(pod, "Normal", "Started", &format!("Started container {name}"));
        if let Some(run) = self.runs.get_mut(&pod.key) {
            run.stage = Stage::Running;
            run.log.line("scripted: the container runs");
        }
        self.show(pod, status::running);
        let value = pod.value();
        let probe = &value["spec"]["containers"][0]["readinessProbe"];
        let delay = Duration::from_secs(probe["initialDelaySeconds"].as_u64().unwrap_or(0));
        let ready = ms(self.settings.ready_ms);
        match scenario {
            Scenario::NotReady => self.again(pod, Step::Unhealthy, ready),
            _ => self.again(pod, Step::Ready, ready + delay),
        }
        if let Some(after) = scenario.ends_after() {
            self.again(pod, Step::End, after);
        }
        if matches!(scenario, Scenario::Logs(_)) {
            self.again(pod, Step::Log, Duration::ZERO);
        }
        if pod_is_deleting(pod) {
            self.again(pod, Step::TermEnd, Duration::ZERO);
        }
    }

    /// Writes for a tenth of a second, or one line when that is less.
    fn write(&mut self, pod: &Arc<Object>, scenario: Scenario) {
        let Scenario::Logs(per_second) = scenario else { return };
        let per_second = per_second.max(1);
        let (lines, after) = match per_second {
            0..=9 => (1, Duration::from_millis(1000 / per_second)),
            _ => (per_second / 10, Duration::from_millis(100)),
        };
        if let Some(run) = self.runs.get_mut(&pod.key) {
            for _ in 0..lines {
                run.attempts = run.attempts.wrapping_add(1);
                run.log.line(&format!("scripted: line {}", run.attempts));
            }
        }
        self.again(pod, Step::Log, after);
    }

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

    fn deadline(&mut self, pod: &Arc<Object>, scenario: Scenario) {
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
    fn terminated(&mut self, pod: &Arc<Object>, code: i32) {
        self.say_end(pod, code);
        self.show(pod, |pod| status::ended(pod, code, "Error", ""));
        self.set_stage(pod, Stage::Over);
        if pod_is_deleting(pod) {
            self.remove_pod(pod.namespace(), pod.name());
        }
    }

    fn pods_on(&self, node: &str) -> Vec<Arc<Object>> {
        let on_it =
            self.runs.iter().filter(|(_, run)| run.node.as_deref() == Some(node) && run.stage != Stage::Over);
        let mut keys: Vec<&Key> = on_it.map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.into_iter()
            .filter_map(|key| key.split_once('/'))
            .filter_map(|(namespace, name)| self.store.get(resource("pods"), namespace, name).ok())
            .collect()
    }

    fn evict_next(&mut self, node: &str) {
        let Some(pressure) = self.nodes.get(node).and_then(|node| node.pressure.clone()) else { return };
        let what = match pressure.as_str() {
            "disk" => "ephemeral-storage",
            "pid" => "pids",
            _ => "memory",
        };
        if let Some(pod) = self.pods_on(node).first() {
            let message = format!("The node was low on resource: {what}. ");
            self.evict(&Arc::clone(pod), &message);
        }
        let after = ms(self.settings.retry_ms);
        self.later(crate::object::key("", node), "", Step::Evict, after);
    }

    /// The node has been lost for so long that its Pods are marked for deletion.
    fn taint(&mut self, node: &str) {
        if self.nodes.get(node).is_none_or(|node| node.ready != "Unknown") {
            return;
        }
        for pod in self.pods_on(node) {
            let message = "Taint manager: deleting due to NoExecute taint";
            self.show(&pod, |pod| status::disrupted(pod, "DeletionByTaintManager", message));
            let _gone = self.delete(resource("pods"), pod.namespace(), pod.name(), &Value::Null);
        }
    }

    /// A node's condition changed: what the controllers of Kubernetes do then.
    pub fn set_node(&mut self, name: &str, ready: Option<&str>, pressure: Option<Option<&str>>) -> bool {
        let Some(node) = self.nodes.get_mut(name) else { return false };
        if let Some(ready) = ready {
            ready.clone_into(&mut node.ready);
        }
        if let Some(pressure) = pressure {
            node.pressure = pressure.map(str::to_owned);
        }
        let silent = node.ready == "Unknown";
        let short = node.pressure.is_some();
        self.show_node(name);
        let key = crate::object::key("", name);
        if silent && ready.is_some() {
            let after = Duration::from_secs(self.settings.node_eviction_s);
            self.later(Arc::clone(&key), "", Step::Taint, after);
            for pod in self.pods_on(name) {
                self.show(&pod, status::node_silent);
            }
        } else if ready == Some("True") {
            for pod in self
                .pods_on(name)
                .iter()
                .filter(|pod| self.stage(pod) == Stage::Running)
                .cloned()
                .collect::<Vec<_>>()
            {
                self.show(&pod, status::ready);
            }
        }
        if short && pressure.is_some() {
            self.later(key, "", Step::Evict, Duration::ZERO);
        }
        true
    }

    /// A node is removed from the cluster, and its Pods with it.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let pods = self.pods_on(name);
        for pod in pods {
            self.show(&pod, |pod| {
                status::failed(pod, "", "");
                status::disrupted(pod, "DeletionByPodGC", "PodGC: node no longer exists");
            });
            self.remove_pod(pod.namespace(), pod.name());
        }
        self.store.remove(resource("nodes"), "", name);
        self.nodes.remove(name).is_some()
    }

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
}

fn pod_is_deleting(pod: &Object) -> bool {
    !pod.value()["metadata"]["deletionTimestamp"].is_null()
}

impl State {
    // What a test does in place of scheduler and kubelet.

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
