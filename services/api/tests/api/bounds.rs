//! What one user may cost all others: large answers, questions to Kubernetes, long absences, many grants.

use std::time::Duration;

use diesel_async::RunQueryDsl;
use pods_api::{feed::follow::MISSED_MAX, sse::StreamLimits};
use pods_core::transition::Event;
use pods_db::{changes, permissions::ENTRIES_MAX};
use pods_kube::testing::FakeCluster;
use reqwest::Method;
use serde_json::json;

use crate::{
    app::{Setup, TestApp},
    streams::Stream,
};

/// Tries again until it holds; what is waited for comes within this time.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    patience.await.unwrap_or_else(|_| panic!("{what} does not happen"));
}

async fn execute(app: &TestApp, sql: &str) {
    diesel::sql_query(sql).execute(&mut *app.conn().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_large_answers_gets_no_more_of_them() {
    let app = TestApp::start().await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    let row = app.happens("docpod", Event::Running).await;
    for _ in 0..9 {
        // Six times as long as JSON.
        app.write_log(&row, &[0x1b; 1 << 20]).await;
    }
    app.alice().grant("docpod", "bob", "READ").await;
    let path = "/v3/pods/docpod/logs";
    let unread = app.alice().raw(Method::GET, path).await;
    assert_eq!(unread.status(), 200);
    for path in [path, "/v3/pods/docpod/log-runs/1", "/v3/pods/docpod/log-runs/1?download=true"] {
        let refused = app.alice().get(path).await;
        refused.is(429, "large answers");
        assert!(refused.headers.contains_key("retry-after"));
    }
    assert_eq!(app.bob().raw(Method::GET, path).await.status(), 200, "others are not concerned");
    let read = unread.bytes().await.unwrap();
    assert!(read.len() > 6 * (9 << 20) && read.ends_with(b"}"));
    until("that a read answer is forgotten", async || {
        app.alice().raw(Method::GET, path).await.status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_events_of_a_pod_ask_kubernetes_few_times() {
    let cluster = FakeCluster::new("pods");
    let app = TestApp::start_with(Setup { cluster: Some(cluster.client()), ..Setup::default() }).await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    let alice = app.alice();
    let all = (0..30).map(|_| alice.get("/v3/pods/docpod/events"));
    for answer in futures::future::join_all(all).await {
        answer.ok();
    }
    let asked = cluster.reads("events");
    assert!((1..15).contains(&asked), "{asked} lists of Kubernetes for 30 questions about one Pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_too_much_begins_anew() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("web", json!({})).await;
    app.database.changes_settle().await;
    let known = changes::head(&mut *app.conn().await).await.unwrap();
    let many = format!(
        "INSERT INTO changes (pod_uid) SELECT gen_random_uuid() FROM generate_series(1, {MISSED_MAX})"
    );
    execute(&app, &many).await;
    app.database.changes_settle().await;
    let path = format!("/v3/pods/events?cursor={known}");
    let mut just = Stream::open(&alice, &path).await;
    alice.create("then", json!({})).await;
    assert_eq!(just.event().await.data["pod_id"], "then", "so much is read");
    execute(&app, "INSERT INTO changes (pod_uid) SELECT gen_random_uuid() FROM generate_series(1, 1000)")
        .await;
    app.database.changes_settle().await;
    let mut plain = Stream::open(&alice, &path).await;
    assert_eq!(plain.event().await.name, "resync");
    let mut full = Stream::open(&alice, &format!("{path}&snapshot=true")).await;
    let names =
        [full.event().await.name, full.event().await.name, full.event().await.name, full.event().await.name];
    assert_eq!(names, ["resync", "pod", "pod", "snapshot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_of_an_object_are_limited() {
    let app = TestApp::start().await;
    app.alice().create("web", json!({})).await;
    let many = format!(
        "INSERT INTO pod_permissions (pod_uid, username, level) \
         SELECT uid, 'user' || n, 'READ' FROM pods, generate_series(1, {}) n",
        ENTRIES_MAX - 1
    );
    execute(&app, &many).await;
    let path = "/v3/pods/web/permissions";
    app.alice().post(path, json!({"user": "bob", "level": "READ"})).await.is(400, "At most 1000 users");
    app.bob().get("/v3/pods/web").await.is(403, "READ");
    app.alice().post(path, json!({"user": "user7", "level": "USER"})).await.ok();
    app.alice().delete(&format!("{path}/user7")).await.ok();
    app.alice().post(path, json!({"user": "bob", "level": "READ"})).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_an_administrator_end_with_the_role() {
    let streams = StreamLimits { recheck: Duration::from_millis(50), ..StreamLimits::default() };
    let app = TestApp::start_with(Setup { streams, forget_roles: true, ..Setup::default() }).await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    app.administers("carol", true);
    let carol = app.user("carol").with("x-pods-admin", "true");
    let mut events = Stream::open(&carol, "/v3/pods/events").await;
    let mut logs = Stream::open(&carol, "/v3/pods/docpod/logs?follow=true").await;
    let mut own = Stream::open(&app.alice(), "/v3/pods/events").await;
    app.administers("carol", false);
    for stream in [&mut events, &mut logs] {
        let end = stream.event().await;
        assert_eq!((end.name.as_str(), &end.data["reason"]), ("end", &json!("role_withdrawn")));
        assert!(stream.next().await.is_none());
    }
    app.alice().create("after", json!({})).await;
    while own.event().await.data["pod_id"] != "after" {}
}
