//! Routes without a token.

use actix_web::{HttpRequest, HttpResponse, http::header::LOCATION};
use serde_json::json;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    envelope,
    error::ApiError,
    openapi::{self, Envelope, Nothing},
};

/// Says that the API answers.
///
/// Whether its dependencies do is on the internal port.
#[utoipa::path(get, path = "/v3/pods/healthcheck", tag = "misc",
    responses((status = 200, description = "The API answers", body = Envelope<Nothing>)))]
pub async fn healthcheck() -> HttpResponse {
    envelope::success("I'm alive!", json!({}))
}

/// The OpenAPI document.
pub(super) async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(openapi::json())
}

/// The interactive documentation below `prefix`.
pub(super) fn swagger_ui(prefix: &str) -> SwaggerUi {
    SwaggerUi::new(format!("{prefix}/docs/{{_:.*}}")).config(Config::from("../openapi.json"))
}

pub(super) async fn to_swagger_ui(request: HttpRequest) -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, format!("{}/index.html", request.path()))).finish()
}

pub(super) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::no_path())
}
