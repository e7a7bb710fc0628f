//! What a user can look at: explanations, Kubernetes' events, earlier runs, parts of a log, and who may.

use std::time::Duration;

use integration_tests::{
    Caller, Scene, await_condition,
    env::{Env, TokenWish},
    wait::LIMIT,
};
use reqwest::Response;
use serde_json::{Value, json};

/// A request whose answer is read as it comes.
async fn open(env: &Env, token: &str, path: &str) -> Response {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
    let request = client.get(format!("{}{path}", env.base_url)).header("X-Tapis-Token", token);
    request.send().await.expect("the API answers")
}

/// Reads a stream until its text fulfils a condition.
async fn read_until(answer: &mut Response, what: &str, fine: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let reading = async {
        while !fine(&text) {
            let chunk = answer.chunk().await.expect("the stream goes on").expect("the stream does not end");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    let read = tokio::time::timeout(LIMIT, reading).await;
    assert!(read.is_ok(), "{what}: not within {} s; read so far:\n{text}", LIMIT.as_secs());
    text
}

async fn explain(caller: &Caller, id: &str) -> Value {
    caller.get(&format!("/v3/pods/{id}/explain")).await.result()
}

/// The lines of a part of a log.
async fn lines(caller: &Caller, path: &str) -> Vec<String> {
    let result = caller.get(path).await.result();
    let text = result["logs"].as_str().expect("logs is a text");
    text.lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn an_explanation_leads_from_a_typing_error_to_a_running_pod() {
    let scene = Scene::new().await;
    let id = scene.id("journey");
    let body = json!({ "pod_id": id, "image": "busyhttpd", "command": ["/bin/htppd", "-f", "-p", "5000", "-h", "/www"] });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "ERROR").await;
    let told = explain(&scene.alice, &id).await;
    assert_eq!((&told["code"], &told["who_can_act"]), (&json!("container_start"), &json!("you")), "{told}");
    assert!(told["message"].as_str().unwrap().contains("/bin/htppd"), "{told}");
    let call = &told["next_call"];
    assert_eq!((&call["method"], &call["path"]), (&json!("PUT"), &json!(format!("/v3/pods/{id}"))), "{told}");
    assert!(call["why"].as_str().unwrap().contains("command"), "{told}");

    let repaired = json!({ "command": ["/bin/httpd", "-f", "-p", "5000", "-h", "/www"] });
    scene.alice.put(call["path"].as_str().unwrap(), repaired).await.result();
    scene.alice.act(&id, "start").await;
    let told = await_condition("every phase of the start is told", LIMIT, || async {
        let told = explain(&scene.alice, &id).await;
        let phases = told["phases"].as_array().map_or(0, Vec::len);
        if told["status"] == "AVAILABLE" && phases == 8 { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!((&told["code"], &told["who_can_act"]), (&json!("running"), &json!("nobody")), "{told}");
    assert!(told["next_call"].is_null() && told["waiting_for"].is_null(), "{told}");
    let phases = told["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    let order = ["accepted", "taken", "created", "scheduled", "pulled", "started", "ready", "routed"];
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| order.iter().position(|known| known == name));
    assert_eq!(sorted, order, "{told}");

    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    let told = explain(&scene.alice, &id).await;
    assert_eq!(
        (&told["code"], &told["next_call"]["path"]),
        (&json!("stopped"), &json!(format!("/v3/pods/{id}/start")))
    );
}

#[tokio::test]
async fn who_may_read_a_pod_may_look_at_all_of_it_and_nobody_else() {
    let scene = Scene::new().await;
    let env = &scene.env;
    let id = scene.httpd("looked").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let other = env.other_tenant();
    let token = env.token(TokenWish { user: "alice", tenant: &other.id, ..TokenWish::default() });
    let elsewhere = Caller::new("alice of another tenant", &other.base_url, token);
    let nobody = scene.alice.with_token("");
    let paths = ["explain", "events", "log-runs", "logs?tail=1"].map(|rest| format!("/v3/pods/{id}/{rest}"));
    let known = scene.bob.get(&format!("/v3/pods/{id}")).await.code;
    for path in &paths {
        scene.alice.get(path).await.result();
        assert_eq!(scene.bob.get(path).await.code, known, "{path} for a stranger is as the pod itself");
        elsewhere.get(path).await.refused(404);
        nobody.get(path).await.refused(401);
    }
    nobody.get("/v3/pods/events").await.refused(401);

    scene.alice.grant(&id, "bob", "READ").await;
    for path in &paths {
        scene.bob.get(path).await.result();
    }
    let told = explain(&scene.bob, &id).await;
    assert_eq!(told["code"], "running", "{told}");
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    let told = explain(&scene.bob, &id).await;
    assert_eq!((&told["who_can_act"], &told["next_call"]), (&json!("owner"), &Value::Null), "{told}");
    assert_eq!(explain(&scene.alice, &id).await["who_can_act"], "you");

    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    for path in &paths {
        scene.alice.get(path).await.refused(404);
    }
}

#[tokio::test]
async fn the_events_of_kubernetes_are_shown_newest_first_and_as_many_as_asked_for() {
    let scene = Scene::new().await;
    let id = scene.id("kubeevents");
    let body = json!({ "pod_id": id, "image": "busybox", "command": ["sleep", "1000"],
        "environment_variables": { "WORD": "hidden-5d2c" },
        "volume_mounts": { "/etc/app.ini": { "type": "ephemeral", "config_content": "x=hidden-5d2c" } } });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let path = format!("/v3/pods/{id}/events");
    let told = await_condition("the start's events are told", LIMIT, || async {
        let told = scene.alice.get(&path).await.result();
        let started =
            told["events"].as_array().is_some_and(|all| all.iter().any(|e| e["reason"] == "Started"));
        if started { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    for key in ["pod_id", "k8_name", "status", "events", "ephemeral_configmaps"] {
        assert!(!told[key].is_null(), "{key} of {told}");
    }
    for event in told["events"].as_array().unwrap() {
        for key in ["type", "reason", "message", "count", "first_time", "last_time", "source"] {
            assert!(event.get(key).is_some(), "{key} of {event}");
        }
    }
    assert!(!told.to_string().contains("hidden-5d2c"), "{told}");
    let one = scene.alice.get(&format!("{path}?limit=1")).await.result();
    assert_eq!(one["events"].as_array().unwrap().len(), 1, "{one}");
    for limit in ["0", "501", "many", "-1"] {
        scene.alice.get(&format!("{path}?limit={limit}")).await.refused(400);
    }
}

#[tokio::test]
async fn every_run_is_kept_and_a_log_can_be_had_in_parts() {
    let scene = Scene::new().await;
    let id = scene.shell("runs", "for i in 1 2 3 4 5; do echo first $i; done; sleep 1000").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let logs = format!("/v3/pods/{id}/logs");
    await_condition("the first run's log", LIMIT, || async {
        let told = lines(&scene.alice, &logs).await;
        if told.len() == 5 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert_eq!(lines(&scene.alice, &format!("{logs}?tail=2")).await, ["first 4", "first 5"]);
    assert_eq!(lines(&scene.alice, &format!("{logs}?tail=100")).await.len(), 5);
    assert_eq!(lines(&scene.alice, &format!("{logs}?since=3600")).await.len(), 5);
    assert_eq!(lines(&scene.alice, &format!("{logs}?since=2099-01-01T00:00:00Z")).await, [""; 0]);
    for wrong in ["tail=-1", "tail=x", "since=yesterday", "follow=maybe"] {
        scene.alice.get(&format!("{logs}?{wrong}")).await.refused(400);
    }

    let change = json!({ "command": ["sh", "-c", "echo second; sleep 1000"] });
    scene.alice.put(&format!("/v3/pods/{id}"), change).await.result();
    scene.alice.act(&id, "restart").await;
    await_condition("the second run's log", LIMIT, || async {
        let told = lines(&scene.alice, &logs).await;
        if told == ["second"] { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let runs = format!("/v3/pods/{id}/log-runs");
    let listed = scene.alice.get(&runs).await.result();
    let listed = listed.as_array().expect("runs are a list").clone();
    let indexes: Vec<i64> = listed.iter().map(|run| run["run_index"].as_i64().unwrap()).collect();
    assert_eq!(indexes, [2, 1], "newest first: {listed:?}");
    assert_eq!(
        (&listed[0]["is_active"], &listed[0]["stopped_at"]),
        (&json!(true), &Value::Null),
        "{listed:?}"
    );
    assert_eq!(listed[1]["is_active"], false, "{listed:?}");
    for run in &listed {
        assert!(run["started_at"].is_string() && run["log_size_bytes"].is_i64(), "{run}");
        assert_eq!((&run["pod_id"], &run["archive_path"]), (&json!(id), &Value::Null), "{run}");
    }
    assert!(listed[1]["stopped_at"].is_string(), "{listed:?}");
    let first = lines(&scene.alice, &format!("{runs}/1")).await;
    assert_eq!(first, (1..=5).map(|i| format!("first {i}")).collect::<Vec<_>>());
    assert_eq!(lines(&scene.alice, &format!("{runs}/1?tail=1")).await, ["first 5"]);
    scene.alice.get(&format!("{runs}/3")).await.refused(404);
    for wrong in ["0", "-1", "x"] {
        let code = scene.alice.get(&format!("{runs}/{wrong}")).await.code;
        assert!(matches!(code, 400 | 404), "run {wrong}: {code}");
    }
    let file = open(&scene.env, &scene.alice.token, &format!("{runs}/1?download=true")).await;
    let header = |name: &str| file.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/plain"), "{}", header("content-type"));
    assert!(header("content-disposition").starts_with("attachment"), "{}", header("content-disposition"));
    assert_eq!(file.text().await.unwrap(), "first 1\nfirst 2\nfirst 3\nfirst 4\nfirst 5\n");
}

#[tokio::test]
async fn a_log_is_followed_over_a_restart_and_resumed_without_gap_or_repetition() {
    let scene = Scene::new().await;
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done";
    let id = scene.shell("followed", script).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let path = format!("/v3/pods/{id}/logs?follow=true");
    let mut stream = open(&scene.env, &scene.alice.token, &path).await;
    let kind = stream.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let text = read_until(&mut stream, "twenty lines are followed", |text| text.contains("line 20\n")).await;
    drop(stream);
    let told = |text: &str| -> Vec<String> {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|line| line.starts_with("line ")).map(ToOwned::to_owned).collect()
    };
    // Whole events only: a client takes an event when its empty line has come.
    let whole = &text[..text.rfind("\n\n").expect("an event has come") + 2];
    let before = told(whole);
    let cursor = whole.lines().rev().find_map(|line| line.strip_prefix("id: ")).expect("events have ids");
    let resumed = format!("{path}&cursor={cursor}");
    let mut stream = open(&scene.env, &scene.alice.token, &resumed).await;
    let next = format!("line {}", before.len() + 10);
    let text = read_until(&mut stream, "it goes on", |text| told(text).contains(&next)).await;
    let all: Vec<String> = before.into_iter().chain(told(&text)).collect();
    for (at, line) in all.iter().enumerate() {
        assert_eq!(*line, format!("line {}", at + 1), "nothing missing, nothing twice: {all:?}");
    }
    scene.alice.act(&id, "restart").await;
    read_until(&mut stream, "a new run is announced and followed from its beginning", |text| {
        let new = text.split_once("event: run");
        new.is_some_and(|(_, after)| told(after).first().is_some_and(|line| line == "line 1"))
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_events_tells_a_pods_life_and_ends_with_the_permission() {
    let scene = Scene::new().await;
    let id = scene.id("streamed");
    let mut stream = open(&scene.env, &scene.bob.token, &format!("/v3/pods/events?pod_id={id}")).await;
    assert!(stream.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    scene.create(&scene.alice, json!({ "pod_id": id, "image": "busyhttpd" })).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    scene.alice.grant(&id, "bob", "READ").await;
    let text = read_until(&mut stream, "bob sees the pod", |text| text.contains("AVAILABLE")).await;
    assert!(
        !text.contains("REQUESTED") && !text.contains("SPAWNING"),
        "nothing from before he might:\n{text}"
    );
    scene.alice.act(&id, "stop").await;
    read_until(&mut stream, "bob sees it stopped", |text| text.contains("STOPPED")).await;
    scene.alice.delete(&format!("/v3/pods/{id}/permissions/bob")).await.result();
    read_until(&mut stream, "bob is told that he does not see it any more", |text| {
        text.contains("pod_hidden")
    })
    .await;
    scene.alice.act(&id, "start").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    // The next thing that bob may see shows that nothing came before it.
    let other = scene.id("streamed");
    drop(stream);
    let mut stream = open(&scene.env, &scene.bob.token, "/v3/pods/events").await;
    scene
        .create(&scene.bob, json!({ "pod_id": other, "image": "busyhttpd", "status_requested": "OFF" }))
        .await;
    let text = read_until(&mut stream, "bob sees his own", |text| text.contains(&other)).await;
    assert!(!text.contains(&format!("\"{id}\"")), "alice's pod is hidden from bob:\n{text}");
    let idle = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await;
    assert!(matches!(idle, Ok(Ok(Some(_)))), "a comment comes at least every 15 s");
}
