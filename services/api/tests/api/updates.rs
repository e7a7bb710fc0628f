//! `PUT /pods/{pod_id}`.

use pods_core::transition::Event;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_body_names_changes() {
    let app = TestApp::start().await;
    let before = app
        .alice()
        .create("docpod", json!({"description": "old", "environment_variables": {"A": "1", "B": "2"}}))
        .await;
    let answer = app.alice().put("/v3/pods/docpod", json!({"environment_variables": {"A": "3"}})).await;
    assert_eq!(answer.body["metadata"]["note"].as_array().unwrap().len(), 2);
    let after = answer.ok();
    assert_eq!(after["environment_variables"], json!({"A": "3"}), "each field as a whole");
    assert_eq!(after["description"], "old");
    assert_ne!(after["update_ts"], before["update_ts"]);
    assert_eq!(app.alice().get("/v3/pods/docpod").await.ok(), after);

    let reset = app.alice().put("/v3/pods/docpod", json!({"description": null})).await.ok();
    assert_eq!(reset["description"], "");
    let modified: Vec<&str> =
        reset["modified_fields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(modified, ["environment_variables", "image", "pod_id", "status_requested"]);
    let resources = app.alice().put("/v3/pods/docpod", json!({"resources": {"gpus": "1"}})).await.ok();
    assert!(resources["modified_fields"].as_array().unwrap().contains(&json!("resources.gpus")));
    assert_eq!(app.wake_ups().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_changes_nothing_says_so() {
    let app = TestApp::start().await;
    let pod = app.alice().create("docpod", json!({"description": "same"})).await;
    for body in [json!({}), json!({"description": "same"}), json!({"status_requested": "OFF"})] {
        let answer = app.alice().put("/v3/pods/docpod", body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("error")));
        assert_eq!(answer.body["result"], pod);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_requested_is_a_transition_after_the_other_fields() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    app.alice().grant("docpod", "bob", "USER").await;
    app.bob().put("/v3/pods/docpod", json!({"description": "by bob"})).await.ok();
    let both = json!({"description": "on", "status_requested": "ON"});
    app.bob().put("/v3/pods/docpod", both.clone()).await.is(403, "ADMIN");
    assert_eq!(app.alice().get("/v3/pods/docpod").await.ok()["description"], "by bob", "nothing changed");

    let on = app.alice().put("/v3/pods/docpod", both).await.ok();
    assert_eq!((on["status"].as_str(), on["description"].as_str()), (Some("REQUESTED"), Some("on")));
    assert_eq!(app.wake_ups().await, ["start"]);
    let row = app.row("docpod").await;
    let instance =
        pods_db::instances::get(&mut *app.conn().await, row.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(instance.effective.definition.description, "on", "the start uses the new definition");

    app.alice().put("/v3/pods/docpod", json!({"status_requested": "OFF"})).await.ok();
    let refused = json!({"description": "never", "status_requested": "ON"});
    app.alice().put("/v3/pods/docpod", refused).await.is(409, "SHUTTING_DOWN");
    let pod = app.alice().get("/v3/pods/docpod").await.ok();
    assert_eq!(pod["description"], "on", "a refused transition takes the other fields back");
    app.happens("docpod", Event::ObjectsGone).await;
    let restart = app.alice().put("/v3/pods/docpod", json!({"status_requested": "RESTART"})).await.ok();
    assert_eq!(restart["status"], "RESTARTING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_gets_its_deadline_moved() {
    let app = TestApp::start().await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    app.happens("docpod", Event::Running).await;
    let pod = app.alice().put("/v3/pods/docpod", json!({"time_to_stop_instance": "600"})).await.ok();
    let at = |key: &str| pod[key].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((at("time_to_stop_ts") - at("start_instance_ts")).num_seconds(), 600);
    let pod = app.alice().put("/v3/pods/docpod", json!({"time_to_stop_instance": -1})).await.ok();
    assert_eq!(pod["time_to_stop_ts"], json!(null));
    assert_eq!(pod["status"], "AVAILABLE", "the container is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_meet_are_all_kept() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let alice = app.alice();
    let bodies = [
        json!({"description": "d"}),
        json!({"command": ["c"]}),
        json!({"arguments": ["a"]}),
        json!({"time_to_stop_default": 900}),
    ];
    let requests = bodies.into_iter().map(|body| alice.put("/v3/pods/docpod", body));
    for answer in futures::future::join_all(requests).await {
        answer.ok();
    }
    let pod = alice.get("/v3/pods/docpod").await.ok();
    assert_eq!((&pod["description"], &pod["command"]), (&json!("d"), &json!(["c"])));
    assert_eq!((&pod["arguments"], &pod["time_to_stop_default"]), (&json!(["a"]), &json!(900)));
}
