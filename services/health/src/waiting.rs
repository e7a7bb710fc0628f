//! Why a container does not run yet, and whether that can still get better.

mod placement;
mod pull;

use pods_core::reason::{Actor, Reason, StatusContainer};
use pods_kube::observe::{ContainerState, Observation};

use crate::events::{Note, Setup};

/// Something that keeps a container from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The stable code.
    pub reason: Reason,
    /// What happened and what the cluster says about it.
    pub message: String,
    /// Who can do something about it, where that is not the same for everything of the code.
    pub actor: Option<Actor>,
    /// Whether waiting cannot help.
    pub definite: bool,
}

impl Trouble {
    /// Trouble that may pass.
    pub fn passing(reason: Reason, message: String) -> Self {
        Self { reason, message, actor: None, definite: false }
    }

    fn definite(reason: Reason, message: String) -> Self {
        Self { definite: true, ..Self::passing(reason, message) }
    }

    fn for_the(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }
}

/// What is wrong with a Pod that does not run yet; `None` while everything goes its way. `said` is what the row says
/// already: Kubernetes tells the cause of a failed pull only now and then.
pub fn trouble(pod: &Observation, note: &Note, said: &StatusContainer) -> Option<Trouble> {
    if let Some(message) = &pod.unschedulable {
        return Some(placement::trouble(message));
    }
    let (reason, message) = match &pod.container {
        ContainerState::Waiting { reason, message } => (reason.as_str(), message.as_str()),
        _ => ("", ""),
    };
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => note.setup.as_ref().map(of_the_setup),
        "InvalidImageName" => {
            let text = join("The image's name is not one that the container runtime understands.", message);
            Some(Trouble::definite(Reason::ImageInvalid, text))
        }
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(pull::trouble(message, note.pull_failed.as_deref(), said))
        }
        "ErrImageNeverPull" => {
            let text = "The image is not on the node, and this cluster is set up never to pull images.";
            Some(Trouble::passing(Reason::ImagePull, join(text, message)).for_the(Actor::Operator))
        }
        "CreateContainerConfigError" => Some(of_the_configuration(message)),
        "CreateContainerError" if message.contains("no command specified") => {
            let text = "The image has no command of its own; set `command`.";
            Some(Trouble::definite(Reason::ContainerStart, text.to_owned()))
        }
        other => {
            let text = join(&format!("The container cannot be started ({other})."), &in_words(message));
            Some(Trouble::passing(Reason::ContainerStart, text))
        }
    }
}

fn of_the_setup(setup: &Setup) -> Trouble {
    match setup {
        Setup::Mount(message) => {
            Trouble::passing(Reason::Mount, join("A volume of the pod cannot be mounted.", message))
        }
        Setup::Sandbox(message) => {
            let text = "The node cannot set up the pod's sandbox and network.";
            // What comes before it are the parts that pass it on.
            let cause = message.split_once("desc = ").map_or(message.as_str(), |(_, cause)| cause);
            Trouble::passing(Reason::Sandbox, join(text, cause))
        }
    }
}

fn of_the_configuration(message: &str) -> Trouble {
    // The image wants to run as a user whom its own definition, or the cluster, rules out.
    if message.contains("runAsNonRoot") || message.contains("non-numeric user") {
        let text = "The image demands a user that it may not have in this cluster; use an image that names another user.";
        return Trouble::definite(Reason::ContainerConfig, join(text, message));
    }
    let text = "The node cannot put the container together.";
    let trouble = Trouble::passing(Reason::ContainerConfig, join(text, message));
    // Secrets of a pod are this service's to bring.
    match message.contains("not found") || message.contains("couldn't find key") {
        true => trouble.for_the(Actor::Operator),
        false => trouble,
    }
}

/// Whether a container that counts as ended never began to run.
pub fn could_not_start(reason: &str) -> bool {
    matches!(reason, "ContainerCannotRun" | "StartError")
}

/// What the runtime says about a start that failed, without the names of the parts that pass it on and without paths
/// of the node; first in plain words, where there are any.
pub fn in_words(message: &str) -> String {
    let said = runtime_cause(message);
    let of_exec = said.contains("exec:") || said.contains("exec ");
    let plain = match () {
        () if said.contains("mounting") => {
            "A file or folder cannot be mounted at this path, for example because a part of the path is a file of the \
             image."
                .to_owned()
        }
        () if said.contains("exec format error") => {
            "The program is not for this cluster's processors, or is a script without a #! line.".to_owned()
        }
        () if of_exec && (said.contains("no such file or directory") || said.contains("not found in $PATH")) => {
            match program(&said) {
                Some(program) => format!("The image has no program \"{program}\"; correct `command`."),
                None => "The image has no such program; correct `command`.".to_owned(),
            }
        }
        () if of_exec && said.contains("permission denied") => "The program is not executable.".to_owned(),
        () => String::new(),
    };
    match said.is_empty() {
        true => plain,
        false => join(&plain, &format!("({said})")),
    }
}

/// `exec: "program": ...`
fn program(said: &str) -> Option<&str> {
    said.split_once("exec: \"")?.1.split('"').next()
}

fn runtime_cause(message: &str) -> String {
    const PASSED_ON: [&str; 12] = [
        "failed to create containerd task: ",
        "failed to start containerd task: ",
        "failed to create shim task: ",
        "failed to create shim: ",
        "OCI runtime create failed: ",
        "OCI runtime start failed: ",
        "container_linux.go:349: ",
        "container_linux.go:380: ",
        "runc create failed: ",
        "unable to start container process: ",
        "starting container process caused ",
        "error during container init: ",
    ];
    let mut rest = message.trim();
    while let Some(inner) = PASSED_ON.iter().find_map(|words| {
        let at = rest.find(words)?;
        Some(&rest[at + words.len()..])
    }) {
        rest = inner;
    }
    let rest = rest.trim_end_matches(": unknown").trim_end_matches('.');
    without_host_paths(rest)
}

/// Paths of the node are nobody's business, and nobody's help.
fn without_host_paths(text: &str) -> String {
    const HOST: [&str; 5] =
        ["kubelet/pods/", "/volume-subpaths/", "/rootfs", "/containerd/", "io.containerd"];
    let shown = |word: &str| {
        let path = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/');
        let of_the_node = path.starts_with('/') && HOST.iter().any(|part| path.contains(part));
        if of_the_node { word.replace(path, "...") } else { word.to_owned() }
    };
    text.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}

/// Whether a code that a row shows stands for something that keeps its container from starting.
pub fn is_trouble(code: Option<Reason>) -> bool {
    matches!(
        code,
        Some(
            Reason::Unschedulable
                | Reason::ImageNotFound
                | Reason::ImageDenied
                | Reason::ImageInvalid
                | Reason::ImagePlatform
                | Reason::ImagePull
                | Reason::Mount
                | Reason::Sandbox
                | Reason::ContainerConfig
                | Reason::ContainerStart
        )
    )
}

/// A sentence and what comes after it.
pub(crate) fn join(sentence: &str, more: &str) -> String {
    match (sentence.trim(), more.trim()) {
        (only, "") | ("", only) => only.to_owned(),
        (sentence, more) => format!("{sentence} {more}"),
    }
}

#[cfg(test)]
mod tests;
