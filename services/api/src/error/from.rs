//! What the errors of other crates mean for a caller.

use pods_core::{input::Violations, template::ChainError};
use pods_db::{
    DbError, Unavailable,
    derived::DeriveError,
    permissions::{ENTRIES_MAX, PermissionError},
    pods::{CreateError, UpdateError},
    template_tags::CreateTagError,
    templates::CreateTemplateError,
};
use pods_secrets::{OpenError, SealError};
use tapis::RolesUnavailable;

use super::ApiError;

impl From<Violations> for ApiError {
    fn from(violations: Violations) -> Self {
        ApiError::Invalid(violations)
    }
}

impl From<ChainError> for ApiError {
    fn from(error: ChainError) -> Self {
        ApiError::Conflict(format!(
            "The pod cannot be merged with its templates: {error}. Set another template."
        ))
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        // One for each request of an outage; that there is one is logged by the probe.
        tracing::debug!(error = format!("{:#}", anyhow::Error::new(error)), "no database connection");
        ApiError::Unavailable("The database cannot be reached at the moment; nothing was changed, try again.")
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        use diesel::result::DatabaseErrorKind as Kind;
        match &error {
            DbError::DatabaseError(Kind::ClosedConnection | Kind::UnableToSendCommand, _)
            | DbError::BrokenTransactionManager => {
                tracing::debug!("no database connection any more; a request is given up");
                ApiError::Unavailable(
                    "The connection to the database was lost; read the object to see what the request did.",
                )
            }
            // Postgres that starts or stops says so in SQLSTATE class 57, which diesel reports as unknown.
            DbError::DatabaseError(Kind::Unknown, info)
                if info.message().contains("terminating connection")
                    || info.message().contains("starting up")
                    || info.message().contains("shutting down")
                    || info.message().contains("connection closed") =>
            {
                tracing::debug!("no database connection: Postgres starts or stops");
                ApiError::Unavailable("The database is not available at the moment, try again.")
            }
            // Others held a row for too long, or waited for a row of ours: the transaction was rolled back.
            DbError::DatabaseError(Kind::SerializationFailure, _) => busy(),
            DbError::DatabaseError(Kind::Unknown, info)
                if info.message().contains("canceling statement due to")
                    || info.message().contains("deadlock detected") =>
            {
                tracing::warn!(error = info.message(), "a transaction was given up");
                busy()
            }
            _ => ApiError::Internal(error.into()),
        }
    }
}

fn busy() -> ApiError {
    ApiError::Unavailable(
        "Too many changes of the same objects at the moment; nothing was changed, try again.",
    )
}

/// What is written when a template vanishes between its look-up and the write.
fn template_gone() -> ApiError {
    ApiError::Conflict("The template was deleted at the same moment; choose another one.".to_owned())
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists => ApiError::Conflict("A pod with this pod_id already exists.".to_owned()),
            CreateError::TemplateGone => template_gone(),
            CreateError::Db(error) => error.into(),
        }
    }
}

impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::TemplateGone => template_gone(),
            UpdateError::Db(error) => error.into(),
        }
    }
}

impl From<DeriveError> for ApiError {
    fn from(error: DeriveError) -> Self {
        match error {
            DeriveError::Chain(error) => error.into(),
            DeriveError::Db(error) => error.into(),
        }
    }
}

impl From<CreateTemplateError> for ApiError {
    fn from(error: CreateTemplateError) -> Self {
        match error {
            CreateTemplateError::Exists => {
                ApiError::Conflict("A template with this template_id already exists.".to_owned())
            }
            CreateTemplateError::Db(error) => error.into(),
        }
    }
}

impl From<CreateTagError> for ApiError {
    fn from(error: CreateTagError) -> Self {
        match error {
            CreateTagError::TemplateGone => {
                ApiError::NotFound("Template not found; it was deleted meanwhile.".to_owned())
            }
            CreateTagError::ParentGone => template_gone(),
            // Each second that passes is one more that is free.
            CreateTagError::TooMany => ApiError::TooManyRequests { retry_after: 1 },
            CreateTagError::Db(error) => error.into(),
        }
    }
}

impl From<PermissionError> for ApiError {
    fn from(error: PermissionError) -> Self {
        match error {
            PermissionError::Denied(denied) => denied.into(),
            PermissionError::LastAdmin => ApiError::BadRequest(
                "This would leave nobody with ADMIN; give ADMIN to somebody else first.".to_owned(),
            ),
            PermissionError::NoEntry => {
                ApiError::BadRequest("This user holds no permission here.".to_owned())
            }
            PermissionError::TooMany => ApiError::BadRequest(format!(
                "At most {ENTRIES_MAX} users can have a permission here; remove one that is not needed, or give it to the \
                 tenant where that is possible."
            )),
            PermissionError::Gone => ApiError::NotFound("Not found; it was deleted meanwhile.".to_owned()),
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

impl From<SealError> for ApiError {
    fn from(error: SealError) -> Self {
        ApiError::Internal(anyhow::Error::new(error).context("credentials cannot be sealed"))
    }
}

impl From<OpenError> for ApiError {
    /// A key that is missing here, or a damaged row: nothing that the caller could mend.
    fn from(error: OpenError) -> Self {
        tracing::error!(error = format!("{:#}", anyhow::Error::new(error)), "credentials cannot be opened");
        ApiError::Unavailable(
            "The credentials of the pod cannot be opened at the moment; the operators have to mend this.",
        )
    }
}
