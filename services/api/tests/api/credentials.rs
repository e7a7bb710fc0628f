//! Generated values in derived pods: who sees them.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    templates::{tag, template},
};

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_filled_in_for_those_who_may_see_them() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    let environment = json!({
        "U": "<<tapissecret_user_username>>", "P": "x<<TAPIS_user_password>>x", "S": "<<tapissecret_service_username>>",
        "N": "<<tapissecret_nothing>>", "I": "<<tapissecret_pod_id>>", "SINGLE": "<TAPIS_user_username>",
    });
    tag(&alice, "base", "latest", json!({"image": "busybox", "environment_variables": environment})).await;
    alice
        .post("/v3/pods", json!({"pod_id": "docpod", "template": "base", "status_requested": "OFF"}))
        .await
        .ok();
    alice.grant("docpod", "bob", "USER").await;
    alice.grant("docpod", "carol", "READ").await;
    let credentials = app.bob().get("/v3/pods/docpod/credentials").await.ok();
    let keys: Vec<&String> = credentials.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["user_password", "user_username"], "never the administrative pair");
    assert_eq!(credentials["user_username"], "docpod");
    let password = credentials["user_password"].as_str().unwrap();
    assert_eq!(password.len(), 30);
    assert!(password.chars().all(|c| c.is_ascii_alphanumeric()));
    assert_eq!(alice.get("/v3/pods/docpod/credentials").await.ok(), credentials, "generated once");
    app.user("carol").get("/v3/pods/docpod/credentials").await.is(403, "USER");

    let filled = json!({
        "U": "docpod", "P": format!("x{password}x"), "S": "podsservice", "N": "", "I": "docpod",
        "SINGLE": "<TAPIS_user_username>",
    });
    let carol = app.user("carol");
    for path in ["/v3/pods/docpod/derived", "/v3/pods/docpod?derived=true"] {
        assert_eq!(alice.get(path).await.ok()["environment_variables"], filled, "{path}");
        assert_eq!(app.bob().get(path).await.ok()["environment_variables"], filled, "{path}");
        assert_eq!(app.admin_mode().get(path).await.ok()["environment_variables"], filled, "{path}");
        assert_eq!(carol.get(path).await.ok()["environment_variables"], environment, "{path}");
    }
    let listed = |list: Value| list[0]["environment_variables"].clone();
    assert_eq!(listed(app.bob().get("/v3/pods?derived=true").await.ok()), filled);
    assert_eq!(listed(app.admin_mode().get("/v3/pods?derived=true").await.ok()), filled);
    assert_eq!(listed(carol.get("/v3/pods?derived=true").await.ok()), environment);
    assert_eq!(listed(app.bob().get("/v3/pods?derived_lite=true&derived=true").await.ok()), environment);
    assert_eq!(listed(app.bob().get("/v3/pods").await.ok()), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_can_have_secrets_resolved() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let body = json!({
        "secret_map": {"LITERAL": "value1", "RANDOM": "${pods:random:24}", "OTHERS": "${secret:bob:key}"},
        "environment_variables": {"A": "a-${pods:secrets:LITERAL}", "R": "${pods:secrets:RANDOM}", "O": "${pods:secrets:OTHERS}"},
        "volume_mounts": {"/etc/app.conf": {"type": "ephemeral", "config_content": "k=${pods:secrets:LITERAL}"}},
    });
    alice.create("docpod", body).await;
    let path = "/v3/pods/docpod/derived?resolve_secrets=true&include_configs=true";
    alice.get(path).await.is(403, "administrators");
    alice.get("/v3/pods/docpod/derived?reveal_write_only=true").await.is(403, "administrators");
    app.admin().get(path).await.is(403, "READ");
    let answer = app.admin_mode().get(path).await;
    let metadata = answer.body["metadata"].clone();
    assert_eq!(metadata["secrets_resolved"], true);
    assert!(metadata["secret_resolution_errors"][0].as_str().unwrap().contains("OTHERS"), "{metadata}");
    let pod = answer.ok();
    assert_eq!(pod["secret_map"]["LITERAL"], "value1");
    assert_eq!(pod["environment_variables"]["A"], "a-value1");
    assert_eq!(pod["volume_mounts"]["/etc/app.conf"]["config_content"], "k=value1");
    let random = pod["secret_map"]["RANDOM"].as_str().unwrap().to_owned();
    assert_eq!(random.len(), 24);
    assert_eq!(pod["environment_variables"]["R"], json!(random));
    assert_eq!(
        app.admin_mode().get(path).await.ok()["secret_map"]["RANDOM"],
        json!(random),
        "generated once"
    );
    // Nobody else ever sees it.
    for path in [
        "/v3/pods/docpod",
        "/v3/pods/docpod/derived",
        "/v3/pods/docpod/overrides",
        "/v3/pods/docpod/provenance",
    ] {
        let answer = alice.get(path).await;
        assert!(!answer.body.to_string().contains(&random), "{path}");
        answer.ok();
    }
    assert_eq!(alice.get("/v3/pods/docpod").await.ok()["secret_map"]["RANDOM"], "${pods:random:24}");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_values_do_not_pile_up_and_those_of_the_last_start_stay() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let map = |prefix: &str| -> Value {
        let keys = (0..200).map(|n| (format!("{prefix}{n}"), json!("${pods:random:16}")));
        json!({"secret_map": keys.collect::<serde_json::Map<_, _>>()})
    };
    let value = async |key: &str| {
        let pod = app.admin_mode().get("/v3/pods/docpod/derived?resolve_secrets=true").await.ok();
        pod["secret_map"][key].as_str().unwrap().to_owned()
    };
    let mut started = map("A");
    started["status_requested"] = json!("ON");
    alice.create("docpod", started).await;
    let of_the_start = value("A7").await;
    alice.put("/v3/pods/docpod", map("B")).await.ok();
    let of_no_start = value("B7").await;
    alice.put("/v3/pods/docpod", map("C")).await.ok();
    assert_eq!(value("C7").await.len(), 16);
    alice.put("/v3/pods/docpod", map("A")).await.ok();
    assert_eq!(value("A7").await, of_the_start);
    alice.put("/v3/pods/docpod", map("B")).await.ok();
    assert_ne!(value("B7").await, of_no_start, "600 values are too many");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_nothing_but_patterns_has_a_short_answer() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let content: String = (0..80_000).map(|n| format!("${{a{n}}}")).collect();
    let body = json!({"status_requested": "OFF", "volume_mounts":
        {"/f": {"type": "ephemeral", "config_content": content}}});
    alice.create("docpod", body).await;
    let answer = alice.get("/v3/pods/docpod").await;
    assert!(answer.body.to_string().len() < 64 * 1024, "{}", answer.body.to_string().len());
    let summary = answer.body["metadata"]["unresolved_patterns"]["summary"].as_str().unwrap();
    assert!(summary.contains("there are more"), "{summary}");
}
