//! Patches.

use serde_json::{Value, json};

use crate::refusal::Refusal;

/// Applies a patch of a content type.
///
/// A strategic merge patch and an apply count as merge patches: lists are replaced as a whole.
///
/// # Errors
/// 415 for a type that is not known, 422 for a JSON patch that does not fit.
pub fn apply(content_type: &str, target: &mut Value, patch: &Value) -> Result<(), Refusal> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json"
        | "application/strategic-merge-patch+json"
        | "application/apply-patch+yaml"
        | "application/apply-patch+json"
        | "" => {
            merge(target, patch);
            Ok(())
        }
        "application/json-patch+json" => json_patch(target, patch),
        other => {
            Err(Refusal::new(415, "UnsupportedMediaType", format!("the patch type {other} is not known")))
        }
    }
}

/// JSON merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Value::Object(target) = target {
                target.remove(key);
            }
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

/// The operations add, replace, remove and test of RFC 6902.
fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Refusal> {
    let wrong = |what: &str| Refusal::new(422, "Invalid", format!("the server rejected our request: {what}"));
    for step in patch.as_array().ok_or_else(|| wrong("the patch is no list"))? {
        let path = step["path"].as_str().ok_or_else(|| wrong("a step has no path"))?;
        let operation = step["op"].as_str().unwrap_or_default();
        if operation == "test" {
            if target.pointer(path) != Some(&step["value"]) {
                return Err(wrong("a test failed"));
            }
            continue;
        }
        let (parent, last) = path.rsplit_once('/').ok_or_else(|| wrong("a path does not begin with /"))?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let parent = target.pointer_mut(parent).ok_or_else(|| wrong("a path leads nowhere"))?;
        match (operation, parent) {
            ("add" | "replace", Value::Object(map)) => {
                map.insert(last, step["value"].clone());
            }
            ("remove", Value::Object(map)) => {
                map.remove(&last).ok_or_else(|| wrong("there is nothing to remove"))?;
            }
            ("add", Value::Array(list)) if last == "-" => list.push(step["value"].clone()),
            (operation, Value::Array(list)) => {
                let at = last.parse::<usize>().ok().filter(|at| *at < list.len());
                let at = at.ok_or_else(|| wrong("an index is out of range"))?;
                match operation {
                    "add" => list.insert(at, step["value"].clone()),
                    "replace" => list[at] = step["value"].clone(),
                    "remove" => drop(list.remove(at)),
                    _ => return Err(wrong("an operation is not known")),
                }
            }
            _ => return Err(wrong("a path leads into something that is no container")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_removes_nulls_and_json_patch_tests() {
        let mut value = json!({"a": {"b": 1, "c": [1]}});
        apply("application/merge-patch+json", &mut value, &json!({"a": {"b": null, "d": 2}})).unwrap();
        assert_eq!(value, json!({"a": {"c": [1], "d": 2}}));
        let steps =
            json!([{"op": "test", "path": "/a/d", "value": 2}, {"op": "add", "path": "/a/c/-", "value": 3}]);
        apply("application/json-patch+json", &mut value, &steps).unwrap();
        assert_eq!(value["a"]["c"], json!([1, 3]));
        let wrong = json!([{"op": "test", "path": "/a/d", "value": 3}]);
        assert!(apply("application/json-patch+json", &mut value, &wrong).is_err());
        assert!(apply("text/plain", &mut value, &json!({})).is_err());
    }
}
