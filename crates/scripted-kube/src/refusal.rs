//! Error answers.

use serde_json::{Value, json};

/// An error answer, as the API server words them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// For example `NotFound`.
    pub reason: String,
    /// The explanation.
    pub message: String,
    /// The kind and the name that it is about.
    pub about: Option<(String, String)>,
}

impl Refusal {
    /// Any answer.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), about: None }
    }

    fn about(self, plural: &str, name: &str) -> Self {
        Self { about: Some((plural.to_owned(), name.to_owned())), ..self }
    }

    /// 404.
    pub fn not_found(plural: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{plural} \"{name}\" not found")).about(plural, name)
    }

    /// 409 for a name that is taken.
    pub fn exists(plural: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{plural} \"{name}\" already exists")).about(plural, name)
    }

    /// 409 for a precondition or an outdated version.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    /// 403 by admission.
    pub fn forbidden(plural: &str, name: &str, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{plural} \"{name}\" is forbidden: {why}")).about(plural, name)
    }

    /// 422.
    pub fn invalid(kind: &str, name: &str, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {why}")).about(kind, name)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 410: the version that was named is compacted.
    pub fn expired(oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: the oldest that is kept is {oldest}"))
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.message,
        });
        if let Some((kind, name)) = &self.about {
            status["details"] = json!({"kind": kind, "name": name});
        }
        status
    }
}
