//! Why a step could not be done, without any value of the pod.

use base64::{Engine, engine::general_purpose::STANDARD};
use pods_core::resolve::Resolved;
use pods_kube::Failure;

/// Why a step could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The start is refused for good.
    #[error("refused: {message}")]
    Refused {
        /// Whether a quota is used up.
        quota: bool,
        /// The explanation for the user.
        message: String,
    },
    /// An object of another row or start has the name; it has to go first.
    #[error("{0} of the same name belongs to something else and has to go first")]
    NameTaken(&'static str),
    /// The installation does not permit the call; an operator has to mend that.
    #[error("{0}")]
    Denied(String),
    /// Nothing is known about the outcome.
    #[error("{0}")]
    Unknown(String),
    /// The pod's lock was lost; somebody else may work on the pod.
    #[error("the lock of the pod is lost")]
    LockLost,
}

impl Trouble {
    /// The same without values that an answer of Kubernetes, or of something that it asked, may quote.
    pub(super) fn without(self, values: &Resolved) -> Self {
        match self {
            Self::Refused { quota, message } => Self::Refused { quota, message: hide(message, values) },
            Self::Denied(message) => Self::Denied(hide(message, values)),
            Self::Unknown(message) => Self::Unknown(hide(message, values)),
            other @ (Self::NameTaken(_) | Self::LockLost) => other,
        }
    }
}

/// Shorter values are words of any sentence; no password is that short.
const HIDDEN_FROM: usize = 6;

fn hide(message: String, values: &Resolved) -> String {
    let secret = values.values().filter(|value| value.len() >= HIDDEN_FROM);
    secret.fold(message, |message, value| {
        // Admission webhooks quote values as JSON, where a line break or quote is escaped.
        let quoted = serde_json::Value::from(value).to_string();
        let quoted = &quoted[1..quoted.len() - 1];
        message.replace(value, "***").replace(quoted, "***").replace(&STANDARD.encode(value), "***")
    })
}

/// The meaning of a failure where the object itself cannot be at fault.
pub(super) fn unknown(failure: Failure) -> Trouble {
    match failure {
        Failure::Denied(_) => Trouble::Denied(failure.to_string()),
        other => Trouble::Unknown(other.to_string()),
    }
}

/// The meaning of a failure to create or change an object that is built from what a user wrote.
pub(super) fn refused_or_unknown(failure: Failure) -> Trouble {
    match failure {
        Failure::Refused { quota: true, message, .. } => {
            Trouble::Refused { quota: true, message: format!("a quota of the cluster is used up: {message}") }
        }
        Failure::Refused { quota: false, message, .. } => {
            Trouble::Refused { quota: false, message: format!("Kubernetes refuses this pod: {message}") }
        }
        other => unknown(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn values_are_hidden_in_every_form_that_an_answer_quotes() {
        let value = "first \"line\"\nsecond";
        let values = Resolved {
            environment: BTreeMap::from([
                ("A".to_owned(), value.to_owned()),
                ("B".to_owned(), "short".to_owned()),
            ]),
            ..Resolved::default()
        };
        for quoted in [
            value.to_owned(),
            STANDARD.encode(value),
            format!("{value:?}"),
            serde_json::json!(value).to_string(),
        ] {
            let hidden = hide(format!("denied: {quoted} is short"), &values);
            assert!(!hidden.contains("second") && hidden.ends_with("is short"), "{hidden}");
        }
    }
}
