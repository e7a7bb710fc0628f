//! Starts that cannot succeed: ERROR with the cluster's reason, and nothing left running.

use integration_tests::{Scene, registry::EmptyRegistry};
use serde_json::{Value, json};

async fn stops_cleanly(scene: &Scene, id: &str) {
    // ERROR leaves nothing running, even before anybody stops the pod.
    scene.cluster.await_no_pods_of(id).await;
    scene.alice.act(id, "stop").await;
    let pod = scene.alice.await_status(id, "STOPPED").await;
    assert_eq!(pod["status_container"], json!({}), "{pod}");
    scene.cluster.await_nothing_of(id).await;
}

fn reason(pod: &Value) -> (String, String) {
    let text = |key: &str| pod["status_container"][key].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

#[tokio::test]
async fn an_image_that_the_registry_does_not_have() {
    let registry = EmptyRegistry::start().await;
    let scene = Scene::new().await;
    let id = scene.id("noimage");
    scene.create(&scene.alice, json!({ "pod_id": id, "image": format!("{}:1", EmptyRegistry::IMAGE) })).await;
    let pod = scene.alice.await_status(&id, "ERROR").await;
    let (code, message) = reason(&pod);
    assert_eq!(code, "image_not_found", "{pod}");
    assert!(message.contains("not found") && message.contains(EmptyRegistry::IMAGE), "{message}");
    assert!(registry.requests() > 0, "the registry was asked");
    let told = scene.alice.action_logs(&id).await.iter().any(|line| line.contains("not found"));
    assert!(told, "the action log says why");
    stops_cleanly(&scene, &id).await;
}

#[tokio::test]
async fn resources_that_no_node_has() {
    let scene = Scene::new().await;
    let id = scene.too_large("toobig").await;
    assert_eq!(scene.alice.pod(&id).await["status"], "SPAWNING", "it may still find a place");
    let pod = scene.alice.await_status(&id, "ERROR").await;
    let (code, message) = reason(&pod);
    assert_eq!(code, "unschedulable", "{pod}");
    assert!(message.contains("Insufficient"), "{message}");
    assert_eq!(pod["status_requested"], "ON", "what the user wants is not changed by a failure");
    stops_cleanly(&scene, &id).await;
}

#[tokio::test]
async fn a_command_that_does_not_exist() {
    let scene = Scene::new().await;
    let id = scene.id("nocommand");
    scene
        .create(&scene.alice, json!({ "pod_id": id, "image": "busybox", "command": ["/no/such/program"] }))
        .await;
    let pod = scene.alice.await_status(&id, "ERROR").await;
    let (_, message) = reason(&pod);
    assert!(message.contains("/no/such/program"), "{pod}");
    stops_cleanly(&scene, &id).await;
}

#[tokio::test]
async fn an_error_is_repaired_by_an_update_and_a_start() {
    let scene = Scene::new().await;
    let id = scene.shell("repair", "exit 9").await;
    scene.alice.await_status(&id, "ERROR").await;
    let change = json!({ "command": ["sh", "-c", "echo repaired; sleep 1000"] });
    scene.alice.put(&format!("/v3/pods/{id}"), change).await.result();
    let pod = scene.alice.act(&id, "start").await;
    assert_eq!(pod["status"], "RESTARTING", "from ERROR a start acts as a restart");
    let running = integration_tests::await_condition("it runs", integration_tests::wait::LIMIT, || async {
        let pod = scene.alice.pod(&id).await;
        if pod["status"] == "AVAILABLE" { Ok(pod) } else { Err(pod.to_string()) }
    });
    assert_eq!(running.await["status_container"]["phase"], "Running");
}
