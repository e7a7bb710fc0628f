//! The documents by which clients such as kubectl learn what is served.

use serde_json::{Value, json};

use crate::resource::RESOURCES;

/// The document of a path, when it is one of these.
pub fn document(path: &str) -> Option<Value> {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    Some(match words.as_slice() {
        ["version"] => json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.24", "compiler": "gc", "platform": "linux/amd64",
        }),
        ["healthz" | "livez" | "readyz"] => json!("ok"),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => json!({
            "kind": "APIGroupList", "apiVersion": "v1", "groups": groups().map(group).collect::<Vec<_>>(),
        }),
        ["api", "v1"] => resources(""),
        ["apis", name] if groups().any(|known| known == *name) => group(name),
        ["apis", name, "v1"] if groups().any(|known| known == *name) => resources(name),
        _ => return None,
    })
}

fn groups() -> impl Iterator<Item = &'static str> {
    RESOURCES.iter().map(|resource| resource.group).filter(|group| !group.is_empty())
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version], "preferredVersion": version,
    })
}

fn resources(group: &str) -> Value {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let of_group = RESOURCES.iter().filter(|resource| resource.group == group);
    let listed: Vec<Value> = of_group
        .map(|resource| {
            json!({
                "name": resource.plural, "singularName": resource.kind.to_lowercase(), "kind": resource.kind,
                "namespaced": resource.namespaced, "verbs": verbs,
            })
        })
        .collect();
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed})
}
