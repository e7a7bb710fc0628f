//! Why an image cannot be pulled, from the words of the kubelet and of container runtimes.

use pods_core::reason::{Reason, StatusContainer};

use super::{Trouble, join};

/// Words of a network that does not work, which also occur beside words that sound like an answer.
const NETWORK: &[&str] = &[
    "dial tcp",
    "no such host",
    "i/o timeout",
    "timeout",
    "deadline exceeded",
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
const PLATFORM: &[&str] =
    &["no match for platform", "no matching manifest for", "no image found in image index for architecture"];
const DENIED: &[&str] =
    &["denied", "unauthorized", "403 forbidden", "401 unauthorized", "authorization failed"];
const MISSING: &[&str] = &["not found", "manifest unknown", "name unknown", "does not exist", "notfound"];

/// The trouble of an image that cannot be pulled. `told` is what an event said about the newest attempt, `said` what
/// the row says already.
pub(super) fn trouble(message: &str, told: Option<&str>, said: &StatusContainer) -> Trouble {
    // "Back-off pulling image" says less than what was told before.
    if unquoted(message).starts_with("back-off") {
        let known = matches!(
            said.code,
            Some(
                Reason::ImagePull
                    | Reason::ImageNotFound
                    | Reason::ImageDenied
                    | Reason::ImageInvalid
                    | Reason::ImagePlatform
            )
        );
        return match (&said.message, told) {
            (Some(earlier), _) if known => {
                Trouble::passing(said.code.unwrap_or(Reason::ImagePull), earlier.clone())
            }
            (_, Some(told)) => of_a_cause(told),
            _ => of_a_cause(message),
        };
    }
    of_a_cause(message)
}

fn of_a_cause(message: &str) -> Trouble {
    let cause = unquoted(message);
    let message = registry_cause(message);
    let has = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if has(PLATFORM) {
        let text = "The image has no variant for the platform (processors) of this cluster.";
        return Trouble::definite(Reason::ImagePlatform, join(text, message));
    }
    if has(NETWORK) {
        return Trouble::passing(Reason::ImagePull, join("The image could not be pulled.", message));
    }
    // A registry that hides what one may not see says both; "denied" is then the safer reading for the user.
    if has(DENIED) {
        let text = "The registry refuses the image, or has no such image.";
        return Trouble::definite(Reason::ImageDenied, join(text, message));
    }
    if has(MISSING) {
        return Trouble::definite(Reason::ImageNotFound, join("The registry has no such image.", message));
    }
    Trouble::passing(Reason::ImagePull, join("The image could not be pulled.", message))
}

/// What the registry or the network said, without the names of the parts that pass it on.
fn registry_cause(message: &str) -> &str {
    const PASSED_ON: [&str; 4] = [
        "Failed to pull image",
        "failed to pull and unpack image",
        "failed to resolve reference",
        "failed to copy",
    ];
    let mut rest = message.trim();
    loop {
        let inner = if let Some(after) = rest.strip_prefix("rpc error: code = ") {
            after.split_once("desc = ").map(|(_, inner)| inner)
        } else if PASSED_ON.iter().any(|words| rest.starts_with(words)) {
            // The image is named in quotes, with or without those of an event around it.
            rest.split_once("\": ").or_else(|| rest.split_once(": ")).map(|(_, inner)| inner)
        } else {
            None
        };
        match inner.filter(|inner| !inner.trim().is_empty()) {
            Some(inner) => rest = inner.trim(),
            None => return rest,
        }
    }
}

/// The text in lower case without what stands in quotes: there the runtime repeats the user's image reference, whose
/// words and digits prove nothing.
fn unquoted(text: &str) -> String {
    text.to_lowercase().split('"').step_by(2).collect::<Vec<_>>().join(" ")
}
