//! The spawner is killed in the middle of its work.

use std::time::Duration;

use futures::future;
use integration_tests::{Scene, await_condition, process::Outage, wait::LIMIT};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_spawning_twenty_pods_it_brings_all_up_and_none_twice() {
    let scene = Scene::new().await;
    let recorder = scene.cluster.record().await;
    let ids = future::join_all((0..20).map(|_| scene.httpd("twenty"))).await;
    let exist = || ids.iter().filter(|id| recorder.count(id) > 0).count();
    // Twice: early and when most of them exist.
    for wanted in [3, 14] {
        await_condition(&format!("{wanted} of the Pods exist"), LIMIT, || async {
            if exist() >= wanted { Ok(()) } else { Err(exist().to_string()) }
        })
        .await;
        Outage::kill_all(&scene.env, "pods-spawner").end();
    }
    for id in &ids {
        scene.alice.await_status_within(id, "AVAILABLE", Duration::from_secs(120)).await;
    }
    for id in &ids {
        assert_eq!(recorder.count(id), 1, "Kubernetes Pods of {id}");
        assert_eq!(scene.cluster.pods_of(id).await.len(), 1);
    }

    // The same while it stops them.
    future::join_all(ids.iter().map(|id| scene.alice.act(id, "stop"))).await;
    Outage::kill_all(&scene.env, "pods-spawner").end();
    for id in &ids {
        scene.alice.await_status_within(id, "STOPPED", Duration::from_secs(120)).await;
        scene.cluster.await_nothing_of(id).await;
        assert_eq!(recorder.count(id), 1, "Kubernetes Pods of {id}");
    }
}
