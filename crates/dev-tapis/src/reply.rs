//! The envelope of every answer, and what a request brings along.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HOST};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Platform;
use crate::config::Tenant;
use crate::tokens::{Claims, Kind};

/// An answer that is not a success.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, message: message.into() }
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, message: message.into() }
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!("{error:#}");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "the development stand-in failed; its log says why".to_owned(),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(envelope("error", &self.message, Value::Null))
    }
}

/// The answer of most handlers.
pub type Reply = Result<HttpResponse, Failure>;

/// A success with its result.
pub fn ok(message: &str, result: impl Serialize) -> Reply {
    let result = serde_json::to_value(result).map_err(anyhow::Error::from)?;
    Ok(HttpResponse::Ok().json(envelope("success", message, result)))
}

fn envelope(status: &str, message: &str, result: Value) -> Value {
    json!({
        "message": message,
        "metadata": {},
        "result": result,
        "status": status,
        "version": concat!("dev-tapis ", env!("CARGO_PKG_VERSION")),
    })
}

/// A header as text.
pub fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// The tenant whose base URL the request was sent to; the first one when the host is nobody's.
pub fn tenant_of<'a>(request: &HttpRequest, platform: &'a Platform) -> &'a Tenant {
    platform.config().tenant_of_host(header(request, HOST.as_str()).unwrap_or_default())
}

/// The verified claims of the request's access token.
pub fn claims_of(request: &HttpRequest, platform: &Platform) -> Result<Claims, Failure> {
    let token = header(request, "x-tapis-token")
        .ok_or_else(|| Failure::unauthorized("the header X-Tapis-Token is missing"))?;
    // The real platform asks this before any service of a tenant sees the request.
    if platform.is_revoked(token)? {
        return Err(Failure::unauthorized("the token of X-Tapis-Token was revoked"));
    }
    platform
        .read_token(token, Kind::Access)
        .ok_or_else(|| Failure::unauthorized("the token of X-Tapis-Token is not valid"))
}

/// Name and password of HTTP basic authentication.
pub fn basic_auth(request: &HttpRequest) -> Option<(String, String)> {
    let encoded = header(request, "authorization")?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// The body, JSON or a form.
pub fn body<T: DeserializeOwned>(request: &HttpRequest, bytes: &[u8]) -> Result<T, Failure> {
    let is_form =
        header(request, CONTENT_TYPE.as_str()).is_some_and(|kind| kind.contains("x-www-form-urlencoded"));
    if is_form && !bytes.starts_with(b"{") {
        let pairs: serde_json::Map<String, Value> = url::form_urlencoded::parse(bytes)
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect();
        return serde_json::from_value(Value::Object(pairs))
            .map_err(|error| Failure::bad_request(format!("the form is not usable: {error}")));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::bad_request(format!("the body is not usable JSON: {error}")))
}
