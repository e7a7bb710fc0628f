//! What a Pod is to do: its scenario.
//!
//! A Pod says it by the name of its image, `scripted/<scenario>` (registry and tag do not matter), or by the annotation
//! `scripted.kube/scenario`, which wins. Any other image runs until it is told to stop.

use std::{fmt, str::FromStr, time::Duration};

use serde_json::Value;

/// The annotation that names a scenario.
pub const ANNOTATION: &str = "scripted.kube/scenario";

/// What a Pod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// `run`, `run-N`: runs until it is told to stop, or for N seconds.
    Run(Option<u64>),
    /// `exit-C`, `exit-C-after-N`: ends by itself with this code, after half a second or N seconds.
    Exit(i32, Option<u64>),
    /// `crash`: ends with code 1 as soon as it runs.
    Crash,
    /// `oom`: is killed for its memory limit.
    Oom,
    /// `cannot-start`: the command does not exist.
    CannotStart,
    /// `create-error`: the container's configuration cannot be resolved.
    CreateError,
    /// `image-not-found`.
    ImageNotFound,
    /// `image-denied`.
    ImageDenied,
    /// `image-unreachable`: the registry does not answer.
    ImageUnreachable,
    /// `image-invalid`.
    ImageInvalid,
    /// `image-slow`, `image-slow-N`: the pull takes 30 or N seconds.
    ImageSlow(u64),
    /// `mount-failed`: a volume cannot be mounted.
    MountFailed,
    /// `sandbox-failed`: the network of the Pod cannot be set up.
    SandboxFailed,
    /// `unschedulable-cpu`: no node has the CPU.
    UnschedulableCpu,
    /// `unschedulable-gpu`: no node has a GPU.
    UnschedulableGpu,
    /// `evicted-memory`: runs, and is evicted because its node runs short of memory.
    EvictedMemory,
    /// `evicted-disk`: the same for disk.
    EvictedDisk,
    /// `storage-limit`: writes more than its own limit of ephemeral storage.
    StorageLimit,
    /// `preempted`: a more important Pod takes its place.
    Preempted,
    /// `node-refused`: the node has less than the scheduler thought.
    NodeRefused,
    /// `not-ready`: runs, and its readiness probe never succeeds.
    NotReady,
    /// `liveness`: its liveness probe fails; it is killed.
    Liveness,
    /// `startup-probe`: its startup probe never succeeds; it is killed.
    StartupProbe,
    /// `ignores-term`: takes its whole grace period.
    IgnoresTerm,
    /// `stuck-terminating`: stays until its deletion is forced.
    StuckTerminating,
    /// `logs-N`: writes N lines a second.
    Logs(u64),
    /// `slow-start-N`: takes N seconds to be created.
    SlowStart(u64),
    /// `quota`: is refused by a quota.
    Quota,
    /// `denied`: is refused by admission.
    Denied,
    /// `invalid`: is refused by validation.
    Invalid,
}

/// Scenarios without a number.
const PLAIN: &[(&str, Scenario)] = &[
    ("crash", Scenario::Crash),
    ("oom", Scenario::Oom),
    ("cannot-start", Scenario::CannotStart),
    ("create-error", Scenario::CreateError),
    ("image-not-found", Scenario::ImageNotFound),
    ("image-denied", Scenario::ImageDenied),
    ("image-unreachable", Scenario::ImageUnreachable),
    ("image-invalid", Scenario::ImageInvalid),
    ("mount-failed", Scenario::MountFailed),
    ("sandbox-failed", Scenario::SandboxFailed),
    ("unschedulable-cpu", Scenario::UnschedulableCpu),
    ("unschedulable-gpu", Scenario::UnschedulableGpu),
    ("evicted-memory", Scenario::EvictedMemory),
    ("evicted-disk", Scenario::EvictedDisk),
    ("storage-limit", Scenario::StorageLimit),
    ("preempted", Scenario::Preempted),
    ("node-refused", Scenario::NodeRefused),
    ("not-ready", Scenario::NotReady),
    ("liveness", Scenario::Liveness),
    ("startup-probe", Scenario::StartupProbe),
    ("ignores-term", Scenario::IgnoresTerm),
    ("stuck-terminating", Scenario::StuckTerminating),
    ("quota", Scenario::Quota),
    ("denied", Scenario::Denied),
    ("invalid", Scenario::Invalid),
];

/// A prefix, and what the number behind it makes.
type Numbered = (&'static str, fn(u64) -> Scenario);

/// No such scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scenario {0}; the crate's documentation lists them")]
pub struct UnknownScenario(String);

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, UnknownScenario> {
        if let Some((_, plain)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(*plain);
        }
        let unknown = || UnknownScenario(text.to_owned());
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| unknown());
        match text {
            "run" => return Ok(Self::Run(None)),
            "image-slow" => return Ok(Self::ImageSlow(30)),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("exit-") {
            let (code, after) = match rest.split_once("-after-") {
                Some((code, after)) => (code, Some(number(after)?)),
                None => (rest, None),
            };
            return Ok(Self::Exit(code.parse().map_err(|_| unknown())?, after));
        }
        let numbered: [Numbered; 4] = [
            ("run-", |n| Self::Run(Some(n))),
            ("image-slow-", Self::ImageSlow),
            ("logs-", Self::Logs),
            ("slow-start-", Self::SlowStart),
        ];
        let found =
            numbered.iter().find_map(|(prefix, make)| text.strip_prefix(prefix).map(|rest| (rest, make)));
        let (rest, make) = found.ok_or_else(unknown)?;
        Ok(make(number(rest)?))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(None) => f.write_str("run"),
            Self::Run(Some(seconds)) => write!(f, "run-{seconds}"),
            Self::Exit(code, None) => write!(f, "exit-{code}"),
            Self::Exit(code, Some(after)) => write!(f, "exit-{code}-after-{after}"),
            Self::ImageSlow(seconds) => write!(f, "image-slow-{seconds}"),
            Self::Logs(lines) => write!(f, "logs-{lines}"),
            Self::SlowStart(seconds) => write!(f, "slow-start-{seconds}"),
            plain => {
                let name = PLAIN.iter().find(|(_, scenario)| scenario == plain).map(|(name, _)| *name);
                f.write_str(name.unwrap_or_default())
            }
        }
    }
}

impl Scenario {
    /// What a Pod asks for. An unknown scenario counts as `run`.
    pub fn of(pod: &Value) -> Self {
        let said = pod["metadata"]["annotations"][ANNOTATION].as_str();
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        said.or_else(|| of_image(image)).and_then(|name| name.parse().ok()).unwrap_or(Self::Run(None))
    }

    /// When the container ends by itself, counted from its start.
    pub fn ends_after(self) -> Option<Duration> {
        match self {
            Self::Run(seconds) => seconds.map(Duration::from_secs),
            Self::Exit(_, Some(seconds)) => Some(Duration::from_secs(seconds)),
            Self::Exit(_, None) | Self::Oom => Some(Duration::from_millis(500)),
            Self::Crash => Some(Duration::from_millis(20)),
            Self::EvictedMemory
            | Self::EvictedDisk
            | Self::StorageLimit
            | Self::Preempted
            | Self::Liveness
            | Self::StartupProbe => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

fn of_image(image: &str) -> Option<&str> {
    let (_, rest) = image.rsplit_once("scripted/")?;
    rest.split([':', '@']).next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_scenario_is_written_as_it_is_read() {
        let numbered =
            ["run", "run-3", "exit-7", "exit-0-after-2", "image-slow-5", "logs-100", "slow-start-9"];
        for name in PLAIN.iter().map(|(name, _)| *name).chain(numbered) {
            assert_eq!(name.parse::<Scenario>().unwrap().to_string(), name);
        }
        for wrong in ["", "exit-x", "run-", "nothing"] {
            assert!(wrong.parse::<Scenario>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_image_or_the_annotation_says_it() {
        let of = |image: &str, said: Option<&str>| {
            let mut pod = json!({"spec": {"containers": [{"image": image}]}});
            if let Some(said) = said {
                pod["metadata"]["annotations"][ANNOTATION] = json!(said);
            }
            Scenario::of(&pod)
        };
        assert_eq!(of("busybox", None), Scenario::Run(None));
        assert_eq!(of("docker.io/scripted/exit-3:latest", None), Scenario::Exit(3, None));
        assert_eq!(of("scripted/oom", Some("crash")), Scenario::Crash);
    }
}
