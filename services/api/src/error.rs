//! Errors of the API: one type, one place that turns it into an answer.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use pods_core::{input::Violations, permission::Denied, transition::IllegalTransition};
use pods_db::{DbError, Unavailable, permissions::PermissionError, pods::CreateError};
use tapis::{AuthError, RolesUnavailable};

use crate::envelope::{self, Message};

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
    /// No such object (404).
    #[error("{0}")]
    NotFound(String),
    /// The route exists, but not with this method (405).
    #[error("this method is not possible here; see /openapi.json for what is")]
    MethodNotAllowed,
    /// The state of the object does not allow it (409).
    #[error("{0}")]
    Conflict(String),
    /// The body is too large (413).
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// A dependency is down (503).
    #[error("{0}")]
    Unavailable(&'static str),
    /// A fault of ours (500). What it was stands in the log only.
    #[error("internal error; the operators can find it by the time of this request")]
    Internal(#[source] anyhow::Error),
}

impl ApiError {
    /// The HTTP status code.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Invalid(_) | ApiError::BadRequest(_) => StatusCode::BAD_REQUEST,
            ApiError::Auth(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED),
            ApiError::Denied(_) | ApiError::NotAdmin => StatusCode::FORBIDDEN,
            ApiError::NotFound(_) => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Conflict(_) => StatusCode::CONFLICT,
            ApiError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A path that is none of ours.
    pub fn no_path() -> Self {
        ApiError::NotFound("There is nothing at this path; see /openapi.json for what is.".to_owned())
    }

    /// A pod that the tenant does not have.
    pub fn no_pod(pod_id: &str) -> Self {
        let pod_id: String = pod_id.chars().take(64).collect();
        ApiError::NotFound(format!("Pod with identifier '{pod_id}' not found in this tenant."))
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
            other => Message::One(other.to_string()),
        };
        envelope::error(self.status(), &message)
    }
}

impl From<Violations> for ApiError {
    fn from(violations: Violations) -> Self {
        ApiError::Invalid(violations)
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        tracing::warn!(error = format!("{:#}", anyhow::Error::new(error)), "no database connection");
        ApiError::Unavailable("The database cannot be reached at the moment; nothing was changed, try again.")
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        use diesel::result::DatabaseErrorKind as Kind;
        match &error {
            DbError::DatabaseError(Kind::ClosedConnection | Kind::UnableToSendCommand, _)
            | DbError::BrokenTransactionManager => ApiError::Unavailable(
                "The connection to the database was lost; read the pod to see what it did.",
            ),
            // Postgres that starts or stops says so in SQLSTATE class 57, which diesel reports as unknown.
            DbError::DatabaseError(Kind::Unknown, info)
                if info.message().contains("terminating connection")
                    || info.message().contains("starting up")
                    || info.message().contains("shutting down")
                    || info.message().contains("connection closed") =>
            {
                ApiError::Unavailable("The database is not available at the moment, try again.")
            }
            _ => ApiError::Internal(error.into()),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists => ApiError::Conflict("A pod with this pod_id already exists.".to_owned()),
            CreateError::Db(error) => error.into(),
        }
    }
}

impl From<PermissionError> for ApiError {
    fn from(error: PermissionError) -> Self {
        match error {
            PermissionError::LastAdmin => ApiError::BadRequest(
                "This would leave the pod without an ADMIN; give ADMIN to somebody else first.".to_owned(),
            ),
            PermissionError::NoEntry => {
                ApiError::BadRequest("This user holds no permission on the pod.".to_owned())
            }
            PermissionError::Gone => ApiError::NotFound("The pod was deleted meanwhile.".to_owned()),
            PermissionError::Db(error) => error.into(),
        }
    }
}

impl From<RolesUnavailable> for ApiError {
    fn from(_: RolesUnavailable) -> Self {
        ApiError::Unavailable(
            "Roles cannot be looked up at the moment, so nothing that needs them is possible.",
        )
    }
}
