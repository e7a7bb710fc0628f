//! What a pod fills into its template: placeholders and overrides.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    templates::{TEMPLATES, tag, template},
};

#[tokio::test(flavor = "multi_thread")]
async fn required_placeholders_must_be_filled() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "database").await;
    let definition = json!({
        "image": "busybox",
        "secret_map": {"PGPASS": "${:?Password of the superuser}", "PGDB": "${pods:default:app:?Database name}"},
        "environment_variables": {"P": "${pods:secrets:PGPASS}", "D": "${pods:secrets:PGDB}"},
    });
    tag(&alice, "database", "latest", definition).await;
    let body = |id: &str, more: Value| {
        let mut body = json!({"pod_id": id, "template": "database", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let refused = alice.post("/v3/pods", body("docpod", json!({}))).await;
    refused.is_invalid("PGPASS");
    refused.is_invalid("Password of the superuser");
    let literal = alice.post("/v3/pods", body("docpod", json!({"secret_map": {"PGPASS": "hunter2"}}))).await;
    let placeholders = &literal.body["metadata"]["template_placeholders"];
    assert_eq!(placeholders["required"], json!([]));
    assert!(placeholders["optional"][0].as_str().unwrap().contains("PGDB"), "{placeholders}");
    assert_eq!(literal.ok()["secret_map"], json!({"PGPASS": "hunter2"}));
    let own = json!({"secret_map": {"PGPASS": "${secret:dbpass}", "EXTRA": "x${secret:bob:key}"}});
    let pod = alice.post("/v3/pods", body("secretive", own)).await.ok();
    assert_eq!(
        pod["secret_map"],
        json!({"PGPASS": "${secret:alice:dbpass}", "EXTRA": "x${secret:bob:key}"}),
        "a short reference goes on meaning its writer's secret"
    );
    let overridden = json!({"template_overrides": {"secret_map": {"PGPASS": "${secret:dbpass}"}}});
    let pod = alice.post("/v3/pods", body("overridden", overridden)).await.ok();
    assert_eq!(pod["template_overrides"]["secret_map"]["PGPASS"], "${secret:alice:dbpass}");
    let derived = alice.get("/v3/pods/overridden/derived").await;
    assert!(derived.body["metadata"]["template_placeholders"].is_object());
    assert_eq!(derived.ok()["secret_map"]["PGPASS"], "${secret:alice:dbpass}");

    let found = alice.get("/v3/pods/secretive").await;
    let unresolved = &found.body["metadata"]["unresolved_patterns"];
    assert_eq!(unresolved["has_unresolved"], true, "{}", found.body);
    assert_eq!(unresolved["secret_map_unresolved"][1]["patterns"][0]["type"], "user_secret", "{unresolved}");
    let quiet = alice.get("/v3/pods/secretive?check_unresolved=false").await;
    assert_eq!(quiet.body["metadata"], json!({}));

    let plain = json!({"pod_id": "plain", "image": "busybox", "status_requested": "OFF",
        "secret_map": {"A": "${:?What A is}", "B": "${pods:default:b}"},
        "environment_variables": {"X": "<TAPIS_user_username>"}});
    let plain = alice.post("/v3/pods", plain).await;
    let available = &plain.body["metadata"]["available_placeholders"];
    assert!(available["required"][0].as_str().unwrap().contains('A'), "{}", plain.body);
    assert!(plain.body["metadata"]["config_syntax_warnings"][0].as_str().unwrap().contains("TAPIS_"));
    plain.ok();
    alice
        .put("/v3/pods/plain", json!({"secret_map": {"A": "${pods:random:4}"}}))
        .await
        .is_invalid("secret_map");
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_replace_parts_of_the_templates_mounts() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    let definition = json!({"image": "busybox", "volume_mounts": {
        "/data": {"type": "tapisvolume", "source_id": "${:?Volume for the data}", "sub_path": "here"},
        "/etc/app.conf": {"type": "ephemeral", "config_content": "a=1"},
    }});
    tag(&alice, "base", "latest", definition.clone()).await;
    let body = |id: &str, more: Value| {
        let mut body = json!({"pod_id": id, "template": "base", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    alice.post("/v3/pods", body("docpod", json!({}))).await.is_invalid("Volume for the data");
    let overrides = json!({"template_overrides": {"volume_mounts": {
        "/data": {"source_id": "mine"}, "/nowhere": {"read_only": true},
    }}});
    let answer = alice.post("/v3/pods", body("docpod", overrides)).await;
    let metadata = answer.body["metadata"].clone();
    assert!(metadata["warnings"][0].as_str().unwrap().contains("/nowhere"), "{metadata}");
    assert_eq!(
        metadata["volume_placeholders"],
        json!({"resolved": [{"mount_path": "/data", "mount_type": "tapisvolume",
            "original_placeholder": "${:?Volume for the data}", "resolved_to": "mine"}], "unresolved": []})
    );
    assert_eq!(answer.ok()["volume_mounts"], json!({}), "only the user's own mounts are stored");
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    let data = &derived["volume_mounts"]["/data"];
    assert_eq!((&data["source_id"], &data["sub_path"]), (&json!("mine"), &json!("here")));
    let content = derived["volume_mounts"]["/etc/app.conf"]["config_content"].as_str().unwrap();
    assert!(content.starts_with("<3") && content.contains("include_configs=true"), "{content}");
    let shown = alice.get("/v3/pods/docpod/derived?include_configs=True").await.ok();
    assert_eq!(shown["volume_mounts"]["/etc/app.conf"]["config_content"], "a=1");
    alice
        .put("/v3/pods/docpod", json!({"volume_mounts": derived["volume_mounts"]}))
        .await
        .is_invalid("config_content");

    // The pod's own mounts win over overrides; null removes a template's mount.
    let own = json!({"volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "own"}, "/etc/app.conf": null}});
    let stored = alice.put("/v3/pods/docpod", own).await.ok();
    assert_eq!(stored["volume_mounts"].as_object().unwrap().len(), 1, "never a null mount");
    assert_eq!(stored["volume_mounts"]["/data"]["mounted_by"], "alice");
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(derived["volume_mounts"]["/data"]["source_id"], "own");
    assert!(derived["volume_mounts"].get("/etc/app.conf").is_none());
    // The removal outlives a PUT that does not mention the path, and ends when the path is set.
    let again = json!({"volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "own2"}}});
    alice.put("/v3/pods/docpod", again).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert!(derived["volume_mounts"].get("/etc/app.conf").is_none());
    alice.post("/v3/pods/docpod/reset_field", json!({"fields": ["volume_mounts"]})).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(derived["volume_mounts"]["/data"]["source_id"], "mine");
    assert!(derived["volume_mounts"].get("/etc/app.conf").is_some());

    let tags = alice.get(&format!("{TEMPLATES}/base/tags?include_configs=true")).await.ok();
    let mounts = &tags[0]["pod_definition"]["volume_mounts"];
    assert_eq!(mounts["/data"]["source_id"], "${:?Volume for the data}", "the template is as it was");
    for bad in [
        json!({"volume_mounts": {"data": {"read_only": true}}}),
        json!({"volume_mounts": {"/data": {"read_only": "perhaps"}}}),
        json!({"volume_mounts": {"/data": {"bogus": 1}}}),
        json!({"secret_map": {"A": 1}}),
        json!({"bogus": {}}),
        json!([]),
    ] {
        alice
            .put("/v3/pods/docpod", json!({"template_overrides": bad}))
            .await
            .is_invalid("template_overrides");
    }
}
