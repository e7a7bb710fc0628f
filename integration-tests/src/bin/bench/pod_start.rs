//! What the product adds to the start of a container: pairs of a pod and a bare Pod with the same spec.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use integration_tests::{Cluster, Scene, scene::BUSYBOX};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
    runtime::watcher,
};
use serde_json::{Value, json};

use crate::numbers::{judge, percentile};

/// Pause between two looks at a pod.
const POLL: Duration = Duration::from_millis(3);
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the bench; answers whether both targets are met.
pub async fn run(pairs: usize) -> Result<bool> {
    ensure!(pairs > 0, "at least one pair is needed");
    let scene = Scene::new().await;
    // The first start pulls and warms; its Pod is what the bare ones are copied from.
    let id = scene.id("warm");
    start(&scene, &id).await?;
    let template = bare(&scene.cluster.pod_of(&id).await);
    remove(&scene, &id).await;
    bare_start(&scene.cluster, &template, "bench-warm").await?;

    let (mut product, mut plain) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let id = scene.id("bench");
        let name = format!("bench-{id}");
        // The order changes, so that neither always finds the node as the other left it.
        if pair % 2 == 0 {
            plain.push(bare_start(&scene.cluster, &template, &name).await?);
            product.push(start(&scene, &id).await?);
        } else {
            product.push(start(&scene, &id).await?);
            plain.push(bare_start(&scene.cluster, &template, &name).await?);
        }
        remove(&scene, &id).await;
        println!("pair {:>2}: bare {:>5.0} ms, product {:>5.0} ms", pair + 1, plain[pair], product[pair]);
    }
    let show = |what: &str, values: &[f64]| {
        let at = |percent| percentile(values, percent);
        println!(
            "{what}: median {:.0} ms, p95 {:.0} ms, {:.0} to {:.0} ms",
            at(50.0),
            at(95.0),
            at(0.0),
            at(100.0)
        );
    };
    show("bare create -> Ready", &plain);
    show("POST /pods -> AVAILABLE", &product);
    let overheads: Vec<f64> = product.iter().zip(&plain).map(|(product, plain)| product - plain).collect();
    show("overhead of a pair", &overheads);
    println!(
        "  difference of the medians {:.0} ms, of the p95s {:.0} ms",
        percentile(&product, 50.0) - percentile(&plain, 50.0),
        percentile(&product, 95.0) - percentile(&plain, 95.0)
    );
    let median = judge("median overhead", percentile(&overheads, 50.0), 250.0, "ms");
    let p95 = judge("p95 overhead", percentile(&overheads, 95.0), 500.0, "ms");
    Ok(median && p95)
}

/// Milliseconds from `POST /pods` to AVAILABLE seen by `GET /pods/{id}`.
async fn start(scene: &Scene, id: &str) -> Result<f64> {
    // Ends at once when it is asked to, so that a deletion does not wait for its grace.
    let body = json!({
        "pod_id": id, "image": BUSYBOX, "description": "a pod of the bench",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"],
    });
    let begun = Instant::now();
    scene.try_create(&scene.alice, body).await.result();
    loop {
        let pod: Value = scene.alice.pod(id).await;
        match pod["status"].as_str() {
            Some("AVAILABLE") => return Ok(begun.elapsed().as_secs_f64() * 1000.0),
            Some("ERROR") => bail!("pod {id} failed: {}", pod["status_container"]),
            _ => ensure!(begun.elapsed() < LIMIT, "pod {id} is not AVAILABLE within a minute: {pod}"),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn remove(scene: &Scene, id: &str) {
    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    scene.cluster.await_nothing_of(id).await;
}

/// The same spec without what the cluster filled in.
pub fn bare(pod: &Pod) -> Pod {
    let mut spec = pod.spec.clone().unwrap_or_default();
    spec.node_name = None;
    spec.service_account = None;
    spec.service_account_name = None;
    Pod { metadata: ObjectMeta::default(), spec: Some(spec), status: None }
}

/// Milliseconds from the creation of a bare Pod to Ready, seen by a watch that was there before.
async fn bare_start(cluster: &Cluster, template: &Pod, name: &str) -> Result<f64> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(cluster.pods.clone(), config).boxed();
    while !matches!(events.try_next().await?.context("the watch ended")?, watcher::Event::InitDone) {}
    let mut pod = template.clone();
    pod.metadata.name = Some(name.to_owned());
    let begun = Instant::now();
    cluster.pods.create(&PostParams::default(), &pod).await?;
    let ready = async {
        loop {
            match events.try_next().await?.context("the watch ended")? {
                watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) if is_ready(&pod) => {
                    return Ok(());
                }
                _ => {}
            }
        }
    };
    let seen: Result<()> =
        tokio::time::timeout(LIMIT, ready).await.context("a bare Pod is not ready within a minute")?;
    let taken = begun.elapsed().as_secs_f64() * 1000.0;
    cluster.pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
    seen?;
    let gone = async {
        loop {
            match events.try_next().await?.context("the watch ended")? {
                watcher::Event::Delete(pod) if pod.name_any() == name => return anyhow::Ok(()),
                _ => {}
            }
        }
    };
    tokio::time::timeout(LIMIT, gone).await.context("a bare Pod is not gone within a minute")??;
    Ok(taken)
}

/// Whether Kubernetes calls a Pod ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
