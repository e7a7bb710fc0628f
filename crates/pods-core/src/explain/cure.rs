//! Who can act on a cause, and the call that does.

use super::{Facts, NextCall};
use crate::{
    Status,
    reason::{Actor, Reason},
};

/// Who can act, and how.
pub(super) struct Cure {
    pub(super) actor: Actor,
    pub(super) call: Call,
}

/// A call, with what to do in it or what it is good for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    None,
    /// Change the definition; then start again.
    Update(&'static str),
    Start(&'static str),
    Logs(&'static str),
}

impl Call {
    /// The call of this pod, if the caller may make it.
    pub(super) fn for_the(self, facts: &Facts<'_>) -> Option<NextCall> {
        let path = |rest: &str| format!("/v3/pods/{}{rest}", facts.pod_id);
        let call = |method, path, why: String| Some(NextCall { method, path, why });
        match self {
            Self::None => None,
            Self::Logs(why) => call("GET", path("/logs"), why.to_owned()),
            Self::Start(why) if facts.rights.run => call("GET", path("/start"), why.to_owned()),
            Self::Update(what) if facts.rights.update => {
                let apply = match facts.status {
                    Status::Error | Status::Complete | Status::Stopped => "start",
                    _ => "restart",
                };
                let whom = if facts.rights.run { "" } else { " (which needs ADMIN)" };
                call("PUT", path(""), format!("{what}; then {apply} the pod{whom}"))
            }
            Self::Start(_) | Self::Update(_) => None,
        }
    }
}

/// The cure of a cause, for a pod that is in `status`.
pub(super) fn cure(code: Reason, status: Status) -> Cure {
    let owner = |call| Cure { actor: Actor::Owner, call };
    let failed = status == Status::Error;
    // What passes by itself; a pod that was given up has to be started again.
    let passes = |again| match failed {
        true => Cure { actor: Actor::Owner, call: Call::Start(again) },
        false => Cure { actor: Actor::Nobody, call: Call::None },
    };
    let operator = || Cure {
        actor: Actor::Operator,
        call: if failed { Call::Start("once an operator has mended it") } else { Call::None },
    };
    match code {
        Reason::Queued | Reason::Starting | Reason::Running | Reason::Stopping | Reason::NameTaken => {
            Cure { actor: Actor::Nobody, call: Call::None }
        }
        Reason::NotReady => {
            owner(Call::Update("correct healthchecks, or wait if the program only takes long"))
        }
        Reason::Unschedulable => owner(Call::Update(
            "ask for less in resources or choose another compute_queue, or wait until others end",
        )),
        Reason::ImageNotFound => owner(Call::Update("correct image")),
        Reason::ImageDenied => owner(Call::Update(
            "name an image that anybody may pull, or set up a pull secret with an operator",
        )),
        Reason::ImageInvalid => owner(Call::Update("correct image")),
        Reason::ImagePlatform => {
            owner(Call::Update("name an image that was built for the cluster's processors too"))
        }
        Reason::ImagePull => passes("once the registry answers; check the registry's name in image before"),
        Reason::ImagePullSecret
        | Reason::Mount
        | Reason::Sandbox
        | Reason::Quota
        | Reason::KubernetesUnreachable
        | Reason::KubernetesDenied
        | Reason::BrokerUnreachable
        | Reason::NoSpawner
        | Reason::NoObserver
        | Reason::KeysUnavailable => operator(),
        Reason::ContainerConfig => owner(Call::Update("use an image that may run here")),
        Reason::ContainerStart => owner(Call::Update("correct command, arguments or volume_mounts")),
        Reason::ExitCode => owner(Call::Logs("the last lines of the container usually say why it ended")),
        Reason::OutOfMemory => owner(Call::Update("raise resources.mem_limit")),
        Reason::StorageLimit => {
            owner(Call::Update("raise resources.ephemeral_storage_limit, or write to a volume"))
        }
        Reason::ProbeFailed => {
            owner(Call::Update("correct the path, port or times of the probe in healthchecks"))
        }
        Reason::Expired => {
            owner(Call::Start("to run it again; set time_to_stop_instance before for another length"))
        }
        Reason::Stopped => owner(Call::Start("to run it")),
        Reason::Evicted
        | Reason::NodePressure
        | Reason::Preempted
        | Reason::NodeRefused
        | Reason::NodeLost
        | Reason::Vanished => passes("once what takes the pod away is over"),
        Reason::Refused => owner(Call::Update("change what the message names")),
        Reason::StorageUnavailable => owner(Call::Update("correct or remove the mount in volume_mounts")),
        Reason::SecretUnavailable => owner(Call::Update("correct secret_map")),
        Reason::TemplateUnavailable => owner(Call::Update("set another template")),
    }
}
