//! NATS is away, or delivers more than once and in the wrong order.

use integration_tests::{Scene, database, process::Outage, wakeups::WakeUps};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nats_a_pod_is_accepted_and_comes_up_later() {
    let scene = Scene::new().await;
    let running = scene.httpd("beforenats").await;
    scene.alice.await_status(&running, "AVAILABLE").await;
    let outage = Outage::stop(&scene.env, "nats");
    let created = scene.httpd("withoutnats").await;
    scene.alice.act(&running, "stop").await;
    // Deletions are accepted as well.
    let deleted = scene.httpd("deletedwithout").await;
    scene.alice.delete(&format!("/v3/pods/{deleted}")).await.result();
    assert_eq!(scene.alice.pod(&created).await["status"], "REQUESTED");
    assert_eq!(scene.alice.pod(&running).await["status"], "SHUTTING_DOWN");
    outage.end();
    scene.alice.await_status(&created, "AVAILABLE").await;
    scene.alice.await_status(&running, "STOPPED").await;
    scene.visitor.await_page(&scene.env.pod_host(&created, "default"), "/", 200, "It works").await;
    scene.cluster.await_nothing_of(&deleted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_that_come_three_times_and_out_of_order_make_one_pod() {
    let scene = Scene::new().await;
    let recorder = scene.cluster.record().await;
    let wake_ups = WakeUps::connect(&scene.env).await;

    let pause = Outage::pause_all(&scene.env, "pods-spawner");
    let id = scene.httpd("thrice").await;
    let uid = database::uid_of(&scene.env, &id).await;
    // What a pod's whole life would say, from its end to its beginning, three times.
    let reasons = ["delete", "objects gone", "stop", "restart", "start", "create"].repeat(3);
    wake_ups.send(uid, &reasons).await;
    pause.end();
    scene.alice.await_status(&id, "AVAILABLE").await;
    wake_ups.send(uid, &reasons).await;
    wake_ups.await_none_left().await;
    assert_eq!(scene.alice.pod(&id).await["status"], "AVAILABLE");
    assert_eq!(recorder.count(&id), 1, "one Kubernetes Pod");

    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    wake_ups.send(uid, &["create", "start", "restart", "create"]).await;
    wake_ups.await_none_left().await;
    assert_eq!(scene.alice.pod(&id).await["status"], "STOPPED");
    assert_eq!(scene.cluster.objects_of(&id).await, [""; 0]);
    assert_eq!(recorder.count(&id), 1, "one Kubernetes Pod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spawner_that_was_away_finds_what_was_asked_meanwhile() {
    let scene = Scene::new().await;
    let outage = Outage::stop_all(&scene.env, "pods-spawner");
    let id = scene.httpd("noone").await;
    let off = scene.httpd("nooneoff").await;
    scene.alice.act(&off, "stop").await;
    assert_eq!(scene.alice.pod(&id).await["status"], "REQUESTED");
    let body = json!({ "description": "while nobody worked" });
    scene.alice.put(&format!("/v3/pods/{id}"), body).await.result();
    outage.end();
    scene.alice.await_status(&id, "AVAILABLE").await;
    scene.alice.await_status(&off, "STOPPED").await;
    scene.cluster.await_nothing_of(&off).await;
}
