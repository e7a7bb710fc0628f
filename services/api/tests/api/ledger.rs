//! Where the fields of a pod come from, giving them back, and saving them as a tag.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    derived::chain,
    templates::{grant, template},
};

#[tokio::test(flavor = "multi_thread")]
async fn fields_can_be_traced_and_given_back() {
    let app = TestApp::start().await;
    chain(&app).await;
    let alice = app.alice();
    let body = json!({"pod_id": "docpod", "template": "tone", "status_requested": "OFF", "command": ["mine"],
        "resources": {"cpu_request": 500}});
    alice.post("/v3/pods", body).await.ok();
    let overrides = alice.get("/v3/pods/docpod/overrides").await.ok();
    assert_eq!(overrides["overrides"]["command"], json!(["mine"]));
    assert_eq!(overrides["overrides"]["resources"], json!({"cpu_request": 500}));
    assert_eq!(overrides["status"], "STOPPED");
    let provenance = alice.get("/v3/pods/docpod/provenance").await.ok();
    assert_eq!(provenance["has_template"], true);
    for (field, source) in [("command", "pod"), ("image", "template"), ("healthchecks", "default")] {
        assert_eq!(provenance["fields"][field]["source"], source, "{field}");
    }
    assert_eq!(provenance["fields"]["command"]["template_value"], json!(["three"]));
    let total: u64 =
        ["pod", "template", "default"].iter().map(|s| provenance["summary"][s].as_u64().unwrap()).sum();
    assert_eq!(total as usize, provenance["fields"].as_object().unwrap().len());

    let path = "/v3/pods/docpod/reset_field";
    let reset = alice.post(path, json!({"fields": ["command"]})).await.ok();
    assert!(!reset["modified_fields"].as_array().unwrap().contains(&json!("command")));
    assert_eq!(alice.get("/v3/pods/docpod/derived").await.ok()["command"], json!(["three"]));
    let again = alice.post(path, json!({"fields": ["command"]})).await;
    assert_eq!((again.status.as_u16(), &again.body["status"]), (200, &json!("error")));
    assert_eq!(again.body["result"]["pod_id"], "docpod");
    alice.post(path, json!({"fields": []})).await.is(400, "fields");
    alice.post(path, json!({"fields": ["pod_id"]})).await.is(400, "pod_id");
    alice.post(path, json!({})).await.is_invalid("required");
    alice.post(path, json!({"fields": "command"})).await.is_invalid("fields");
    alice.post(path, json!({"fields": ["command"], "x": 1})).await.is_invalid("Extra inputs");
    alice.create("plain", json!({})).await;
    alice.post("/v3/pods/plain/reset_field", json!({"fields": ["command"]})).await.is(400, "template");
    alice.grant("docpod", "bob", "USER").await;
    app.bob().post(path, json!({"fields": ["command"]})).await.is(403, "ADMIN");
    let logs = alice.get("/v3/pods/docpod/logs").await.ok().to_string();
    assert!(logs.contains("'alice' gave command back to the template"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_can_be_saved_as_a_tag() {
    let app = TestApp::start().await;
    chain(&app).await;
    let alice = app.alice();
    let body = json!({
        "pod_id": "docpod", "template": "tone", "status_requested": "OFF", "command": ["mine"],
        "resources": {"cpu_request": 500},
        "secret_map": {"KEY": "hunter2"}, "environment_variables": {"K": "${pods:secrets:KEY}", "MODE": "prod"},
        "volume_mounts": {
            "/data": {"type": "tapisvolume", "source_id": "mine"},
            "/etc/app.conf": {"type": "ephemeral", "config_content": "a=1"},
        },
        "networking": {"default": {"port": 8080}},
    });
    alice.post("/v3/pods", body).await.ok();
    template(&alice, "saved").await;
    let path = "/v3/pods/docpod/save_pod_as_template_tag";
    let saved = alice.post(path, json!({"template_id": "saved", "commit_message": "from a pod"})).await;
    let warnings = saved.body["metadata"]["warnings"].to_string();
    assert!(warnings.contains("; command\"") || warnings.contains("command."), "{warnings}");
    assert!(warnings.contains("environment_variables MODE"), "{warnings}");
    assert!(warnings.contains("config_content of /etc/app.conf"), "{warnings}");
    assert!(!warnings.contains("environment_variables K"), "a reference gives nothing away: {warnings}");
    let saved = saved.ok();
    assert!(saved["tag_timestamp"].as_str().unwrap().starts_with("latest@"));
    let definition = &saved["pod_definition"];
    assert_eq!(definition["command"], json!(["mine"]));
    assert_eq!(definition["image"], Value::Null, "the template's");
    assert!(definition["template"].as_str().unwrap().starts_with("tone:latest@"));
    assert_eq!(
        (&definition["resources"]["cpu_request"], &definition["resources"]["mem_limit"]),
        (&json!(500), &Value::Null)
    );
    assert!(!saved.to_string().contains("hunter2"), "{saved}");
    assert!(definition["secret_map"]["KEY"].as_str().unwrap().starts_with("${:?"));
    assert!(definition["volume_mounts"]["/data"]["source_id"].as_str().unwrap().starts_with("${:?"));
    assert_eq!(definition["networking"]["default"]["url"], "");
    let logs = alice.get("/v3/pods/docpod/logs").await.ok().to_string();
    assert!(logs.contains("saved pod as template tag saved:latest@"), "{logs}");

    let fill = json!({
        "pod_id": "second", "template": "saved", "status_requested": "OFF", "secret_map": {"KEY": "other"},
        "template_overrides": {"volume_mounts": {"/data": {"source_id": "theirs"}}},
    });
    alice.post("/v3/pods", fill).await.ok();
    let derived = alice.get("/v3/pods/second/derived").await.ok();
    assert_eq!((&derived["command"], &derived["image"]), (&json!(["mine"]), &json!("busybox:2")));

    alice.post(path, json!({"template_id": "nope", "commit_message": "x"})).await.is(404, "nope");
    alice.post(path, json!({"template_id": "saved"})).await.is_invalid("required");
    grant(&alice, "saved", "bob", "READ").await;
    alice.grant("docpod", "bob", "USER").await;
    let body = json!({"template_id": "saved", "commit_message": "by bob"});
    app.bob().post(path, body.clone()).await.is(403, "ADMIN");
    alice.grant("docpod", "bob", "ADMIN").await;
    app.bob().post(path, body.clone()).await.is(403, "USER");
    grant(&alice, "saved", "bob", "USER").await;
    app.bob().post(path, body.clone()).await.is(403, "READ");
    grant(&alice, "tone", "bob", "READ").await;
    app.bob().post(path, body).await.ok();
}
