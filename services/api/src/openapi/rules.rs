//! What holds for all operations, written into the document once instead of beside every handler: who may call, which
//! errors there are, what path parameters mean.

use serde_json::{Map, Value, json};

/// Operations that need no token.
pub const PUBLIC: &[&str] = &["healthcheck", "pod_auth", "pod_auth_callback"];

/// Adds to `document` what the handlers leave out.
pub fn apply(document: &mut Value) {
    document["servers"] = json!([{"url": "/", "description": "The tenant's own base URL"}]);
    let schemas = &mut document["components"]["schemas"];
    for (name, schema) in components() {
        schemas[name] = schema;
    }
    // Only the empty object is the first of the two.
    schemas["StatusContainer"]["oneOf"][0]["maxProperties"] = json!(0);
    for (name, schema) in schemas.as_object_mut().into_iter().flatten() {
        if name.starts_with("Envelope_") {
            schema["properties"]["result"]["description"] = json!("The answer itself.");
        }
    }
    document["components"]["headers"] = json!({
        "RequestId": {
            "description": "The id of the request, the client's own if it sent a well-formed one. Name it when you report a problem.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
        },
        "RetryAfter": {
            "description": "Seconds until a request is carried out again.",
            "required": true,
            "schema": {"type": "integer", "minimum": 0}
        }
    });
    document["components"]["securitySchemes"] = json!({
        "tapis_token": {
            "type": "apiKey", "in": "header", "name": "X-Tapis-Token",
            "description": "An access token (JWT) of Tapis. A service token acts for the user in `X-Tapis-User` of the tenant in `X-Tapis-Tenant`. Administrators of the service use their powers with `X-Pods-Admin: true`."
        }
    });
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        let Some(operations) = item.as_object_mut() else { continue };
        for operation in operations.values_mut() {
            complete(path, operation);
        }
    }
}

fn complete(path: &str, operation: &mut Value) {
    let public = operation["operationId"].as_str().is_some_and(|id| PUBLIC.contains(&id));
    let has_body = operation.get("requestBody").is_some();
    let in_path = path_parameters(path);
    if has_body {
        operation["requestBody"]["required"] = json!(true);
    }
    if !public {
        operation["security"] = json!([{"tapis_token": []}]);
    }
    let declared = operation.get_mut("parameters").and_then(Value::as_array_mut).map(std::mem::take);
    // Those of the path are derived from extractors that do not know what they mean.
    let others = declared.unwrap_or_default().into_iter().filter(|parameter| parameter["in"] != "path");
    let parameters: Vec<Value> = in_path.iter().map(|name| path_parameter(name)).chain(others).collect();
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    let mut expected: Vec<(&str, &str)> = Vec::new();
    if !public {
        expected.push((
            "400",
            "Body, query or headers break rules (`message` is an array of lines), or the request makes no sense as things are (`message` is a text)",
        ));
        expected.push(("401", "No token, or one that is not valid or not used in the right way"));
        expected.push(("403", "Known, but not permitted"));
        expected.push(("404", "Not found; or the address belongs to no tenant"));
        expected.push(("429", "Too many requests in a short time"));
    }
    if has_body {
        expected.push(("413", "The body is too large"));
    }
    expected.push(("500", "A fault of the service"));
    expected.push(("503", "The database or the Tapis platform is not available at the moment"));
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (code, description) in expected {
        responses.entry(code).or_insert_with(|| json!({"description": description}));
    }
    for (code, response) in responses {
        headers(code, response);
        if code.starts_with(['4', '5']) && response.get("content").is_none() {
            response["content"] = json!({
                "application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}}
            });
        }
    }
}

fn headers(code: &str, response: &mut Value) {
    response["headers"]["X-Request-Id"] = json!({"$ref": "#/components/headers/RequestId"});
    if code == "429" {
        response["headers"]["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
    }
}

fn path_parameters(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

fn path_parameter(name: &str) -> Value {
    let (description, example) = match name {
        "pod_id" => ("Id of the pod", "docpod"),
        "pod_id_net" => (
            "Id of the pod; `-` and the name of the networking entry follow unless it is `default`",
            "docpod-admin",
        ),
        "template_id" => ("Id of the template", "postgres"),
        "tag_id" => (
            "`tag@timestamp`, or `tag` for all tags of that name; raw or percent-encoded",
            "16@2026-07-01-10:00:00",
        ),
        "image_id" => ("The image as it was added; slashes may be raw or percent-encoded", "library/redis"),
        "run_index" => ("Number of the run", "1"),
        "user" => ("The user, `tenant.<tenant_id>` or `**`", "bob"),
        _ => ("", ""),
    };
    json!({
        "name": name, "in": "path", "required": true, "description": description, "example": example,
        "schema": {"type": "string", "minLength": 1}
    })
}

/// Schemas that cannot be derived from a type.
fn components() -> Map<String, Value> {
    // Any case, without flags that not every dialect of regular expressions has.
    let words = ["true", "t", "yes", "y", "on", "false", "f", "no", "n", "off"]
        .map(|word| word.chars().map(|c| format!("[{c}{}]", c.to_ascii_uppercase())).collect::<String>());
    let boolean_words = format!("^({}|0|1)$", words.join("|"));
    Map::from_iter([
        (
            "LenientInteger".to_owned(),
            json!({
                "description": "A whole number of 32 bits. As text too (`\"12\"`, `\"12.0\"`); an empty text is \"not set\".",
                "anyOf": [
                    {"type": "integer", "minimum": i32::MIN, "maximum": i32::MAX},
                    {"type": "string", "pattern": r"^ *([-+]?[0-9]{1,9}(\.0*)?)? *$"}
                ],
                "examples": [12, "12"]
            }),
        ),
        (
            "LenientBoolean".to_owned(),
            json!({
                "description": "A boolean. Also 0 or 1, and the words true t yes y on 1 false f no n off 0 in any case.",
                "anyOf": [
                    {"type": "boolean"},
                    {"type": "integer", "enum": [0, 1]},
                    {"type": "string", "pattern": boolean_words}
                ],
                "examples": [true, "True"]
            }),
        ),
        (
            "VolumeMountsInput".to_owned(),
            json!({
                "description": "Mounts by absolute path; null removes the one that is there. Also a list of mounts with `mount_path`, or mounts with `mount_path` by id of the volume.",
                "anyOf": [
                    {
                        "type": "object",
                        "additionalProperties": {
                            "anyOf": [{"$ref": "#/components/schemas/VolumeMountInput"}, {"type": "null"}]
                        }
                    },
                    {"type": "array", "items": {"$ref": "#/components/schemas/VolumeMountInput"}}
                ]
            }),
        ),
        (
            "ErrorEnvelope".to_owned(),
            json!({
                "description": "An error.",
                "type": "object",
                "required": ["message", "metadata", "result", "status", "version"],
                "properties": {
                    "message": {
                        "description": "What happened, to what, and what to do; for problems of a body or query an array with a line for each, `place, place: problem`.",
                        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
                    },
                    "metadata": {
                        "description": "Details, such as the objects that depend on the one to delete; `{}` when there are none.",
                        "type": "object"
                    },
                    "result": {"description": "Always null.", "type": "null"},
                    "status": {"description": "Always `error`.", "type": "string", "enum": ["error"]},
                    "version": {"description": "The version of the service.", "type": "string"}
                },
                "examples": [{
                    "message": ["body, networking, default, port: Value error, port must be within 10 and 65535. Got port: 7"],
                    "metadata": {}, "result": null, "status": "error", "version": "0.1.0"
                }]
            }),
        ),
    ])
}
