//! `GET /pods` merged with templates: constant work, and nothing is ever hidden.

use pods_db::testing::forget_tag;
use serde_json::{Value, json};

use crate::{
    app::TestApp,
    templates::{tag, template},
};

/// A three-level chain whose closest template is `tone`.
async fn three_levels(app: &TestApp) -> String {
    let alice = app.alice();
    for id in ["tone", "ttwo", "tthree"] {
        template(&alice, id).await;
    }
    let environment = json!({"P": "<<tapissecret_user_password>>"});
    tag(&alice, "tthree", "latest", json!({"image": "busybox", "environment_variables": environment})).await;
    tag(&alice, "ttwo", "latest", json!({"template": "tthree", "description": "two"})).await;
    tag(&alice, "tone", "latest", json!({"template": "ttwo", "command": ["one"]})).await
}

async fn create(app: &TestApp, ids: std::ops::Range<usize>) {
    let alice = app.alice();
    let create = |id: usize| {
        let body = json!({"pod_id": format!("pod{id:04}"), "template": "tone", "status_requested": "OFF"});
        let alice = &alice;
        async move { alice.post("/v3/pods", body).await.ok() }
    };
    for id in ids {
        create(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_statements_does_not_grow_with_the_number_of_pods() {
    let app = TestApp::start().await;
    three_levels(&app).await;
    create(&app, 0..10).await;
    let statements = async |path: &str, pods: usize| {
        let before = app.statements();
        let answer = app.alice().get(path).await;
        let used = app.statements() - before;
        assert_eq!(answer.body["metadata"].get("warnings"), None);
        let list = answer.ok();
        assert_eq!(list.as_array().unwrap().len(), pods);
        if path.contains("derived") {
            assert!(list.as_array().unwrap().iter().all(|pod| pod["command"] == json!(["one"])));
        }
        used
    };
    let paths = ["/v3/pods", "/v3/pods?derived_lite=true", "/v3/pods?derived=true"];
    let mut few = Vec::new();
    for path in paths {
        few.push(statements(path, 10).await);
    }
    create(&app, 10..200).await;
    for (path, few) in paths.into_iter().zip(few) {
        assert_eq!(statements(path, 200).await, few, "{path}");
        // One of them asks where the stream of events goes on from the list.
        assert!(few <= 5, "{path}: {few} statements");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_say_how_they_were_merged() {
    let app = TestApp::start().await;
    three_levels(&app).await;
    create(&app, 0..1).await;
    let alice = app.alice();
    for (query, mode) in [
        ("", Value::Null),
        ("?derived=false", Value::Null),
        ("?derived=True", json!("full")),
        ("?derived_lite=1", json!("lite")),
        ("?derived=true&derived_lite=yes", json!("lite")),
        ("?unknown=1", Value::Null),
    ] {
        let answer = alice.get(&format!("/v3/pods{query}")).await;
        let metadata = &answer.body["metadata"];
        assert_eq!(metadata.get("derived_mode").unwrap_or(&Value::Null), &mode, "{query}");
        assert_eq!(metadata.get("derived").is_some(), mode != Value::Null, "{query}");
        answer.ok();
    }
    alice.get("/v3/pods?derived=perhaps").await.is_invalid("derived");
    alice.get("/v3/pods?derived=").await.is_invalid("derived");

    let answer = app.admin_mode().get("/v3/pods?derived_lite=true").await;
    let context = &answer.body["metadata"]["admin_context"];
    assert_eq!((&context["admin_mode"], &context["user_accessible_ids"]), (&json!(true), &json!([])));
    assert!(context["msg"].is_string());
    assert_eq!(answer.ok()[0]["command"], json!(["one"]));
    app.alice().with("x-pods-admin", "true").get("/v3/pods").await.is(403, "administrator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_lost_its_template_is_shown_with_a_warning() {
    let app = TestApp::start().await;
    let reference = three_levels(&app).await;
    create(&app, 0..2).await;
    let alice = app.alice();
    alice.create("plain", json!({})).await;
    alice.get("/v3/pods/pod0001/start").await.ok();
    // Nothing of the service can do this; a restored backup might.
    forget_tag(&mut *app.conn().await, &reference).await;
    let stored = alice.get("/v3/pods").await;
    assert_eq!(stored.body["metadata"], json!({}));
    let stored = stored.ok();
    for query in ["derived_lite=true", "derived=true"] {
        let answer = alice.get(&format!("/v3/pods?{query}")).await;
        let warnings = answer.body["metadata"]["warnings"].as_array().unwrap().clone();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for (warning, pod_id) in warnings.iter().zip(["pod0000", "pod0001"]) {
            let warning = warning.as_str().unwrap();
            assert!(warning.contains(pod_id) && warning.contains(&reference), "{warning}");
        }
        assert_eq!(answer.ok(), stored, "as stored");
    }
    let one = alice.get("/v3/pods/pod0000?derived=true").await;
    assert!(one.body["metadata"]["warnings"][0].as_str().unwrap().contains(&reference));
    one.ok();
    alice.get("/v3/pods/pod0000").await.ok();
    alice.get("/v3/pods/pod0000/logs").await.ok();
    alice.get("/v3/pods/pod0000/overrides").await.ok();
    for path in ["derived", "provenance", "start", "restart?grab_latest_template_tag=true"] {
        let answer = alice.get(&format!("/v3/pods/pod0000/{path}")).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.body);
        assert!(
            answer.message().contains("template") || answer.message().contains("tone"),
            "{}",
            answer.body
        );
    }
    alice.put("/v3/pods/pod0000", json!({"description": "x"})).await.is(409, &reference);
    alice
        .put("/v3/pods/pod0000", json!({"status_requested": "OFF", "template": "", "image": "busybox"}))
        .await
        .ok();
    alice.get("/v3/pods/pod0000/start").await.ok();
    // What runs is not given up for what cannot start, but it can be stopped.
    alice.get("/v3/pods/pod0001/restart").await.is(409, &reference);
    alice.put("/v3/pods/pod0001", json!({"status_requested": "RESTART"})).await.is(409, &reference);
    alice.put("/v3/pods/pod0001", json!({"status_requested": "OFF"})).await.ok();
    alice.get("/v3/pods/pod0001/stop").await.ok();
    alice.delete("/v3/pods/pod0001").await.ok();
}
