//! A database that hangs must not hold its clients for ever.

use std::time::Duration;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};

use crate::error::ApiError;

/// Longest time that a request may take; more than the pool's `statement_timeout`, so that Postgres gives up first.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Gives a request up when it takes too long.
pub async fn time_limit(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match tokio::time::timeout(REQUEST_LIMIT, next.call(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(ApiError::Unavailable(
            "The database did not answer in time; read the pod to see whether the request was carried out.",
        )
        .into()),
    }
}
