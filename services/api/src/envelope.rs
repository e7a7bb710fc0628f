//! The JSON envelope of every answer (Tapis API conventions): message, metadata, result, status, version.

use std::sync::OnceLock;

use actix_web::{HttpResponse, http::StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

static VERSION: OnceLock<String> = OnceLock::new();

/// Sets the version that envelopes name; the first call wins.
pub fn set_version(version: &str) {
    let _already_set = VERSION.set(version.to_owned());
}

/// The version that envelopes name.
pub fn version() -> &'static str {
    VERSION.get().map_or(env!("CARGO_PKG_VERSION"), String::as_str)
}

/// One line, or one line per problem of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Message {
    /// A sentence.
    One(String),
    /// Problems of a request's body or query.
    Many(Vec<String>),
}

#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    message: &'a Message,
    metadata: &'a Map<String, Value>,
    result: T,
    status: &'static str,
    version: &'static str,
}

/// A successful answer with HTTP 200.
pub fn success(message: impl Into<String>, result: impl Serialize) -> HttpResponse {
    success_with(message, Map::new(), result)
}

/// A successful answer with metadata.
pub fn success_with(
    message: impl Into<String>,
    metadata: Map<String, Value>,
    result: impl Serialize,
) -> HttpResponse {
    respond(StatusCode::OK, "success", &Message::One(message.into()), &metadata, result)
}

/// A request that changed nothing: HTTP 200 with `status: "error"` and the object as it is, which clients rely on.
pub fn unchanged(message: impl Into<String>, result: impl Serialize) -> HttpResponse {
    respond(StatusCode::OK, "error", &Message::One(message.into()), &Map::new(), result)
}

/// An error, with details for the caller if there are any.
pub fn error(code: StatusCode, message: &Message, metadata: &Map<String, Value>) -> HttpResponse {
    respond(code, "error", message, metadata, Value::Null)
}

fn respond(
    code: StatusCode,
    status: &'static str,
    message: &Message,
    metadata: &Map<String, Value>,
    result: impl Serialize,
) -> HttpResponse {
    let envelope = Envelope { message, metadata, result, status, version: version() };
    match serde_json::to_vec(&envelope) {
        // Exactly this content type, without a charset: tapipy compares the whole value.
        Ok(body) => HttpResponse::build(code).content_type("application/json").body(body),
        Err(error) => {
            tracing::error!(error = %error, "an answer could not be written as JSON");
            HttpResponse::InternalServerError().finish()
        }
    }
}
