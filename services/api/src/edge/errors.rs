//! `GET /error-handler/{status}`: what the clients of the API get in place of its answer while it does not give one.
//! Traefik asks for it and keeps the status code.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use serde_json::json;

use super::http::Site;

/// How soon clients may try again.
const RETRY_AFTER: u64 = 5;

/// The error envelope of the API with this status code.
pub async fn handler(status: Path<String>, site: Data<Site>) -> HttpResponse {
    let code = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let code = code.filter(|code| code.is_client_error() || code.is_server_error());
    let code = code.unwrap_or(StatusCode::NOT_FOUND);
    let message = match code.as_u16() {
        404 => "There is no such endpoint.",
        500 | 501 => "The service failed to answer.",
        502 | 503 => "The service does not answer at the moment; try again shortly.",
        504 => "The service takes too long to answer at the moment; try again shortly.",
        _ => "The request was not understood.",
    };
    let mut response = HttpResponse::build(code);
    if matches!(code.as_u16(), 502..=504) {
        response.insert_header((header::RETRY_AFTER, RETRY_AFTER.to_string()));
    }
    let envelope = json!({
        "message": message, "metadata": {}, "result": null, "status": "error", "version": site.version,
    });
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Exactly this content type, as the API has it.
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .body(envelope.to_string())
}

#[cfg(test)]
mod tests {
    use actix_web::{App, test, web};
    use serde_json::Value;

    use super::*;

    #[actix_web::test]
    async fn each_status_has_an_envelope() {
        let site = Data::new(Site { https_port: 443, version: "test".to_owned() });
        let route = web::resource("/error-handler/{status}").get(handler);
        let app = test::init_service(App::new().app_data(site).service(route)).await;
        for (asked, code, word, retry) in [
            ("502", 502, "does not answer", true),
            ("503", 503, "does not answer", true),
            ("504", 504, "too long", true),
            ("500", 500, "failed", false),
            ("404", 404, "no such endpoint", false),
            ("400", 400, "not understood", false),
            ("599", 599, "not understood", false),
            ("200", 404, "no such endpoint", false),
            ("99999", 404, "no such endpoint", false),
            ("x", 404, "no such endpoint", false),
        ] {
            let request = test::TestRequest::get().uri(&format!("/error-handler/{asked}")).to_request();
            let answer = test::call_service(&app, request).await;
            assert_eq!(answer.status().as_u16(), code, "{asked}");
            assert_eq!(answer.headers().contains_key("retry-after"), retry, "{asked}");
            assert_eq!(answer.headers().get("content-type").unwrap(), "application/json");
            let body: Value = test::read_body_json(answer).await;
            assert!(body["message"].as_str().unwrap().contains(word), "{asked}: {body}");
            assert_eq!((&body["status"], &body["result"]), (&json!("error"), &Value::Null));
            assert_eq!(body["version"], "test");
        }
    }
}
