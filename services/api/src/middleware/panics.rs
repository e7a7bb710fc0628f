//! A handler that panics answers 500 instead of cutting the connection.

use std::{any::Any, panic::AssertUnwindSafe};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use futures::FutureExt;

use crate::error::ApiError;

/// Turns a panic into an error of ours.
///
/// Nothing of the request outlives it: its transaction is rolled back when the connection is dropped, and the state
/// that requests share has no locks that a panic could leave poisoned.
pub async fn catch_panics(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match AssertUnwindSafe(async move { next.call(request).await }).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => Err(ApiError::Internal(anyhow::anyhow!("panic: {}", text(&*panic))).into()),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
