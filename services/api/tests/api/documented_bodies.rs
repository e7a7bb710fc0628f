//! What the readers of bodies accept is what the document says, value by value: every place of a full body is replaced
//! by values of all kinds.

use pods_api::openapi;
use pods_core::{
    NewPod, PodPatch,
    image::{NewImage, UpdateImage},
    input::Violations,
    template::{NewTemplate, NewTemplateTag, NewTemplateTagFromPod, UpdateTemplate},
};
use serde_json::{Value, json};

fn definition() -> Value {
    let probe = json!({
        "http_get_path": "/up", "http_get_port": 8080, "http_get_scheme": "HTTP", "initial_delay_seconds": 1,
        "period_seconds": 1, "timeout_seconds": 1, "failure_threshold": 1, "success_threshold": 1
    });
    json!({
        "image": "busybox", "template": "postgres:16", "description": "text", "command": ["a"], "arguments": ["b"],
        "environment_variables": {"A": "b"}, "secret_map": {"KEY": "value"},
        "volume_mounts": {"/etc/app.conf": {
            "type": "ephemeral", "sub_path": "", "read_only": true, "config_content": "x",
            "config_permissions": "0644", "config_update_mode": "always", "mounted_by": "alice"
        }},
        "healthchecks": {"liveness": probe, "readiness": probe, "startup": probe, "networking_requires_ready": true},
        "networking": {"default": {
            "protocol": "http", "port": 8080, "url": "", "tls_mode": "passthrough", "ip_allow_list": ["192.0.2.0/24"], "tapis_auth": true,
            "tapis_auth_response_headers": {"X-A": "b"}, "tapis_auth_allowed_users": ["*"],
            "tapis_auth_return_path": "/", "tapis_auth_excluded_paths": ["/a"],
            "tapis_auth_excluded_path_regex": ["^/a"], "cors_allow_origins": ["https://a.example.org"],
            "cors_allow_methods": ["GET"], "cors_allow_headers": ["X-A"], "cors_allow_credentials": true,
            "cors_max_age": 10, "cors_add_vary_header": true, "tapis_ui_uri": "/lab", "tapis_ui_uri_redirect": true,
            "tapis_ui_uri_description": "x", "proxy_compression": true, "proxy_compression_encodings": ["gzip"],
            "proxy_compression_excluded_content_types": ["text/plain"],
            "proxy_compression_min_response_body_bytes": 10
        }},
        "resources": {
            "cpu_request": 250, "cpu_limit": 500, "mem_request": 256, "mem_limit": 512,
            "ephemeral_storage_request": 10, "ephemeral_storage_limit": 20, "gpus": 0
        },
        "compute_queue": "default", "time_to_stop_default": 300, "time_to_stop_instance": 300
    })
}

fn pod() -> Value {
    let mut body = definition();
    body["status_requested"] = json!("ON");
    body["networking"]["default"]["custom_domain"] = json!("app.example.org");
    body["networking"]["default"]["custom_domain_verified"] = json!(false);
    body["template_overrides"] = json!({
        "volume_mounts": {"/data": {
            "type": "tapisvolume", "source_id": "mine", "sub_path": "a", "read_only": true, "config_content": "x",
            "config_permissions": "0644", "config_filename": "x.conf", "config_update_mode": "once"
        }},
        "secret_map": {"A": "b"}
    });
    body
}

/// What replaces each place of a body.
fn replacements() -> Vec<Value> {
    vec![
        json!(null),
        json!(7),
        json!(1),
        json!(-1),
        json!(300.0),
        json!(0.5),
        json!(3_000_000_000_i64),
        json!("7"),
        json!("300.0"),
        json!(" 300 "),
        json!("0.5"),
        json!(""),
        json!("word"),
        json!("ON"),
        json!("True"),
        json!("maybe"),
        json!(true),
        json!(false),
        json!([]),
        json!(["x"]),
        json!([1]),
        json!({}),
        json!({"bogus": 1}),
        json!(REMOVED),
    ]
}

/// Stands for no value at all.
const REMOVED: &str = "(removed)";

fn replace(body: &mut Value, place: &str, replacement: &Value) {
    let (parent, key) = place.rsplit_once('/').unwrap_or_default();
    match body.pointer_mut(parent) {
        Some(Value::Object(members)) if replacement == REMOVED => {
            members.remove(&key.replace("~1", "/").replace("~0", "~"));
        }
        _ => *body.pointer_mut(place).unwrap() = replacement.clone(),
    }
}

/// Types and missing fields are in the schema; rules between values are in descriptions.
fn is_about_shape(line: &str) -> bool {
    line.contains("Input should be") || line.contains("Field required")
}

/// The pointers of all values in a body.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let below = |key: &str| format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| places(value, &below(key), all)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| places(item, &below(&i.to_string()), all));
        }
        _ => {}
    }
}

#[test]
fn bodies_are_read_as_the_document_says() {
    type Read = fn(Value) -> Result<(), Violations>;
    let cases: [(&str, Value, Read); 9] = [
        (
            "NewPod",
            {
                let mut body = pod();
                body["pod_id"] = json!("docpod");
                body
            },
            |body| NewPod::read(body).map(drop),
        ),
        ("UpdatePod", pod(), |body| PodPatch::read(body).map(drop)),
        (
            "AttachVolumeMounts",
            json!({"volume_mounts": {"/etc/app.conf": {"type": "ephemeral", "config_content": "x"}}}),
            |body| PodPatch::read_volumes(body).map(drop),
        ),
        (
            "NewTemplate",
            json!({"template_id": "postgres", "description": "x", "metatags": ["a"], "archive_message": "x"}),
            |body| NewTemplate::read(body).map(drop),
        ),
        ("UpdateTemplate", json!({"description": "x", "metatags": ["a"], "archive_message": "x"}), |body| {
            UpdateTemplate::read(body).map(drop)
        }),
        (
            "NewTemplateTag",
            json!({"pod_definition": definition(), "commit_message": "x", "tag": "16", "description": "x"}),
            |body| NewTemplateTag::read(body).map(drop),
        ),
        (
            "NewTemplateTagFromPod",
            json!({"template_id": "postgres", "commit_message": "x", "tag": "16"}),
            |body| NewTemplateTagFromPod::read(body).map(drop),
        ),
        ("NewImage", json!({"image": "busybox", "tenants": ["*"], "description": "x"}), |body| {
            NewImage::read(body).map(drop)
        }),
        ("UpdateImage", json!({"tenants": ["*"], "description": "x"}), |body| {
            UpdateImage::read(body).map(drop)
        }),
    ];
    let document: Value = serde_json::from_str(openapi::json()).unwrap();
    let mut wrong = Vec::new();
    for (name, body, read) in cases {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": format!("#/components/schemas/{name}"), "components": document["components"],
        });
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&body), "{name}: {:?}", validator.validate(&body));
        read(body.clone()).unwrap_or_else(|violations| panic!("{name}: {violations:?}"));
        let mut all = Vec::new();
        places(&body, "", &mut all);
        for place in all {
            for replacement in replacements() {
                let mut changed = body.clone();
                replace(&mut changed, &place, &replacement);
                let documented = validator.is_valid(&changed);
                match read(changed) {
                    Ok(()) if !documented => {
                        wrong.push(format!("{name}{place}: {replacement} is accepted, but not documented"))
                    }
                    // Rules between values are in descriptions; types are in the schema.
                    Err(violations) if documented && violations.0.iter().any(|line| is_about_shape(line)) => {
                        wrong.push(format!(
                            "{name}{place}: {replacement} is documented, but refused: {violations:?}"
                        ));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
