//! Ways through a pod's life that the Quickstart does not take.

use integration_tests::{Scene, await_condition, cluster::runs, wait::LIMIT};
use kube::ResourceExt;
use serde_json::json;

#[tokio::test]
async fn environment_and_command_reach_the_container_and_the_pod_spec_has_no_value() {
    let scene = Scene::new().await;
    let id = scene.id("env");
    let body = json!({ "pod_id": id, "image": "busybox", "command": ["sh", "-c"],
        "arguments": ["echo \"$GREETING $0\" '$(GREETING)'; sleep 1000", "world"],
        "environment_variables": { "GREETING": "hello-7f3a" } });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    await_condition("its log", LIMIT, || async {
        let log = scene.alice.logs(&id).await;
        if log == "hello-7f3a world $(GREETING)\n" { Ok(()) } else { Err(log) }
    })
    .await;
    let spec = serde_json::to_string(&scene.cluster.pod_of(&id).await).unwrap();
    assert!(!spec.contains("hello-7f3a"), "{spec}");
}

#[tokio::test]
async fn an_update_counts_from_the_next_start() {
    let scene = Scene::new().await;
    let id = scene.shell("update", "echo old; sleep 1000").await;
    let before = scene.alice.await_status(&id, "AVAILABLE").await;
    let change = json!({ "command": ["sh", "-c", "echo new; sleep 1000"] });
    let pod = scene.alice.put(&format!("/v3/pods/{id}"), change.clone()).await.result();
    assert_eq!(pod["start_instance_ts"], before["start_instance_ts"], "the container goes on");
    let same = scene.alice.put(&format!("/v3/pods/{id}"), change).await;
    assert_eq!((same.code, &same.body["status"]), (200, &json!("error")), "a PUT that changes nothing");
    scene.alice.act(&id, "restart").await;
    await_condition("the new command's log", LIMIT, || async {
        let log = scene.alice.logs(&id).await;
        if log == "new\n" { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_was_deleted_by_hand_comes_back() {
    let scene = Scene::new().await;
    let id = scene.httpd("byhand").await;
    let before = scene.alice.await_status(&id, "AVAILABLE").await;
    let old = scene.cluster.pod_of(&id).await.uid();
    scene.cluster.delete_by_hand(&id).await;
    await_condition("another Pod runs", LIMIT, || async {
        let pods = scene.cluster.pods_of(&id).await;
        if pods.len() == 1 && pods[0].uid() != old && runs(&pods[0]) {
            Ok(())
        } else {
            Err(format!("{} Pods", pods.len()))
        }
    })
    .await;
    let pod = scene.alice.await_status(&id, "AVAILABLE").await;
    assert_eq!(pod["time_to_stop_ts"], before["time_to_stop_ts"], "the deadline of the user's start stays");
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 200, "It works").await;
}

#[tokio::test]
async fn stopping_twice_and_restarting_a_stopped_pod() {
    let scene = Scene::new().await;
    let id = scene.httpd("twice").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    scene.alice.act(&id, "stop").await;
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    scene.alice.act(&id, "stop").await;
    assert_eq!(scene.alice.pod(&id).await["status"], "STOPPED");
    scene.alice.act(&id, "restart").await;
    let pod = scene.alice.await_status(&id, "AVAILABLE").await;
    assert_eq!(pod["status_requested"], "ON");
    // POST is as good as GET, and further slashes do not matter.
    scene.alice.post(&format!("/v3//pods/{id}/stop/"), json!({})).await.result();
    scene.alice.await_status(&id, "STOPPED").await;
    scene.cluster.await_nothing_of(&id).await;
}
