//! Logs: the current or last run, all runs that are kept, parts of them, and the live stream.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use pods_api::sse::StreamLimits;
use pods_core::transition::Event;
use pods_db::{logs::archive, pods::PodRow};
use reqwest::Method;
use serde_json::json;

use crate::{
    app::{Setup, TestApp},
    streams::Stream,
};

/// A pod of alice's whose container runs.
async fn running(app: &TestApp) -> PodRow {
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    app.happens("docpod", Event::Running).await
}

async fn run_again(app: &TestApp) -> PodRow {
    app.alice().get("/v3/pods/docpod/stop").await.ok();
    app.happens("docpod", Event::ObjectsGone).await;
    app.alice().get("/v3/pods/docpod/start").await.ok();
    app.happens("docpod", Event::SpawnBegun).await;
    app.happens("docpod", Event::Running).await
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_and_read_one_by_one() {
    let app = TestApp::start().await;
    let row = running(&app).await;
    app.write_log(&row, b"first\n").await;
    let row = run_again(&app).await;
    app.write_log(&row, b"second\nand more\n").await;

    let list = app.alice().get("/v3/pods/docpod/log-runs").await.ok();
    let shown: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["run_index"].as_i64(), run["is_active"].as_bool(), run["log_size_bytes"].as_i64()))
        .collect();
    assert_eq!(shown, [(Some(2), Some(true), Some(16)), (Some(1), Some(false), Some(6))]);
    assert_eq!((&list[0]["stopped_at"], &list[0]["archive_path"]), (&json!(null), &json!(null)));
    assert_eq!(list[0]["id"], json!(row.instance_id));
    assert_eq!((&list[1]["pod_id"], &list[1]["is_archived"]), (&json!("docpod"), &json!(false)));

    let first = app.alice().get("/v3/pods/docpod/log-runs/1").await.ok();
    assert_eq!((&first["logs"], &first["run_index"]), (&json!("first\n"), &json!(1)));
    let tail = app.alice().get("/pods/docpod/log-runs/2?tail=1").await.ok();
    assert_eq!(tail["logs"], "and more\n");
    assert_eq!(app.alice().get("/v3/pods/docpod/logs").await.ok()["logs"], "second\nand more\n");

    for missing in ["3", "0", "-1", "x", "99999999999"] {
        app.alice().get(&format!("/v3/pods/docpod/log-runs/{missing}")).await.is(404, "Log run");
    }
    app.bob().get("/v3/pods/docpod/log-runs").await.is(403, "READ");
    app.bob().get("/v3/pods/docpod/log-runs/1").await.is(403, "READ");
    app.other_alice().get("/v3/pods/docpod/log-runs").await.is(404, "docpod");
    app.alice().grant("docpod", "bob", "READ").await;
    app.bob().get("/v3/pods/docpod/log-runs/1").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_runs_read_like_others_and_download_as_a_file() {
    let app = TestApp::start().await;
    let row = running(&app).await;
    app.write_log(&row, "caf\u{e9}\nend\n".as_bytes()).await;
    let mut current = row.clone();
    for _ in 0..3 {
        current = run_again(&app).await;
    }
    let conn = &mut *app.conn().await;
    for run in archive::due(conn, Some(row.uid), 3, 10).await.unwrap() {
        let compressed = archive::compress(&archive::load(conn, run).await.unwrap()).unwrap();
        archive::store(conn, run, &compressed).await.unwrap();
    }
    let run = app.alice().get("/v3/pods/docpod/log-runs/1").await.ok();
    assert_eq!((&run["is_archived"], &run["archive_path"]), (&json!(true), &json!(null)));
    assert_eq!((&run["logs"], &run["log_size_bytes"]), (&json!("caf\u{e9}\nend\n"), &json!(10)));
    assert_eq!(app.alice().get("/v3/pods/docpod/log-runs/1?tail=1").await.ok()["logs"], "end\n");
    assert_eq!(app.alice().get("/v3/pods/docpod/logs").await.ok()["logs"], "", "{:?}", current.instance_id);

    let file = app.alice().raw(Method::GET, "/v3/pods/docpod/log-runs/1?download=true").await;
    assert_eq!(file.status(), 200);
    let header = |name: &str| file.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(header("content-disposition"), "attachment; filename=\"docpod_run_1.log\"");
    assert_eq!(file.text().await.unwrap(), "caf\u{e9}\nend\n");
    app.alice().get("/v3/pods/docpod/log-runs/1?download=perhaps").await.is(400, "boolean");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_asked_for_by_lines_and_by_time() {
    let app = TestApp::start().await;
    let row = running(&app).await;
    let hour = TimeDelta::hours(1);
    app.write_log_at(&row, b"old\n", Utc::now() - hour, 0).await;
    app.write_log_at(&row, b"new\nnewest\n", Utc::now(), 0).await;
    let logs = async |query: &str| {
        let logs = app.alice().get(&format!("/v3/pods/docpod/logs?{query}")).await.ok();
        logs["logs"].as_str().unwrap().to_owned()
    };
    assert_eq!(logs("tail=2").await, "new\nnewest\n");
    assert_eq!(logs("tail=0").await, "");
    assert_eq!(logs("tail=&since=").await, "old\nnew\nnewest\n");
    assert_eq!(logs("since=600").await, "new\nnewest\n");
    assert_eq!(logs("since=7200&tail=100").await, "old\nnew\nnewest\n");
    let at = (Utc::now() - hour / 2).to_rfc3339();
    assert_eq!(logs(&format!("since={at}")).await, "new\nnewest\n", "a plus sign that became a blank");
    let refused = app.alice().get("/v3/pods/docpod/logs?tail=some&since=yesterday").await;
    refused.is(400, "tail");
    refused.is(400, "since");
    app.bob().get("/v3/pods/docpod/logs?tail=some").await.is(403, "READ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_over_runs_and_says_what_is_missing() {
    let app = TestApp::start().await;
    let row = running(&app).await;
    app.write_log(&row, b"before\n").await;
    let mut stream = Stream::open(&app.alice(), "/v3/pods/docpod/logs?follow=true").await;
    let run = stream.event().await;
    assert_eq!((run.name.as_str(), &run.data["run_index"]), ("run", &json!(1)));
    assert_eq!(stream.event().await.data, "before\n");
    app.write_log(&row, b"caf\xc3").await;
    assert_eq!(stream.event().await.data, "caf");
    // The id is that of what was sent, so that half a character is not lost to who comes back.
    let back = stream.last_id.clone().unwrap();
    app.write_log(&row, b"\xa9 \xff\0\n").await;
    assert_eq!(stream.event().await.data, "\u{e9} \u{fffd}\n");
    app.write_log_at(&row, b"after a gap\n", Utc::now(), 1).await;
    assert_eq!(stream.event().await.name, "gap");
    assert_eq!(stream.event().await.data, "after a gap\n");

    let mut again =
        Stream::open(&app.alice().with("last-event-id", back.clone()), "/v3/pods/docpod/logs?follow=1").await;
    assert_eq!(again.event().await.data, "\u{e9} \u{fffd}\n");
    assert_eq!(again.event().await.name, "gap");
    drop(again);

    let next = run_again(&app).await;
    let run = stream.event().await;
    assert_eq!((run.name.as_str(), &run.data["run_index"]), ("run", &json!(2)));
    app.write_log(&next, b"second run\n").await;
    assert_eq!(stream.event().await.data, "second run\n");
    // Whoever was away gets the rest of the first run, then the second.
    let path = format!("/pods/docpod/logs?follow=true&cursor={back}");
    let mut late = Stream::open(&app.alice(), &path).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|data| data != "second run\n") {
        seen.push(late.event().await.data);
    }
    assert_eq!(seen[0], "\u{e9} \u{fffd}\n");
    assert_eq!(seen.len(), 5, "text, gap, text, run, text: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_wanted_part_or_with_what_comes() {
    let app = TestApp::start().await;
    let row = running(&app).await;
    app.write_log(&row, b"a\nb\nc\n").await;
    let mut tail = Stream::open(&app.alice(), "/v3/pods/docpod/logs?follow=true&tail=1").await;
    assert_eq!(tail.event().await.name, "run");
    assert_eq!(tail.event().await.data, "c\n");
    let mut new = Stream::open(&app.alice(), "/v3/pods/docpod/logs?follow=true&tail=0").await;
    assert_eq!(new.event().await.name, "run");
    app.write_log(&row, b"d\n").await;
    assert_eq!(new.event().await.data, "d\n");
    app.alice().get("/v3/pods/docpod/logs?follow=true&cursor=7").await.is(400, "cursor");
    app.bob().get("/v3/pods/docpod/logs?follow=true").await.is(403, "READ");
    app.anonymous().get("/v3/pods/docpod/logs?follow=true").await.is(401, "oken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_ran_is_followed_to_its_first_run() {
    let app = TestApp::start().await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    let mut stream = Stream::open(&app.alice(), "/v3/pods/docpod/logs?follow=true").await;
    let row = app.happens("docpod", Event::Running).await;
    assert_eq!(stream.event().await.name, "run");
    app.write_log(&row, b"hello\n").await;
    assert_eq!(stream.event().await.data, "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_permission_and_a_deleted_pod_end_the_stream() {
    let streams = StreamLimits { recheck: Duration::from_millis(200), ..StreamLimits::default() };
    let app = TestApp::start_with(Setup { streams, ..Setup::default() }).await;
    let row = running(&app).await;
    app.alice().grant("docpod", "bob", "READ").await;
    let mut bobs = Stream::open(&app.bob(), "/v3/pods/docpod/logs?follow=true&tail=0").await;
    let mut alices = Stream::open(&app.alice(), "/v3/pods/docpod/logs?follow=true&tail=0").await;
    assert_eq!((bobs.event().await.name, alices.event().await.name), ("run".into(), "run".into()));
    app.alice().grant("docpod", "bob", "NONE").await;
    let end = bobs.event().await;
    assert_eq!((end.name.as_str(), &end.data["reason"]), ("end", &json!("forbidden")));
    assert!(bobs.next().await.is_none());
    app.write_log(&row, b"secret\n").await;
    assert_eq!(alices.event().await.data, "secret\n");
    app.alice().delete("/v3/pods/docpod").await.ok();
    let end = alices.event().await;
    assert_eq!((end.name.as_str(), &end.data["reason"]), ("end", &json!("gone")));
}
