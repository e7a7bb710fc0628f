//! Why a container does not run yet, and whether that can still get better.

use pods_core::reason::{Reason, StatusContainer};
use pods_kube::observe::{ContainerState, Observation};

/// Something that keeps a container from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The stable code.
    pub reason: Reason,
    /// What happened and what the cluster says about it.
    pub message: String,
    /// Whether waiting cannot help.
    pub definite: bool,
}

impl Trouble {
    /// Trouble that may pass.
    pub fn passing(reason: Reason, message: String) -> Self {
        Self { reason, message, definite: false }
    }

    fn definite(reason: Reason, message: String) -> Self {
        Self { reason, message, definite: true }
    }
}

/// What is wrong with a Pod that does not run yet; `None` while everything goes its way. `said` is what the row says
/// already: Kubernetes tells the cause of a failed pull only now and then.
pub fn trouble(pod: &Observation, said: &StatusContainer) -> Option<Trouble> {
    if let Some(message) = &pod.unschedulable {
        let text = format!("No node has room for the pod. {message}");
        return Some(Trouble::passing(Reason::Unschedulable, text.trim().to_owned()));
    }
    let ContainerState::Waiting { reason, message } = &pod.container else { return None };
    match reason.as_str() {
        "" | "ContainerCreating" | "PodInitializing" => None,
        "InvalidImageName" => {
            let text = format!("The image's name is not valid. {message}");
            Some(Trouble::definite(Reason::ImageInvalid, text.trim().to_owned()))
        }
        "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ErrImageNeverPull"
        | "ImageInspectError" => Some(of_a_pull(message, said)),
        other => {
            let text = format!("The container cannot be started ({other}). {message}");
            Some(Trouble::passing(Reason::ContainerStart, text.trim().to_owned()))
        }
    }
}

/// Whether a container that counts as ended never began to run.
pub fn could_not_start(reason: &str) -> bool {
    matches!(reason, "ContainerCannotRun" | "StartError")
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
                | Reason::ImagePull
                | Reason::Mount
                | Reason::ContainerStart
        )
    )
}

/// The text without what stands in quotes: there the runtime repeats the user's image reference, whose words and
/// digits prove nothing.
fn unquoted(text: &str) -> String {
    text.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

fn of_a_pull(message: &str, said: &StatusContainer) -> Trouble {
    let cause = unquoted(&message.to_lowercase());
    let about = |sentence: &str| format!("{sentence} {message}");
    // Words of a network that does not work also occur beside words that sound like an answer.
    const NETWORK: &[&str] = &[
        "dial tcp",
        "no such host",
        "i/o timeout",
        "timeout",
        "connection refused",
        "connection reset",
        "tls handshake",
        "x509",
        "unexpected eof",
        "server misbehaving",
        "network is unreachable",
        "too many requests",
        "toomanyrequests",
        "429",
        "500 internal",
        "502 bad",
        "503 service",
        "504 gateway",
        "no space left",
    ];
    const MISSING: &[&str] = &["not found", "manifest unknown", "name unknown", "does not exist", "notfound"];
    const DENIED: &[&str] =
        &["denied", "unauthorized", "403 forbidden", "401 unauthorized", "authorization failed"];
    let has = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if has(NETWORK) {
        return Trouble::passing(Reason::ImagePull, about("The image could not be pulled."));
    }
    // A registry that hides what one may not see says both; "denied" is then the safer reading for the user.
    if has(DENIED) {
        return Trouble::definite(
            Reason::ImageDenied,
            about("The registry refuses the image, or has no such image."),
        );
    }
    if has(MISSING) {
        return Trouble::definite(Reason::ImageNotFound, about("The registry has no such image."));
    }
    let known = matches!(
        said.code,
        Some(Reason::ImagePull | Reason::ImageNotFound | Reason::ImageDenied | Reason::ImageInvalid)
    );
    match &said.message {
        // "Back-off pulling image" says less than the row does already.
        Some(earlier) if known && cause.starts_with("back-off") => {
            Trouble::passing(said.code.unwrap_or(Reason::ImagePull), earlier.clone())
        }
        _ => Trouble::passing(Reason::ImagePull, about("The image could not be pulled.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_answers_no_is_told_from_one_that_does_not_answer() {
        let nothing = StatusContainer::default();
        let table = [
            (
                "rpc error: code = NotFound desc = failed to pull: docker.io/library/nope:latest: not found",
                Reason::ImageNotFound,
                true,
            ),
            ("manifest for x:1 not found: manifest unknown", Reason::ImageNotFound, true),
            (
                "pull access denied, repository does not exist or may require authorization",
                Reason::ImageDenied,
                true,
            ),
            ("failed to authorize: unexpected status: 401 Unauthorized", Reason::ImageDenied, true),
            ("dial tcp: lookup registry-1.docker.io: no such host", Reason::ImagePull, false),
            ("dial tcp 10.0.0.1:443: connect: connection refused", Reason::ImagePull, false),
            ("toomanyrequests: You have reached your pull rate limit", Reason::ImagePull, false),
            ("net/http: TLS handshake timeout", Reason::ImagePull, false),
            ("unexpected status code 503 Service Unavailable", Reason::ImagePull, false),
        ];
        for (message, reason, definite) in table {
            let found = of_a_pull(message, &nothing);
            assert_eq!((found.reason, found.definite), (reason, definite), "{message}");
            assert!(found.message.contains(message));
        }
    }

    #[test]
    fn a_back_off_keeps_the_cause_that_is_known() {
        let said = StatusContainer::because(Reason::ImagePull, "cause");
        let found = of_a_pull("Back-off pulling image \"x\"", &said);
        assert_eq!(found, Trouble::passing(Reason::ImagePull, "cause".into()));
    }
}
