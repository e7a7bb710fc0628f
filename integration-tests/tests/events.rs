//! The stream of events, through Traefik.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use integration_tests::{
    Scene,
    events::{Event, EventStream},
    wait::LIMIT,
};
use serde_json::json;

const PATH: &str = "/v3/pods/events";

/// The next event of a pod, within the limit.
async fn next_of(stream: &mut EventStream, pod_id: &str) -> Event {
    let wait = async {
        loop {
            let event = stream.next().await.expect("the stream goes on");
            if event.data["pod_id"] == pod_id {
                return event;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("nothing is said of {pod_id}"))
}

/// Reads until the pod is in a status; what is said on the way comes in order.
async fn until(stream: &mut EventStream, pod_id: &str, status: &str) {
    let mut revision = 0;
    loop {
        let event = next_of(stream, pod_id).await;
        assert_eq!(event.name, "pod", "{event:?}");
        let next = event.data["revision"].as_i64().expect("a number");
        assert!(next >= revision, "{next} after {revision}");
        revision = next;
        assert!(event.data["status"] != "ERROR", "{event:?}");
        if event.data["status"] == status {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_is_cut_off_again_and_again_hears_of_a_whole_life() {
    let scene = Scene::new().await;
    let mut stream =
        EventStream::open(&scene.env, &scene.alice, &format!("{PATH}?snapshot=true")).await.unwrap();
    let mut bobs = EventStream::open(&scene.env, &scene.bob, PATH).await.unwrap();
    // Only a complete snapshot has an id to come back with.
    while stream.last_id.is_none() {
        stream.next().await.unwrap();
    }
    let id = scene.httpd("events").await;
    assert_eq!(next_of(&mut stream, &id).await.name, "pod");
    stream.cut();
    until(&mut stream, &id, "AVAILABLE").await;
    stream.cut();
    scene.alice.act(&id, "stop").await;
    until(&mut stream, &id, "STOPPED").await;
    scene.alice.grant(&id, "bob", "READ").await;
    assert_eq!(next_of(&mut bobs, &id).await.data["status"], "STOPPED", "the first that bob hears of it");
    stream.cut();
    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    while next_of(&mut stream, &id).await.name != "pod_deleted" {}
    assert_eq!(next_of(&mut bobs, &id).await.name, "pod_deleted");
    assert!(stream.opened >= 4, "it came back each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_shows_events_as_they_happen() {
    let scene = Scene::new().await;
    let id = scene.id("curl");
    let mut curl = Command::new("curl")
        .args(["--silent", "--no-buffer", "--include", "--max-time", "120", "--compressed"])
        .args(["--header", &format!("X-Tapis-Token: {}", scene.alice.token)])
        .arg(format!("{}{PATH}?pod_id={id}", scene.env.base_url))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let output = curl.stdout.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let find = |wanted: &str| loop {
        let line = lines.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("no {wanted}"));
        if line.contains(wanted) {
            return line;
        }
    };
    // Neither the service nor Traefik waits for more: the head and the first comment are here before any event.
    tokio::task::block_in_place(|| {
        find("200 OK");
        find("text/event-stream");
        find(": open");
    });
    let begun = Instant::now();
    scene
        .create(&scene.alice, json!({ "pod_id": id, "image": "busyhttpd", "status_requested": "OFF" }))
        .await;
    let data = tokio::task::block_in_place(|| find("data: "));
    assert!(data.contains(&format!("\"pod_id\":\"{id}\"")) && data.contains("STOPPED"), "{data}");
    assert!(begun.elapsed() < Duration::from_secs(15), "with a heartbeat: {:?}", begun.elapsed());
    curl.kill().expect("curl runs");
    curl.wait().expect("curl ends");
}

#[tokio::test]
async fn what_cannot_be_resumed_is_refused_with_the_way_on() {
    let scene = Scene::new().await;
    let future = scene.alice.get(&format!("{PATH}?cursor=900000000000-1")).await.refused(410);
    assert!(future.contains("snapshot=true") && future.contains("X-Pods-Cursor"), "{future}");
    assert!(scene.alice.get(&format!("{PATH}?cursor=no")).await.refused(400).contains("cursor"));
}
