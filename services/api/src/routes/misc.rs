//! Routes without a token.

use actix_web::HttpResponse;
use serde_json::json;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{envelope, error::ApiError, openapi};

/// Says that the API answers. Whether its dependencies do is on the internal port.
#[utoipa::path(get, path = "/healthcheck", operation_id = "healthcheck", tag = "misc",
    responses((status = 200, description = "The API answers")))]
pub async fn healthcheck() -> HttpResponse {
    envelope::success("I'm alive!", json!({}))
}

pub(super) async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(openapi::json())
}

pub(super) fn swagger_ui() -> SwaggerUi {
    SwaggerUi::new("/docs/{_:.*}").config(Config::from("/openapi.json"))
}

pub(super) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound("There is nothing at this path; see /openapi.json for what is.".to_owned()))
}

pub(super) async fn method_not_allowed() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed)
}
