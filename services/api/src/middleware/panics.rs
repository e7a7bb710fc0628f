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
/// The state that requests share has no locks that a panic could leave poisoned. A connection goes back to the pool with
/// its transaction open; Postgres ends that transaction after the pool's `idle_in_transaction_session_timeout`, and the
/// pool throws such a connection away when it is asked for it again.
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
