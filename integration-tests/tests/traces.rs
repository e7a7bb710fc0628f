//! One trace from the request of a user to the pod that runs, over three processes and NATS, as a collector sees it;
//! and processes that do not care whether a collector is there, and that end in an orderly way.

use std::{collections::BTreeSet, time::Duration};

use integration_tests::{
    Scene, await_condition, collector::Span, observed::Observed, scene::HTTPD, wait::LIMIT,
};
use reqwest::Method;
use serde_json::json;

/// What a caller sends who wants to choose the trace.
const FOREIGN: &str = "0af7651916cd43dd8448eb211c80319c";

fn has(span: &Span, attribute: &str, value: &str) -> bool {
    span.attributes.get(attribute).is_some_and(|found| found == value)
}

/// What the trace of a start must hold: process, name of the span, an attribute and its value.
const EXPECTED: [(&str, &str, &str, &str); 11] = [
    ("pods-api", "request", "operation", "create_pod"),
    ("pods-api", "store pod", "start", "true"),
    ("", "publish", "reason", "create"),
    ("pods-spawner", "wake-up", "reason", "create"),
    ("pods-spawner", "kubernetes list pods", "result", "ok"),
    ("pods-spawner", "status write", "to", "SPAWNING"),
    ("pods-spawner", "kubernetes create secrets", "result", "ok"),
    ("pods-spawner", "kubernetes create pods", "result", "ok"),
    ("pods-spawner", "kubernetes create services", "result", "ok"),
    ("pods-health", "record", "event", "running"),
    ("pods-health", "status write", "to", "AVAILABLE"),
];

fn is_expected(span: &Span, (service, name, attribute, value): (&str, &str, &str, &str)) -> bool {
    (service.is_empty() || span.service == service) && span.name == name && has(span, attribute, value)
}

/// The trace in which a pod was created, as soon as it is complete.
async fn trace_of(observed: &Observed<'_>, pod_id: &str) -> Vec<Span> {
    await_condition(&format!("the trace of {pod_id} is complete"), LIMIT, || async {
        let spans = observed.collector.spans();
        let stored = spans.iter().find(|span| span.name == "store pod" && has(span, "pod.id", pod_id));
        let Some(stored) = stored else { return Err("nothing was stored yet".to_owned()) };
        let trace: Vec<Span> = spans.iter().filter(|span| span.trace == stored.trace).cloned().collect();
        let missing: Vec<_> = EXPECTED
            .into_iter()
            .filter(|expected| !trace.iter().any(|span| is_expected(span, *expected)))
            .collect();
        if !missing.is_empty() {
            return Err(format!("{missing:?} are missing in {trace:?}"));
        }
        match of_one_piece(&trace) {
            true => Ok(trace),
            false => Err(format!("there is not one root, or something hangs in the air: {trace:?}")),
        }
    })
    .await
}

/// Whether there is one root and every other span's parent. A span is sent when it has ended, so after its children.
fn of_one_piece(trace: &[Span]) -> bool {
    let ids: BTreeSet<&str> = trace.iter().map(|span| span.id.as_str()).collect();
    let parents = || trace.iter().map(|span| span.parent.as_str());
    parents().filter(|parent| parent.is_empty()).count() == 1
        && parents().all(|parent| parent.is_empty() || ids.contains(parent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_one_trace_from_the_request_to_the_status() {
    let scene = Scene::new().await;
    let mut observed = Observed::start(&scene.env, "info").await;
    let id = scene.id("traced");
    let value = format!("value{}", scene.id(""));
    let body = json!({ "pod_id": id, "image": HTTPD, "environment_variables": { "A": value } });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let trace = trace_of(&observed, &id).await;

    let root = trace.iter().find(|span| span.parent.is_empty()).expect("there is one");
    assert!(has(root, "operation", "create_pod") && has(root, "status", "200"), "{root:?}");
    assert!(!observed.collector.text().contains(&value), "a value is in a trace");
    // The log lines of each process name the trace.
    let name = &trace[0].trace;
    for process in ["pods-spawner", "pods-health"] {
        let log = observed.log(process);
        let line = log.lines().find(|line| line.contains(name.as_str()));
        let line = line.unwrap_or_else(|| panic!("{process} logged nothing with trace {name}: {log}"));
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(line["trace.id"], name.as_str(), "{line}");
    }
    let pod = scene.cluster.pod_of(&id).await;
    let annotation = pod.metadata.annotations.unwrap_or_default()["tapis.io/traceparent"].clone();
    assert!(annotation.contains(name.as_str()), "{annotation}");

    // A caller does not choose what is recorded.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http
        .request(Method::GET, format!("{}/v3/pods/{id}", scene.env.base_url))
        .header("x-tapis-token", &scene.alice.token)
        .header("traceparent", format!("00-{FOREIGN}-b7ad6b7169203331-01"))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    await_condition("the request was recorded", LIMIT, || async {
        let spans = observed.collector.spans();
        let seen = spans.iter().any(|span| has(span, "operation", "get_pod") && has(span, "status", "200"));
        if seen { Ok(()) } else { Err(format!("{} spans", spans.len())) }
    })
    .await;
    assert!(observed.collector.spans().iter().all(|span| span.trace != FOREIGN));

    // Without a collector everything goes on, and what is not taken is counted.
    observed.collector.close();
    let id = scene.httpd("untraced").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    await_condition("dropped spans are counted", LIMIT, || async {
        let metrics = observed.metrics("pods-spawner").await;
        let dropped =
            metrics.lines().find(|line| line.starts_with("pods_trace_spans_total{result=\"dropped\"}"));
        let dropped = dropped.unwrap_or("no such metric").to_owned();
        if dropped.ends_with(" 0") || dropped.starts_with("no") { Err(dropped) } else { Ok(()) }
    })
    .await;
    for name in observed.names().collect::<Vec<_>>() {
        assert_eq!(observed.alive(name).await.as_deref(), Ok("ok\n"), "{name}");
    }

    // All of them end when they are asked to, with nobody listening to their last spans.
    for (name, ended) in observed.stop().await {
        let took = ended.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(took < Duration::from_secs(10), "{name} took {took:?} to stop");
        println!("{name} stopped within {took:?}");
    }
}
