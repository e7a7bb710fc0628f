//! The API server of Kubernetes is away while pods are started and stopped.

use std::time::{Duration, Instant};

use integration_tests::{Scene, cluster::runs, env::short, process::Outage};
use kube::ResourceExt;
use serde_json::json;

/// What the test does something with.
struct Pods {
    /// To start.
    off: Vec<String>,
    /// To stop.
    stop: Vec<String>,
    /// To leave alone.
    stay: Vec<String>,
    restart: String,
    /// To delete.
    gone: String,
}

impl Pods {
    /// Pods that are off, and others that run.
    async fn create(scene: &Scene) -> Self {
        let mut off = Vec::new();
        for _ in 0..3 {
            let id = scene.id("tostart");
            scene
                .create(
                    &scene.alice,
                    json!({ "pod_id": id, "image": "busyhttpd", "status_requested": "OFF" }),
                )
                .await;
            off.push(id);
        }
        let (mut stop, mut stay) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            stop.push(scene.httpd("tostop").await);
            stay.push(scene.httpd("stay").await);
        }
        let restart = scene.httpd("torestart").await;
        let gone = scene.httpd("todelete").await;
        for id in stop.iter().chain(&stay).chain([&restart, &gone]) {
            scene.alice.await_status(id, "AVAILABLE").await;
        }
        Self { off, stop, stay, restart, gone }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_nothing_is_concluded_and_all_converges_after() {
    let scene = Scene::new().await;
    let away = Duration::from_secs(if short() { 15 } else { 60 });
    let Pods { off, stop, stay, restart, gone } = Pods::create(&scene).await;
    let mut before = Vec::new();
    for id in &stay {
        before.push((
            scene.alice.pod(id).await["start_instance_ts"].clone(),
            scene.cluster.pod_of(id).await.uid(),
        ));
    }
    let host = scene.env.pod_host(&stay[0], "default");
    scene.visitor.await_page(&host, "/", 200, "It works").await;

    // Some requests are under way when it goes, some come while it is away.
    scene.alice.act(&off[0], "start").await;
    scene.alice.act(&stop[0], "stop").await;
    let outage = Outage::stop(&scene.env, "kube-apiserver");
    let begun = Instant::now();
    for id in &off[1..] {
        scene.alice.act(id, "start").await;
    }
    for id in &stop[1..] {
        scene.alice.act(id, "stop").await;
    }
    scene.alice.act(&restart, "restart").await;
    let created = scene.httpd("created").await;
    scene.alice.delete(&format!("/v3/pods/{gone}")).await.result();
    while begun.elapsed() < away {
        for id in off[1..].iter().chain([&created]) {
            let pod = scene.alice.pod(id).await;
            let status = pod["status"].as_str().unwrap();
            assert!(matches!(status, "REQUESTED" | "SPAWNING"), "{id} waits, it is {pod}");
        }
        for id in &stop[1..] {
            assert_eq!(
                scene.alice.pod(id).await["status"],
                "SHUTTING_DOWN",
                "nobody knows that {id} is gone"
            );
        }
        for id in &stay {
            assert_eq!(scene.alice.pod(id).await["status"], "AVAILABLE", "{id} runs");
        }
        let pod = scene.alice.pod(&off[0]).await;
        assert_ne!(pod["status"], "ERROR", "its start was under way: {pod}");
        assert_eq!(scene.visitor.https(&host, "/").await.code, 200, "visitors notice nothing");
    }
    let why = scene.alice.pod(&created).await["status_container"].clone();
    assert_eq!(why["code"], "kubernetes_unreachable", "the pod says what it waits for: {why}");
    outage.end();

    let limit = Duration::from_secs(120);
    for id in off.iter().chain([&restart, &created]) {
        scene.alice.await_status_within(id, "AVAILABLE", limit).await;
        let pods = scene.cluster.pods_of(id).await;
        assert!(pods.len() == 1 && runs(&pods[0]), "{id} has {} Pods", pods.len());
    }
    for id in &stop {
        scene.alice.await_status_within(id, "STOPPED", limit).await;
        scene.cluster.await_nothing_of(id).await;
    }
    scene.cluster.await_nothing_of(&gone).await;
    for (id, (started, uid)) in stay.iter().zip(before) {
        let pod = scene.alice.pod(id).await;
        assert_eq!((&pod["status"], &pod["start_instance_ts"]), (&json!("AVAILABLE"), &started), "{id}");
        assert_eq!(scene.cluster.pod_of(id).await.uid(), uid, "{id} is the same Kubernetes Pod");
    }
}
