//! Logs of containers and action logs.

use integration_tests::{Scene, await_condition, wait::LIMIT};
use serde_json::json;

#[tokio::test]
async fn a_container_that_lives_one_second_leaves_its_whole_log() {
    let scene = Scene::new().await;
    let id = scene.shell("onesecond", "echo first; sleep 1; echo problem >&2; echo last").await;
    let pod = scene.alice.await_status(&id, "COMPLETE").await;
    assert_eq!(pod["status_container"]["exit_code"], 0, "{pod}");
    assert_eq!(sorted(&scene.alice.logs(&id).await), ["first", "last", "problem"]);
}

#[tokio::test]
async fn a_container_that_ends_at_once_leaves_its_log() {
    let scene = Scene::new().await;
    let id = scene.shell("atonce", "echo that was it").await;
    scene.alice.await_status(&id, "COMPLETE").await;
    assert_eq!(scene.alice.logs(&id).await, "that was it\n");
}

#[tokio::test]
async fn a_long_log_of_a_short_life_is_complete() {
    let scene = Scene::new().await;
    // Without the second at the end containerd itself loses what a container wrote in its last moment.
    let id = scene.shell("longlog", "seq 1 20000; sleep 1").await;
    scene.alice.await_status(&id, "COMPLETE").await;
    let log = scene.alice.logs(&id).await;
    let wrong = log.lines().zip(1..).find(|(line, number)| *line != number.to_string());
    assert_eq!(wrong, None, "the first line that is not its number");
    assert_eq!(log.lines().count(), 20_000);
}

#[tokio::test]
async fn a_failed_container_leaves_its_log_and_its_exit_code() {
    let scene = Scene::new().await;
    let id = scene.shell("fails", "echo it broke; exit 3").await;
    let pod = scene.alice.await_status(&id, "ERROR").await;
    assert_eq!(pod["status_container"]["exit_code"], 3, "{pod}");
    assert!(pod["status_container"]["message"].as_str().unwrap().contains('3'), "{pod}");
    assert_eq!(scene.alice.logs(&id).await, "it broke\n");
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    scene.cluster.await_nothing_of(&id).await;
    assert_eq!(scene.alice.logs(&id).await, "it broke\n", "kept until the next start");
}

#[tokio::test]
async fn the_last_lines_of_a_stopped_pod_are_there_until_its_next_start() {
    let scene = Scene::new().await;
    // The trap comes first: a first process without one ignores SIGTERM. The shell runs its trap when the current sleep
    // ends.
    let script = "trap 'echo going; echo gone; exit 0' TERM; echo up $START; sleep 3; echo on; \
                  while :; do sleep 0.1; done";
    let id = scene.id("lastlines");
    let body = json!({ "pod_id": id, "image": "busybox", "command": ["sh", "-c", script],
        "environment_variables": { "START": "one" } });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    await_log(&scene, &id, "up one\non\n").await;
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    assert_eq!(scene.alice.logs(&id).await, "up one\non\ngoing\ngone\n");

    let change = json!({ "environment_variables": { "START": "two" } });
    scene.alice.put(&format!("/v3/pods/{id}"), change).await.result();
    assert_eq!(scene.alice.logs(&id).await, "up one\non\ngoing\ngone\n");
    scene.alice.act(&id, "start").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    await_log(&scene, &id, "up two\n").await;
}

/// The container has only just been seen running.
#[tokio::test]
async fn the_last_lines_of_a_pod_that_is_stopped_at_once_are_there() {
    let scene = Scene::new().await;
    let id = scene.shell("atoncestop", &until_term("echo going; echo gone")).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    await_log(&scene, &id, "up\n").await;
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    assert_eq!(scene.alice.logs(&id).await, "up\ngoing\ngone\n");
}

/// Old kubelets look every two seconds for what they take for leftovers: of several pods one is looked at in its grace.
#[tokio::test]
async fn a_container_has_its_whole_grace_period_to_end() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(scene.shell("grace", &until_term("echo going; sleep 1.4; echo gone")).await);
    }
    for id in &ids {
        scene.alice.await_status(id, "AVAILABLE").await;
        await_log(&scene, id, "up\n").await;
    }
    for id in &ids {
        scene.alice.act(id, "stop").await;
    }
    for id in &ids {
        scene.alice.await_status(id, "STOPPED").await;
        assert_eq!(scene.alice.logs(id).await, "up\ngoing\ngone\n");
    }
}

#[tokio::test]
async fn a_restart_keeps_the_last_lines_as_a_run_and_a_stream_goes_on_over_it() {
    let scene = Scene::new().await;
    let id = scene.shell("runs", &until_term("echo gone")).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let mut stream = Follow::open(&scene, &id, "").await;
    stream.until("event: log\ndata: up\n").await;
    let first = stream.last_id();
    scene.alice.act(&id, "restart").await;
    stream.until("\"run_index\":2").await;
    let second = &stream.text[stream.text.find("\"run_index\":2").unwrap()..];
    assert!(stream.text.contains("data: gone\n"), "{}", stream.text);
    assert!(!second.contains("gone"), "{second}");
    stream.until_after("\"run_index\":2", "data: up\n").await;
    // Somebody who was away meanwhile.
    let mut late = Follow::open(&scene, &id, &first).await;
    late.until_after("\"run_index\":2", "data: up\n").await;
    assert!(
        late.text.contains("data: gone\n") && late.text.matches("data: up\n").count() == 1,
        "{}",
        late.text
    );

    scene.alice.await_status(&id, "AVAILABLE").await;
    let runs = scene.alice.get(&format!("/v3/pods/{id}/log-runs")).await.result();
    let shown: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["run_index"].as_i64(), run["is_active"].as_bool()))
        .collect();
    assert_eq!(shown, [(Some(2), Some(true)), (Some(1), Some(false))]);
    let first = scene.alice.get(&format!("/v3/pods/{id}/log-runs/1?tail=1")).await.result();
    assert_eq!(first["logs"], "gone\n");
    let file = scene.alice.get(&format!("/v3/pods/{id}/log-runs/1?download=true")).await;
    assert_eq!((file.code, file.body), (200, json!("up\ngone\n")));
}

#[tokio::test]
async fn a_long_line_has_no_times_in_it() {
    let scene = Scene::new().await;
    let id = scene.shell("longline", "head -c 50000 /dev/zero | tr '\\0' x; echo; sleep 1").await;
    scene.alice.await_status(&id, "COMPLETE").await;
    assert_eq!(scene.alice.logs(&id).await, "x".repeat(50_000) + "\n");
}

/// A script that says when it runs and what it does when it is told to end.
fn until_term(end: &str) -> String {
    format!("trap '{end}; exit 0' TERM; echo up; while :; do sleep 0.1; done")
}

/// A stream of a log, read as text.
struct Follow {
    response: reqwest::Response,
    text: String,
}

impl Follow {
    async fn open(scene: &Scene, id: &str, after: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let address = format!("{}/v3/pods/{id}/logs?follow=true", scene.env.base_url);
        let request =
            http.get(address).header("X-Tapis-Token", &scene.alice.token).header("Last-Event-ID", after);
        let response = request.send().await.expect("the API answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    async fn until(&mut self, wanted: &str) {
        self.until_after("", wanted).await;
    }

    async fn until_after(&mut self, before: &str, wanted: &str) {
        let there = |text: &str| text.split_once(before).is_some_and(|(_, rest)| rest.contains(wanted));
        while !there(&self.text) {
            let piece = tokio::time::timeout(LIMIT, self.response.chunk()).await;
            let piece = piece.unwrap_or_else(|_| panic!("no {wanted:?} in {}", self.text));
            let piece = piece.expect("the stream can be read");
            self.text += std::str::from_utf8(&piece.expect("the stream ended")).expect("the stream is text");
        }
    }

    fn last_id(&self) -> String {
        let id = self.text.rsplit("id: ").next().and_then(|rest| rest.lines().next());
        id.expect("there was an event").to_owned()
    }
}

#[tokio::test]
async fn the_log_of_a_running_container_grows() {
    let scene = Scene::new().await;
    let id = scene.shell("grows", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    for wanted in ["line 3\n", "line 12\n"] {
        let log = await_condition(&format!("the log contains {wanted:?}"), LIMIT, || async {
            let log = scene.alice.logs(&id).await;
            if log.contains(wanted) { Ok(log) } else { Err(log) }
        })
        .await;
        for (at, line) in log.lines().enumerate() {
            assert_eq!(line, format!("line {}", at + 1), "nothing missing, nothing twice:\n{log}");
        }
    }
}

#[tokio::test]
async fn the_action_log_says_who_did_what() {
    let scene = Scene::new().await;
    let id = scene.httpd("actions").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    scene.alice.put(&format!("/v3/pods/{id}"), json!({ "description": "new" })).await.result();
    scene.alice.grant(&id, "bob", "ADMIN").await;
    scene.bob.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;

    let lines = scene.alice.action_logs(&id).await;
    for line in &lines {
        // YY/MM/DD HH:MM: text
        let (time, text) = line.split_at(16);
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "00/00/00 00:00: ", "{line}");
        assert!(!text.is_empty(), "{line}");
    }
    let text = lines.join("\n");
    for (who, what) in [("alice", "created"), ("alice", "description"), ("alice", "bob"), ("bob", "stop")] {
        let found = lines.iter().any(|line| line.contains(who) && line.contains(what));
        assert!(found, "no line with {who} and {what}:\n{text}");
    }
}

async fn await_log(scene: &Scene, id: &str, wanted: &str) {
    await_condition(&format!("the log of {id} is {wanted:?}"), LIMIT, || async {
        let log = scene.alice.logs(id).await;
        if log == wanted { Ok(()) } else { Err(log) }
    })
    .await;
}

fn sorted(log: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    lines
}
