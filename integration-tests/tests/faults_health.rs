//! Every replica of health is killed at once.

use std::time::Duration;

use integration_tests::{Scene, await_condition, process::Outage, wait::LIMIT};
use kube::ResourceExt;

/// Leases of a killed replica run out before another one takes its share.
const TAKEOVER: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_it_loses_no_status_and_restarts_no_pod() {
    let scene = Scene::new().await;
    let running = scene.httpd("goeson").await;
    let logging = scene.shell("logging", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done").await;
    let ending = scene.shell("ending", "echo begin; sleep 6; echo end").await;
    let vanishing = scene.httpd("vanishing").await;
    let mut before = Vec::new();
    for id in [&running, &logging, &ending, &vanishing] {
        before.push(scene.alice.await_status(id, "AVAILABLE").await);
    }
    let uid = scene.cluster.pod_of(&running).await.uid();

    let outage = Outage::kill_all(&scene.env, "pods-health");
    let new = scene.httpd("meanwhile").await;
    let stopping = scene.httpd("stopping").await;
    scene.cluster.await_phase(&new, "Running").await;
    scene.cluster.await_phase(&stopping, "Running").await;
    scene.alice.act(&stopping, "stop").await;
    scene.cluster.delete_by_hand(&vanishing).await;
    scene.cluster.await_phase(&ending, "Succeeded").await;
    scene.cluster.await_no_pods_of(&vanishing).await;
    assert_eq!(scene.alice.pod(&running).await["status"], "AVAILABLE");
    outage.end();

    let ended = scene.alice.await_status_within(&ending, "COMPLETE", TAKEOVER).await;
    assert_eq!(ended["status_container"]["exit_code"], 0);
    assert_eq!(scene.alice.logs(&ending).await, "begin\nend\n");
    scene.alice.await_status_within(&new, "AVAILABLE", TAKEOVER).await;
    scene.alice.await_status_within(&stopping, "STOPPED", TAKEOVER).await;
    await_condition("the vanished pod is back", TAKEOVER, || async {
        let (pod, pods) = (scene.alice.pod(&vanishing).await, scene.cluster.pods_of(&vanishing).await);
        if pod["status"] == "AVAILABLE" && pods.len() == 1 { Ok(()) } else { Err(pod["status"].to_string()) }
    })
    .await;
    let pod = scene.alice.pod(&running).await;
    assert_eq!(pod["status"], "AVAILABLE");
    assert_eq!(pod["start_instance_ts"], before[0]["start_instance_ts"]);
    assert_eq!(scene.cluster.pod_of(&running).await.uid(), uid, "the same Kubernetes Pod");
    await_log_without_gaps(&scene, &logging).await;
}

/// Waits until the log has grown beyond what is stored now; every line is there once.
async fn await_log_without_gaps(scene: &Scene, id: &str) {
    let stored = scene.alice.logs(id).await.lines().count();
    await_condition(&format!("the log of {id} grows beyond {stored} lines"), LIMIT, || async {
        let log = scene.alice.logs(id).await;
        let lines: Vec<&str> = log.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("line {}", at + 1), "nothing missing, nothing twice in {id}:\n{log}");
        }
        if lines.len() > stored + 3 { Ok(()) } else { Err(format!("{} lines", lines.len())) }
    })
    .await;
}
