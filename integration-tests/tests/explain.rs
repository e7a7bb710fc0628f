//! What a pod says of itself, and what Kubernetes tells about it.

use integration_tests::{Scene, await_condition, wait::LIMIT};
use serde_json::json;

#[tokio::test]
async fn a_start_keeps_its_phases_and_kubernetes_its_events() {
    let scene = Scene::new().await;
    let id = scene.id("phases");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": "busyhttpd" })).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let explained = await_condition("the proxy knows the way", LIMIT, || async {
        let explained = scene.alice.get(&format!("/v3/pods/{id}/explain")).await.result();
        let routed = explained["phases"].as_array().unwrap().iter().any(|phase| phase["name"] == "routed");
        if routed { Ok(explained) } else { Err(explained.to_string()) }
    })
    .await;
    for name in ["accepted", "taken", "created", "scheduled", "started", "ready", "routed"] {
        let reached = explained["phases"].as_array().unwrap().iter().any(|phase| phase["name"] == name);
        assert!(reached, "{name} of {explained}");
    }
    assert_eq!((&explained["code"], &explained["who_can_act"]), (&json!("running"), &json!("nobody")));
    await_condition("the kubelet's events are shown", LIMIT, || async {
        let found = scene.alice.get(&format!("/v3/pods/{id}/events")).await.result();
        let started = found["events"].as_array().unwrap().iter().any(|event| event["reason"] == "Started");
        if started { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}
