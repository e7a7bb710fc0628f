//! JSON bodies, read whole and checked before any handler sees them.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::CONTENT_TYPE, web::BytesMut};
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::ApiError;

/// Largest JSON body of most operations, in bytes.
pub const JSON_BODY_MAX: usize = 1024 * 1024;

/// Largest JSON body of operations whose bodies may carry the contents of configuration files, in bytes.
pub const DEFINITION_BODY_MAX: usize = 4 * 1024 * 1024;

/// How large the bodies of a resource may be, as its application data; without it [`JSON_BODY_MAX`] holds.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// Bodies up to this many bytes are read without further ado.
const SMALL: usize = 64 * 1024;

/// How many larger bodies this process holds at the same time; more wait. Without a bound, one user with many slow
/// uploads could fill the memory of all.
const LARGE_AT_ONCE: usize = 64;

static LARGE: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// A body that should be JSON; what it must look like is the business of `pods_core`.
///
/// Extracting it never fails: who is asking and whether they may comes first, then [`JsonBody::value`]. Until then it
/// stays as it came, because a parsed one can need many times the memory.
#[derive(Debug)]
pub struct JsonBody(Result<Content, ApiError>);

#[derive(Debug)]
struct Content {
    bytes: BytesMut,
    _room: Option<SemaphorePermit<'static>>,
}

impl JsonBody {
    /// The body.
    ///
    /// # Errors
    /// 400 when it is no JSON or not announced as such, 413 when it is too large.
    pub fn value(self) -> Result<Value, ApiError> {
        let content = self.0?;
        serde_json::from_slice(&content.bytes).map_err(|error| {
            invalid(&format!(
                "JSON decode error at line {}, column {}; expected a JSON object",
                error.line(),
                error.column()
            ))
        })
    }
}

impl FromRequest for JsonBody {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let limit = request.app_data::<BodyLimit>().map_or(JSON_BODY_MAX, |limit| limit.0);
        let payload = payload.take();
        Box::pin(async move { Ok(Self(read(content_type.as_deref(), payload, limit).await)) })
    }
}

async fn read(content_type: Option<&str>, mut payload: Payload, limit: usize) -> Result<Content, ApiError> {
    let mut bytes = BytesMut::new();
    let mut room = None;
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|_| invalid("the body could not be read to its end"))?;
        let length = bytes.len() + piece.len();
        if length > limit {
            return Err(ApiError::TooLarge(limit));
        }
        if length > SMALL && room.is_none() {
            // Never closed, so it cannot fail.
            room = LARGE.acquire().await.ok();
        }
        bytes.extend_from_slice(&piece);
    }
    match content_type {
        Some("application/json") => Ok(Content { bytes, _room: room }),
        _ => Err(invalid("send JSON with the header Content-Type: application/json")),
    }
}

fn invalid(problem: &str) -> ApiError {
    ApiError::invalid(&["body"], problem)
}
