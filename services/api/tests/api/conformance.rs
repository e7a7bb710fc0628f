//! Every answer that a test gets is compared with the OpenAPI document.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};

use jsonschema::Validator;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The served document.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(pods_api::openapi::json()).unwrap())
}

/// Panics when an operation answers what the document does not say.
pub fn check(method: &Method, path: &str, status: StatusCode, body: &Value) {
    // Other addresses of the same operation.
    if path.contains("healthcheck") || status == StatusCode::METHOD_NOT_ALLOWED {
        return;
    }
    let Some((pattern, method)) = operation(method, path) else {
        let expected = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        assert!(expected.contains(&status), "{method} {path} is answered and not documented: {body}");
        return;
    };
    let pointer = format!(
        "#/paths/{}/{method}/responses/{}/content/application~1json/schema",
        pattern.replace('~', "~0").replace('/', "~1"),
        status.as_u16()
    );
    let validator = validator(&pointer).unwrap_or_else(|| {
        panic!("{method} {pattern}: {status} is not documented, but was answered: {body}")
    });
    let problems: Vec<String> =
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(problems.is_empty(), "{method} {path}: {status} is not as documented: {problems:#?}\n{body:#}");
}

/// The path of the document and the method that a request belongs to.
fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static str)> {
    let path = path.split('?').next().unwrap_or_default();
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.first() != Some(&"v3") {
        segments.insert(0, "v3");
    }
    let paths = document()["paths"].as_object().unwrap();
    let fitting = paths.iter().filter(|(pattern, _)| fits(pattern, &segments));
    // Words before ids, as in the routes.
    let (pattern, item) = fitting.min_by_key(|(pattern, _)| pattern.matches('{').count())?;
    let acts = ["/start", "/stop", "/restart"].iter().any(|end| pattern.ends_with(end));
    let method = match method.as_str() {
        "HEAD" => "get",
        "POST" if acts => "get",
        other => {
            ["get", "post", "put", "delete"].into_iter().find(|name| name.eq_ignore_ascii_case(other))?
        }
    };
    item.get(method).map(|_| (pattern.as_str(), method))
}

fn fits(pattern: &str, segments: &[&str]) -> bool {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let rest = parts.last() == Some(&"{image_id}") && segments.len() > parts.len();
    (segments.len() == parts.len() || rest)
        && parts.iter().zip(segments).all(|(part, segment)| part.starts_with('{') || part == segment)
}

fn validator(pointer: &str) -> Option<Arc<Validator>> {
    static VALIDATORS: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    document().pointer(&pointer[1..].replace("%7B", "{"))?;
    let mut known = VALIDATORS.get_or_init(Mutex::default).lock().unwrap();
    if let Some(validator) = known.get(pointer) {
        return Some(validator.clone());
    }
    let reference = pointer.replace('{', "%7B").replace('}', "%7D");
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": reference,
        "paths": document()["paths"], "components": document()["components"],
    });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    Some(known.entry(pointer.to_owned()).or_insert(Arc::new(validator)).clone())
}
