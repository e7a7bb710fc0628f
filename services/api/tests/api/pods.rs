//! Creating, listing, reading and deleting pods.

use pods_core::{StatusRequested, transition::Event};
use pods_db::instances;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn a_create_with_on_writes_instance_and_wake_up() {
    let app = TestApp::start().await;
    let body = json!({"pod_id": "docpod", "image": "busybox", "command": ["sleep", "60"]});
    let pod = app.alice().post("/v3/pods", body).await.ok();
    assert_eq!((pod["status"].as_str(), pod["status_requested"].as_str()), (Some("REQUESTED"), Some("ON")));
    assert_eq!(pod["networking"]["default"]["url"], "docpod.pods.dev.localhost");
    assert_eq!(app.wake_ups().await, ["create"]);
    let row = app.row("docpod").await;
    assert_eq!(row.status_requested, StatusRequested::On);
    let instance = instances::get(&mut *app.conn().await, row.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(instance.effective.definition, row.definition);
    let logs = app.alice().get("/v3/pods/docpod/logs").await.ok();
    assert_eq!(logs["logs"], "");
    assert!(logs["action_logs"][0].as_str().unwrap().contains("created by 'alice'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_taken_within_its_tenant_only() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let again = json!({"pod_id": "docpod", "image": "busybox"});
    app.alice().post("/v3/pods", again.clone()).await.is(409, "already exists");
    app.bob().post("/v3/pods", again).await.is(409, "already exists");
    assert_eq!(app.wake_ups().await, Vec::<String>::new());
    let other = app.other_alice().create("docpod", json!({})).await;
    assert_eq!(other["networking"]["default"]["url"], "docpod.pods.dev-two.localhost");
    app.other_alice().delete("/v3/pods/docpod").await.ok();
    app.alice().get("/v3/pods/docpod").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_is_unknown_at_once_and_its_id_free() {
    let app = TestApp::start().await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    app.alice().grant("docpod", "bob", "ADMIN").await;
    let old = app.row("docpod").await;
    app.alice().delete("/v3/pods/docpod").await.ok();
    assert_eq!(app.wake_ups().await, ["create", "delete"]);
    for path in ["", "/logs", "/permissions", "/start", "/stop", "/restart"] {
        app.alice().get(&format!("/v3/pods/docpod{path}")).await.is(404, "docpod");
    }
    app.alice().delete("/v3/pods/docpod").await.is(404, "docpod");
    assert_eq!(app.alice().get("/v3/pods").await.ok(), json!([]));

    app.user("carol").create("docpod", json!({"description": "carol's"})).await;
    assert_ne!(app.row("docpod").await.uid, old.uid);
    app.alice().get("/v3/pods/docpod").await.is(403, "READ");
    app.bob().get("/v3/pods/docpod/logs").await.is(403, "READ");
    let logs = app.user("carol").get("/v3/pods/docpod/logs").await.ok();
    assert_eq!(logs["action_logs"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_sorted_and_hold_what_the_caller_may_read() {
    let app = TestApp::start().await;
    for pod_id in ["zebra", "apple", "mango"] {
        app.alice().create(pod_id, json!({})).await;
    }
    app.other_alice().create("other", json!({})).await;
    app.alice().grant("mango", "bob", "READ").await;
    app.alice().grant("apple", "bob", "NONE").await;
    let ids = |list: serde_json::Value| {
        list.as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["pod_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(app.alice().get("/v3/pods").await.ok()), ["apple", "mango", "zebra"]);
    assert_eq!(ids(app.bob().get("/pods").await.ok()), ["mango"]);
    assert_eq!(ids(app.admin_mode().get("/v3/pods").await.ok()), ["apple", "mango", "zebra"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_made_readable_and_kept_after_a_stop() {
    let app = TestApp::start().await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    let row = app.happens("docpod", Event::Running).await;
    app.write_log(&row, b"caf\xc3\xa9 \xff\0 end\n").await;
    app.alice().get("/v3/pods/docpod/stop").await.ok();
    app.happens("docpod", Event::ObjectsGone).await;
    let logs = app.alice().get("/v3/pods/docpod/logs").await.ok();
    assert_eq!(logs["logs"], "café \u{fffd} end\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_every_documented_field() {
    let app = TestApp::start().await;
    let pod = app.alice().create("docpod", json!({})).await;
    let keys: Vec<&str> = pod.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "arguments",
            "command",
            "compute_queue",
            "creation_ts",
            "description",
            "environment_variables",
            "healthchecks",
            "image",
            "last_status_check_ts",
            "modified_fields",
            "networking",
            "networking_live",
            "pod_id",
            "resources",
            "secret_map",
            "start_instance_ts",
            "status",
            "status_container",
            "status_requested",
            "template",
            "template_overrides",
            "time_to_stop_default",
            "time_to_stop_instance",
            "time_to_stop_ts",
            "update_ts",
            "volume_mounts",
        ]
    );
    for (field, value) in [
        ("image", json!("busybox")),
        ("template", json!("")),
        ("description", json!("")),
        ("command", json!(null)),
        ("secret_map", json!({})),
        ("volume_mounts", json!({})),
        ("status", json!("STOPPED")),
        ("status_requested", json!("OFF")),
        ("status_container", json!({})),
        ("networking_live", json!(false)),
        ("time_to_stop_default", json!(43_200)),
        ("compute_queue", json!("default")),
        ("modified_fields", json!(["image", "pod_id", "status_requested"])),
    ] {
        assert_eq!(pod[field], value, "{field}");
    }
    assert_eq!(pod["networking"]["default"]["protocol"], "http");
    assert_eq!(pod["networking"]["default"]["port"], 5000);
    app.alice().get("/v3/pods/docpod/start").await.ok();
    app.happens("docpod", Event::Running).await;
    let pod = app.alice().get("/v3/pods/docpod").await.ok();
    assert_eq!((&pod["status"], &pod["networking_live"]), (&json!("AVAILABLE"), &json!(true)));
    assert!(pod["last_status_check_ts"].as_str().unwrap().ends_with('Z'));
    let ids = app.alice().get("/v3/pods").await.ok();
    assert_eq!(ids[0], pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_and_resources_have_bounds() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let body = |more: serde_json::Value| {
        let mut body = json!({"pod_id": "docpod", "image": "busybox", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    alice.post("/v3/pods", body(json!({"description": "d".repeat(800)}))).await.is_invalid("404");
    alice.post("/v3/pods", body(json!({"description": "ünicode"}))).await.is_invalid("ASCII");
    for (resources, problem) in [
        (json!({"ephemeral_storage_request": 20_000}), "ephemeral_storage_request out of bounds"),
        (json!({"ephemeral_storage_limit": 20_000}), "ephemeral_storage_limit out of bounds"),
        (json!({"cpu_request": 3000}), "cpu_limit"),
        (json!({"cpu_request": 12.5}), "integer"),
    ] {
        alice.post("/v3/pods", body(json!({"resources": resources}))).await.is_invalid(problem);
    }
    let pod =
        alice.post("/v3/pods", body(json!({"resources": {"ephemeral_storage_request": "1000"}}))).await.ok();
    let storage = |pod: &serde_json::Value| {
        let of = |name: &str| pod["resources"][name].as_i64().unwrap();
        (of("ephemeral_storage_request"), of("ephemeral_storage_limit"))
    };
    assert_eq!(storage(&pod), (1000, -1));
    let pod = alice.put("/v3/pods/docpod", json!({"resources": {"ephemeral_storage_limit": 500}})).await.ok();
    assert_eq!(storage(&pod), (-1, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_of_configuration_files_are_shown_on_request_only() {
    let app = TestApp::start().await;
    let mounts = json!({
        "/etc/a.conf": {"type": "ephemeral", "config_content": "secret-a"},
        "/data": {"type": "tapisvolume", "source_id": "mine", "config_content": "secret-b", "config_filename": "b.conf"},
    });
    let overrides = json!({"volume_mounts": {"/etc/a.conf": {"config_content": "secret-c"}}});
    let created =
        app.alice().create("docpod", json!({"volume_mounts": mounts, "template_overrides": overrides})).await;
    assert!(!created.to_string().contains("secret-"), "{created}");
    for path in ["", "/derived", "/overrides", "/provenance", "?derived=true"] {
        let shown = app.alice().get(&format!("/v3/pods/docpod{path}")).await.ok();
        assert!(!shown.to_string().contains("secret-"), "{path}: {shown}");
    }
    for path in ["/v3/pods", "/v3/pods?derived_lite=true"] {
        assert!(!app.alice().get(path).await.ok().to_string().contains("secret-"), "{path}");
    }
    for path in ["?include_configs=true", "/derived?include_configs=1"] {
        let shown = app.alice().get(&format!("/v3/pods/docpod{path}")).await.ok().to_string();
        for content in ["secret-a", "secret-b", "secret-c"] {
            assert!(shown.contains(content), "{path} {content}: {shown}");
        }
    }
    let redacted = app.alice().get("/v3/pods/docpod").await.ok();
    for field in ["volume_mounts", "template_overrides"] {
        let body = json!({field: redacted[field]});
        app.alice().put("/v3/pods/docpod", body).await.is_invalid("config_content");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_stores_everything_or_nothing() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let body = json!({"pod_id": "docpod", "image": "busybox", "secret_map": {"A": "${pods:random:8}"}});
    alice.post("/v3/pods", body.clone()).await.ok();
    let credentials = alice.get("/v3/pods/docpod/credentials").await.ok();
    alice.post("/v3/pods", body).await.is(409, "already exists");
    assert_eq!(alice.get("/v3/pods/docpod/credentials").await.ok(), credentials);
    // A new pod of the same id is another pod.
    alice.delete("/v3/pods/docpod?force=true").await.ok();
    alice.get("/v3/pods/docpod/credentials").await.is(404, "docpod");
    alice.create("docpod", json!({})).await;
    assert_ne!(alice.get("/v3/pods/docpod/credentials").await.ok(), credentials);
    alice.delete("/v3/pods/docpod?force=perhaps").await.is_invalid("force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_from_before_there_were_credentials_gets_them_when_asked() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("docpod", json!({"environment_variables": {"P": "<<tapissecret_user_password>>"}})).await;
    diesel_async::RunQueryDsl::execute(
        diesel::sql_query("DELETE FROM pod_credentials"),
        &mut *app.conn().await,
    )
    .await
    .unwrap();
    alice.get("/v3/pods?derived=true").await.ok();
    let asked = (0..4).map(|_| alice.get("/v3/pods/docpod/credentials"));
    let answers = futures::future::join_all(asked).await;
    assert_eq!(answers[0].headers["cache-control"], "no-store");
    let mut passwords: Vec<String> = answers.into_iter().map(|answer| answer.ok().to_string()).collect();
    passwords.dedup();
    assert_eq!(passwords.len(), 1, "requests that meet agree");
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert!(passwords[0].contains(derived["environment_variables"]["P"].as_str().unwrap()));
}
