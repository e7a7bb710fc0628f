//! How long after its container runs a pod is AVAILABLE for its users, and what a start costs beside a bare Pod's.
//!
//! An independent watch of this program sees the container running; the stream of events of the API, through Traefik,
//! tells of AVAILABLE. A stream has less delay of its own than asking again and again, and what it tells is what a request
//! sees from then on: each time one is made and must say so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use integration_tests::{Cluster, Scene, cluster::runs, events::EventStream, scene::BUSYBOX};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
    runtime::watcher,
};
use pods_kube::labels;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    numbers::{judge, percentile},
    pod_start::{bare, is_ready},
};

const LIMIT: Duration = Duration::from_secs(60);
/// Milliseconds from running to AVAILABLE.
pub const P50: f64 = 100.0;
pub const P99: f64 = 500.0;
/// The median start against that of a bare Pod.
const RATIO: f64 = 1.15;

/// When something was seen first.
#[derive(Clone)]
pub struct Seen(Arc<Inner>);

struct Inner {
    /// By `<what> <name>`.
    times: Mutex<HashMap<String, Instant>>,
    changed: watch::Sender<()>,
}

impl Seen {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner { times: Mutex::default(), changed: watch::channel(()).0 }))
    }

    fn note(&self, what: &str, name: &str) {
        let now = Instant::now();
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.entry(format!("{what} {name}")).or_insert(now);
        drop(times);
        self.0.changed.send_replace(());
    }

    fn at(&self, what: &str, name: &str) -> Option<Instant> {
        let times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(&format!("{what} {name}")).copied()
    }

    /// Waits for it.
    pub async fn when(&self, what: &str, name: &str) -> Result<Instant> {
        let mut changed = self.0.changed.subscribe();
        let wait = async {
            loop {
                if let Some(at) = self.at(what, name) {
                    return Ok(at);
                }
                if self.at("failed", name).is_some() {
                    bail!("{name} failed");
                }
                changed.changed().await?;
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .with_context(|| format!("{name} is not {what} within a minute"))?
    }
}

/// Milliseconds of a pair.
struct Pair {
    /// `POST /pods` to AVAILABLE.
    product: f64,
    /// Creation of the bare Pod to Ready.
    bare: f64,
    /// From the running container to AVAILABLE.
    status: f64,
}

/// Runs the bench; answers whether all targets are met.
pub async fn run(starts: usize, parallel: usize) -> Result<bool> {
    ensure!(starts > 0 && parallel > 0, "at least one start is needed");
    let scene = Scene::new().await;
    let seen = Seen::new();
    let events = EventStream::open(&scene.env, &scene.alice, "/v3/pods/events").await?;
    let hearing = tokio::spawn(hear(events, seen.clone()));
    let looking = tokio::spawn(look(scene.cluster.clone(), seen.clone()));

    let warm = scene.id("warm");
    start(&scene, &seen, &warm).await?;
    let template = bare(&scene.cluster.pod_of(&warm).await);
    remove(&scene, &warm).await;

    let all = futures::stream::iter(0..starts).map(|number| pair(&scene, &seen, &template, number));
    let pairs: Vec<Pair> = all.buffer_unordered(parallel).try_collect().await?;
    hearing.abort();
    looking.abort();
    Ok(report(&pairs, parallel))
}

/// Milliseconds from the running container to AVAILABLE of one start after the other, as long as there is reason to go on.
pub async fn statuses(scene: &Scene, go_on: impl Fn() -> bool) -> Result<Vec<f64>> {
    let seen = Seen::new();
    let events = EventStream::open(&scene.env, &scene.alice, "/v3/pods/events").await?;
    let hearing = tokio::spawn(hear(events, seen.clone()));
    let looking = tokio::spawn(look(scene.cluster.clone(), seen.clone()));
    let mut statuses = Vec::new();
    while go_on() {
        let id = scene.id("bench");
        statuses.push(start(scene, &seen, &id).await?.1);
        remove(scene, &id).await;
    }
    hearing.abort();
    looking.abort();
    Ok(statuses)
}

fn report(pairs: &[Pair], parallel: usize) -> bool {
    println!("{} starts, {parallel} at a time", pairs.len());
    let column = |of: fn(&Pair) -> f64| pairs.iter().map(of).collect::<Vec<_>>();
    let (product, bare, status) = (column(|p| p.product), column(|p| p.bare), column(|p| p.status));
    for (what, values) in [
        ("bare create -> Ready", &bare),
        ("POST /pods -> AVAILABLE", &product),
        ("container running -> AVAILABLE", &status),
    ] {
        let at = |percent| percentile(values, percent);
        println!(
            "{what}: median {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, {:.0} to {:.0} ms",
            at(50.0),
            at(90.0),
            at(99.0),
            at(0.0),
            at(100.0)
        );
    }
    let ratio = percentile(&product, 50.0) / percentile(&bare, 50.0);
    let p50 = judge("status latency, p50", percentile(&status, 50.0), P50, "ms");
    let p99 = judge("status latency, p99", percentile(&status, 99.0), P99, "ms");
    judge("median start over that of a bare Pod", ratio, RATIO, "times") && p50 && p99
}

/// A start and that of a bare Pod. The order changes, so that neither always finds the node as the other left it.
async fn pair(scene: &Scene, seen: &Seen, template: &Pod, number: usize) -> Result<Pair> {
    let id = scene.id("bench");
    let name = format!("bench-{id}");
    let ((product, status), bare) = if number.is_multiple_of(2) {
        let bare = bare_start(&scene.cluster, seen, template, &name).await?;
        (start(scene, seen, &id).await?, bare)
    } else {
        (start(scene, seen, &id).await?, bare_start(&scene.cluster, seen, template, &name).await?)
    };
    remove(scene, &id).await;
    Ok(Pair { product, bare, status })
}

/// Milliseconds from `POST /pods` to AVAILABLE, and from the running container to it.
async fn start(scene: &Scene, seen: &Seen, id: &str) -> Result<(f64, f64)> {
    let body = json!({
        "pod_id": id, "image": BUSYBOX, "description": "a pod of the bench",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"],
    });
    let begun = Instant::now();
    scene.try_create(&scene.alice, body).await.result();
    let available = seen.when("available", id).await?;
    let pod: Value = scene.alice.pod(id).await;
    ensure!(pod["status"] == "AVAILABLE", "{id} was told to be AVAILABLE and is shown as {}", pod["status"]);
    let running = seen.when("running", id).await?;
    let status = match available.checked_duration_since(running) {
        Some(after) => after.as_secs_f64(),
        // The stream was quicker than this program's own watch.
        None => -running.duration_since(available).as_secs_f64(),
    };
    Ok((available.duration_since(begun).as_secs_f64() * 1000.0, status * 1000.0))
}

async fn remove(scene: &Scene, id: &str) {
    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    scene.cluster.await_nothing_of(id).await;
}

/// Milliseconds from the creation of a bare Pod to Ready.
async fn bare_start(cluster: &Cluster, seen: &Seen, template: &Pod, name: &str) -> Result<f64> {
    let mut pod = template.clone();
    pod.metadata.name = Some(name.to_owned());
    let begun = Instant::now();
    cluster.pods.create(&PostParams::default(), &pod).await?;
    let ready = seen.when("ready", name).await;
    cluster.pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
    let taken = ready?.duration_since(begun).as_secs_f64() * 1000.0;
    seen.when("gone", name).await?;
    Ok(taken)
}

/// Notes what the API says of pods.
pub async fn hear(mut events: EventStream, seen: Seen) -> Result<()> {
    loop {
        let event = events.next().await?;
        let Some(id) = event.data["pod_id"].as_str() else { continue };
        match event.data["status"].as_str() {
            Some("AVAILABLE") => seen.note("available", id),
            Some("ERROR") => seen.note("failed", id),
            _ => {}
        }
    }
}

/// Notes what Kubernetes says of Pods.
async fn look(cluster: Cluster, seen: Seen) -> Result<()> {
    let mut events = watcher(cluster.pods.clone(), watcher::Config::default()).boxed();
    loop {
        match events.try_next().await?.context("the watch ended")? {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                if let Some(id) = pod.labels().get(labels::POD_ID)
                    && runs(&pod)
                {
                    seen.note("running", id);
                }
                if is_ready(&pod) {
                    seen.note("ready", &pod.name_any());
                }
            }
            watcher::Event::Delete(pod) => seen.note("gone", &pod.name_any()),
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
    }
}
