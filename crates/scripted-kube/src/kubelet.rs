//! The pretended kubelets: one step of one Pod at a time, from its creation to its container's life.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    object::Object,
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
            Step::Heartbeat => return self.heartbeat(name),
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

    pub(crate) fn again(&mut self, pod: &Object, step: Step, after: Duration) {
        self.later(Arc::clone(&pod.key), &pod.uid, step, after);
    }

    pub(crate) fn stage(&self, pod: &Object) -> Stage {
        self.runs.get(&pod.key).map_or(Stage::Over, |run| run.stage)
    }

    pub(crate) fn scenario(&self, pod: &Object) -> Scenario {
        self.runs.get(&pod.key).map_or(Scenario::Run(None), |run| run.scenario)
    }

    pub(crate) fn set_stage(&mut self, pod: &Object, stage: Stage) {
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

    /// Writes a Pod's status.
    pub(crate) fn show(&mut self, pod: &Object, change: impl FnOnce(&mut Value)) -> Option<Arc<Object>> {
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
}

pub(crate) fn pod_is_deleting(pod: &Object) -> bool {
    !pod.value()["metadata"]["deletionTimestamp"].is_null()
}
