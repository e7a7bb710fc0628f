//! What an error of the API server means: gone, no, not us, or unknown.

use kube::core::Status;

/// The meaning of an error.
///
/// The rule of the whole product: 404 means gone, a definite refusal of the object means no, and everything else means
/// that nothing is known and the call is made again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object does not exist.
    #[error("the object does not exist")]
    Gone,
    /// An object of this name exists already.
    #[error("an object of this name exists already")]
    Exists,
    /// The API server will never accept this object as it is.
    #[error("Kubernetes refuses the object: {message}")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// Whether a quota of the namespace is used up.
        quota: bool,
        /// The API server's explanation, without the name of the object.
        message: String,
    },
    /// The installation does not let this process make the call: its credentials, its role, its namespace or the service
    /// account of the pods are wrong. Nothing of a pod can mend that, an operator has to; the call is repeated.
    #[error("Kubernetes does not permit it: {0}")]
    Denied(String),
    /// Whether the call took effect is not known; it has to be repeated.
    #[error("{0}")]
    Unknown(String),
}

/// Says what an error of a call means.
pub fn classify(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => classify_status(status),
        other => Failure::Unknown(chain(other)),
    }
}

fn classify_status(status: &Status) -> Failure {
    match status.code {
        // A namespace that is missing makes every create answer 404: that is a fault of the installation.
        404 if is_about_namespace(status) => Failure::Denied(status.message.clone()),
        404 => Failure::Gone,
        409 if status.is_already_exists() => Failure::Exists,
        // Who may do what in the cluster is the operator's affair, not the user's pod's.
        401 => Failure::Denied(status.message.clone()),
        403 if is_of_rbac(&status.message) || lacks_its_place(&status.message) => {
            Failure::Denied(status.message.clone())
        }
        403 if is_quota(&status.message) => refused(status, true),
        403 if is_admission(&status.message) => refused(status, false),
        403 | 408 | 409 | 429 => Failure::Unknown(status.message.clone()),
        400..=499 => refused(status, false),
        _ => Failure::Unknown(status.message.clone()),
    }
}

fn is_about_namespace(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}

fn is_quota(message: &str) -> bool {
    message.contains("exceeded quota") || message.contains("failed quota")
}

/// A 403 of RBAC names the user and the verb.
fn is_of_rbac(message: &str) -> bool {
    message.contains("User \"") && message.contains(" cannot ")
}

/// The namespace goes away, or the service account that pods run as does not exist.
fn lacks_its_place(message: &str) -> bool {
    message.contains("being terminated")
        || (message.contains("error looking up service account") && message.contains("not found"))
}

/// A 403 of an admission plugin (limit ranges, pod security) is about the object. One of a plugin that could not do its
/// work is about the installation.
fn is_admission(message: &str) -> bool {
    // An admission plugin that could not look something up, as while the API server stops, says so in a 403 too.
    const OF_THE_INSTALLATION: [&str; 14] = [
        "Get \"http",
        "Post \"http",
        "timed out",
        "dial tcp",
        "connection refused",
        "connection reset",
        "i/o timeout",
        "TLS handshake",
        "context deadline exceeded",
        "EOF",
        "etcdserver",
        "error looking up service account",
        "status unknown for quota",
        "not yet ready to handle request",
    ];
    let of_the_installation = OF_THE_INSTALLATION.iter().any(|words| message.contains(words));
    message.contains(" is forbidden: ") && !of_the_installation
}

fn refused(status: &Status, quota: bool) -> Failure {
    Failure::Refused { code: status.code, quota, message: without_object(&status.message) }
}

/// Cuts `Pod "name" is invalid: ` from the front: the name is ours, not the user's.
fn without_object(message: &str) -> String {
    for verb in [" is invalid: ", " is forbidden: "] {
        if let Some((_, explanation)) = message.split_once(verb) {
            return explanation.to_owned();
        }
    }
    message.to_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> Failure {
        classify(&kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()))
    }

    #[test]
    fn each_answer_has_one_meaning() {
        assert_eq!(api(404, "NotFound", "pods \"x\" not found"), Failure::Gone);
        assert_eq!(api(409, "AlreadyExists", "pods \"x\" already exists"), Failure::Exists);
        for (code, reason) in [
            (408, "Timeout"),
            (409, "Conflict"),
            (429, "TooManyRequests"),
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
            (504, "Timeout"),
        ] {
            assert!(matches!(api(code, reason, "no"), Failure::Unknown(_)), "{code}");
        }
    }

    #[test]
    fn a_refusal_carries_the_explanation_alone() {
        let answer = api(422, "Invalid", "Pod \"pods-a-b-c-01234567\" is invalid: spec.x: Invalid value: 3");
        let message = "spec.x: Invalid value: 3".to_owned();
        assert_eq!(answer, Failure::Refused { code: 422, quota: false, message });
        let answer =
            api(403, "Forbidden", "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1");
        let message = "exceeded quota: small, requested: pods=1".to_owned();
        assert_eq!(answer, Failure::Refused { code: 403, quota: true, message });
        let limit = "pods \"x\" is forbidden: maximum cpu usage per Container is 1, but limit is 2";
        assert!(matches!(api(403, "Forbidden", limit), Failure::Refused { quota: false, .. }));
    }

    #[test]
    fn a_fault_of_the_installation_is_no_refusal() {
        let lookup = "pods \"x\" is forbidden: Get \"https://127.0.0.1/api/v1/namespaces/y/limitranges\": dial tcp: \
                      connect: connection refused";
        assert!(matches!(api(403, "Forbidden", lookup), Failure::Unknown(_)));
        for early in ["error looking up service account y/default", "status unknown for quota: small"] {
            let message = format!("pods \"x\" is forbidden: {early}");
            assert!(matches!(api(403, "Forbidden", &message), Failure::Unknown(_)), "{early}");
        }
    }

    #[test]
    fn what_an_operator_has_to_mend_is_denied() {
        let rbac = "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\"";
        let ending = "pods \"x\" is forbidden: unable to create new content in namespace y because it is being terminated";
        let account =
            "pods \"x\" is forbidden: error looking up service account y/z: serviceaccount \"z\" not found";
        for message in [rbac, ending, account] {
            assert!(matches!(api(403, "Forbidden", message), Failure::Denied(_)), "{message}");
        }
        assert!(matches!(api(401, "Unauthorized", "Unauthorized"), Failure::Denied(_)));
        let status = Status::failure("namespaces \"y\" not found", "NotFound").with_code(404);
        let details = serde_json::from_str(r#"{"kind": "namespaces", "name": "y"}"#).unwrap();
        let answer = classify(&kube::Error::Api(status.with_details(details).boxed()));
        assert!(matches!(answer, Failure::Denied(_)));
    }
}
