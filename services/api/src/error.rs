//! Errors of the API: one type, one place that turns it into an answer. What the other crates' errors mean for a caller
//! is in `error::from`.

mod from;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, HeaderValue, RETRY_AFTER},
    },
};
use pods_core::{input::Violations, permission::Denied, transition::IllegalTransition};
use serde_json::{Map, Value};
use tapis::AuthError;

use crate::{
    envelope::{self, Message},
    middleware::request_id,
};

/// Seconds after which a user with too many streams may ask again: one may have ended.
const STREAM_RETRY: u64 = 15;
/// The same for a user who reads large answers.
const UNREAD_RETRY: u64 = 2;

/// Why a request was not carried out. The text is for the caller: what happened, to what, what to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body or query breaks rules (400, an array of lines).
    #[error("the request is not valid")]
    Invalid(Violations),
    /// A rule about the state of things (400).
    #[error("{0}")]
    BadRequest(String),
    /// Who is asking could not be established, or not for this tenant.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The caller may not do this (403).
    #[error(transparent)]
    Denied(#[from] Denied),
    /// `X-Pods-Admin: true` without the role (403).
    #[error("X-Pods-Admin: true was sent, but you do not hold the administrator role in this tenant")]
    NotAdmin,
    /// What goes on top of [`Denied`]: somebody else's part of an object (403).
    #[error("{0}")]
    Forbidden(String),
    /// No such object (404).
    #[error("{0}")]
    NotFound(String),
    /// The route exists, but not with this method (405).
    #[error("this method is not possible here; {allow} are, see /v3/pods/docs")]
    MethodNotAllowed {
        /// The methods that are possible, as in the header `Allow`.
        allow: String,
    },
    /// What the request refers to is not kept any more (410).
    #[error("{0}")]
    Gone(String),
    /// The state of the object does not allow it (409).
    #[error("{0}")]
    Conflict(String),
    /// The same with details for the caller, such as the objects that depend on it.
    #[error("{message}")]
    ConflictWith {
        /// What happened and what to do.
        message: String,
        /// The details.
        metadata: Map<String, Value>,
    },
    /// The body is too large (413).
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The user sent too many requests in a short time (429).
    #[error("too many requests in a short time; send the next one in {retry_after} s")]
    TooManyRequests {
        /// Seconds until one is carried out again.
        retry_after: u64,
    },
    /// The user holds as many streams open as a user may (429).
    #[error("you have {open} streams open, which is as many as you may; close one first")]
    TooManyStreams {
        /// How many.
        open: usize,
    },
    /// The user has not read the large answers to earlier requests (429).
    #[error(
        "large answers to your earlier requests are still being read; wait for them, or ask for less (tail, since)"
    )]
    UnreadAnswers,
    /// A dependency is down (503).
    #[error("{0}")]
    Unavailable(&'static str),
    /// A fault of ours (500). What it was stands in the log only.
    #[error("internal error; the operators can find it by the id of this request")]
    Internal(#[source] anyhow::Error),
}

impl ApiError {
    /// The HTTP status code.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Invalid(_) | ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::Auth(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED),
            ApiError::Denied(_) | ApiError::NotAdmin | ApiError::Forbidden(_) => StatusCode::FORBIDDEN,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::Gone(_) => StatusCode::GONE,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Conflict(_) | ApiError::ConflictWith { .. } => StatusCode::CONFLICT,
            ApiError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::TooManyRequests { .. } | ApiError::TooManyStreams { .. } | ApiError::UnreadAnswers => {
                StatusCode::TOO_MANY_REQUESTS
            }
            ApiError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A path that is none of ours.
    pub fn no_path() -> Self {
        ApiError::NotFound("There is nothing at this path; see /v3/pods/docs for what is.".to_owned())
    }

    /// A single problem of a request (400, an array of one line).
    pub fn invalid(place: &[&str], problem: impl AsRef<str>) -> Self {
        let mut violations = Violations::default();
        violations.push(place, problem);
        ApiError::Invalid(violations)
    }

    /// A pod that the tenant does not have.
    pub fn no_pod(pod_id: &str) -> Self {
        ApiError::NotFound(format!("Pod with identifier '{}' not found in this tenant.", shortened(pod_id)))
    }

    /// A run that the pod does not have, or whose log is not kept any more.
    pub fn no_log_run(pod_id: &str, run_index: &str) -> Self {
        let (pod_id, run_index) = (shortened(pod_id), shortened(run_index));
        ApiError::NotFound(format!(
            "Log run '{run_index}' of pod '{pod_id}' not found; GET /v3/pods/{pod_id}/log-runs lists those that are kept."
        ))
    }

    /// A template that the site does not have.
    pub fn no_template(template_id: &str) -> Self {
        ApiError::NotFound(format!("Template with identifier '{}' not found.", shortened(template_id)))
    }

    /// A tag that the template does not have.
    pub fn no_tag(template_id: &str, tag_id: &str) -> Self {
        let (template_id, tag_id) = (shortened(template_id), shortened(tag_id));
        ApiError::NotFound(format!("Tag '{tag_id}' of template '{template_id}' not found."))
    }

    /// An image that is not on the list.
    pub fn no_image(image: &str) -> Self {
        ApiError::NotFound(format!("Image '{}' not found in the list of allowed images.", shortened(image)))
    }

    /// A start, stop or restart that does not fit the pod's status.
    pub fn wrong_state(illegal: IllegalTransition) -> Self {
        let IllegalTransition { status, event } = illegal;
        ApiError::Conflict(format!(
            "The pod is {status}, so \"{event}\" is not possible; stop it first, or use restart."
        ))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        if let ApiError::Internal(error) = self {
            tracing::error!(error = format!("{error:#}"), "a request failed");
        }
        let message = match self {
            ApiError::Invalid(violations) => Message::Many(violations.0.clone()),
            ApiError::Internal(_) => Message::One(match request_id::current() {
                Some(id) => format!("{self}: {id}"),
                None => self.to_string(),
            }),
            other => Message::One(other.to_string()),
        };
        let nothing = Map::new();
        let metadata = match self {
            ApiError::ConflictWith { metadata, .. } => metadata,
            _ => &nothing,
        };
        let mut answer = envelope::error(self.status(), &message, metadata);
        match self {
            ApiError::TooManyRequests { retry_after } => {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            ApiError::TooManyStreams { .. } => {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(STREAM_RETRY));
            }
            ApiError::UnreadAnswers => {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(UNREAD_RETRY));
            }
            ApiError::MethodNotAllowed { allow } => {
                if let Ok(allow) = HeaderValue::from_str(allow) {
                    answer.headers_mut().insert(ALLOW, allow);
                }
            }
            _ => {}
        }
        answer
    }
}

/// What a caller typed, short enough to be repeated to them.
fn shortened(id: &str) -> String {
    id.chars().take(128).collect()
}
