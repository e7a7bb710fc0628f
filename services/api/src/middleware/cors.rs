//! Cross-origin requests of browsers: the origins that the configuration names may call the API with credentials.
//!
//! The outermost layer, so that a page also sees the text of errors, refused tokens and panics included.

use actix_web::{
    Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN,
            VARY,
        },
    },
    middleware::Next,
    web::Data,
};

use super::adjust;
use crate::state::AppState;

const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("X-TapisUsername, x-tapis-token, x-request-id, x-pods-cursor, retry-after, *");
const TRUE: HeaderValue = HeaderValue::from_static("true");
/// Seconds that a browser may remember a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins that may call the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    everybody: bool,
    list: Vec<String>,
}

impl Origins {
    /// Reads the configured list: origins as browsers send them, `scheme://host[:port]`, or `*`.
    ///
    /// # Errors
    /// The first text that is no origin.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut origins = Self::default();
        for text in texts {
            match text.as_str() {
                "*" => origins.everybody = true,
                origin if is_origin(origin) => origins.list.push(origin.to_ascii_lowercase()),
                other => {
                    return Err(format!("`{other}` is no origin: write scheme://host or scheme://host:port"));
                }
            }
        }
        Ok(origins)
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        self.everybody
            || origin.to_str().is_ok_and(|text| self.list.iter().any(|o| o.eq_ignore_ascii_case(text)))
    }

    /// Whether no page of another origin may call the API.
    pub fn is_empty(&self) -> bool {
        !self.everybody && self.list.is_empty()
    }
}

fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        url.origin().is_tuple() && !text.ends_with('/') && {
            url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
        }
    })
}

/// Answers preflights and adds what allows a page to read an answer.
pub async fn cors(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let app = request.app_data::<Data<AppState>>().cloned();
    let Some(app) = app.filter(|app| !app.http.cors.is_empty()) else {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    };
    let origin = request.headers().get(ORIGIN).cloned();
    let allowed = origin.filter(|origin| app.http.cors.allow(origin));
    if is_preflight(&request) {
        let answer = preflight(request.headers(), allowed);
        return Ok(request.into_response(answer).map_into_right_body());
    }
    let result = next.call(request).await.map(ServiceResponse::map_into_left_body);
    adjust(result, |_, headers| {
        // Whether the answer may be read depends on the origin, so caches must keep them apart.
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    })
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(headers: &HeaderMap, allowed: Option<HeaderValue>) -> HttpResponse {
    let code = if allowed.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let mut answer = HttpResponse::build(code);
    answer.content_type("text/plain").insert_header((VARY, "Origin"));
    let Some(origin) = allowed else { return answer.body("Disallowed CORS origin") };
    answer
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, origin))
        .insert_header((ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE))
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert_header((ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone()));
    }
    answer.body("OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> Result<Origins, String> {
        Origins::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn origins_are_compared_whole() {
        let origins = origins(&["https://ui.example.org", "http://localhost:3000"]).unwrap();
        for (origin, allowed) in [
            ("https://ui.example.org", true),
            ("https://UI.example.org", true),
            ("http://localhost:3000", true),
            ("http://localhost", false),
            ("http://localhost:30000", false),
            ("http://ui.example.org", false),
            ("https://ui.example.org.evil.org", false),
            ("null", false),
        ] {
            assert_eq!(origins.allow(&HeaderValue::from_static(origin)), allowed, "{origin}");
        }
    }

    #[test]
    fn only_origins_can_be_configured() {
        for bad in
            ["", "localhost:3000", "https://a.org/", "https://a.org/x", "https://u@a.org", "null", "*.org"]
        {
            assert!(origins(&[bad]).is_err(), "{bad}");
        }
        assert!(origins(&["*"]).unwrap().allow(&HeaderValue::from_static("null")));
        assert!(origins(&[]).unwrap().is_empty());
    }
}
