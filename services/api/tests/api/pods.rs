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
    let append = pods_db::logs::Append {
        pod_uid: row.uid,
        instance_id: row.instance_id.unwrap(),
        bytes: b"caf\xc3\xa9 \xff\0 end\n".to_vec(),
        resume_ts: row.status_changed_ts,
        resume_skip: 1,
    };
    pods_db::logs::append(&mut *app.conn().await, None, &[append]).await.unwrap();
    app.alice().get("/v3/pods/docpod/stop").await.ok();
    app.happens("docpod", Event::ObjectsGone).await;
    let logs = app.alice().get("/v3/pods/docpod/logs").await.ok();
    assert_eq!(logs["logs"], "café \u{fffd}\u{0} end\n");
}
