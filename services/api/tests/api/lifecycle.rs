//! Start, stop and restart.

use pods_core::transition::Event;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn start_works_from_stopped_and_is_refused_under_way() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let started = app.alice().get("/v3/pods/docpod/start").await.ok();
    assert_eq!(
        (started["status"].as_str(), started["status_requested"].as_str()),
        (Some("REQUESTED"), Some("ON"))
    );
    app.alice().get("/v3/pods/docpod/start").await.is(409, "REQUESTED");
    app.happens("docpod", Event::SpawnBegun).await;
    app.alice().get("/v3/pods/docpod/start").await.is(409, "SPAWNING");
    app.happens("docpod", Event::Running).await;
    app.alice().get("/v3/pods/docpod/start").await.is(409, "AVAILABLE");
    assert_eq!(app.wake_ups().await, ["start"]);
    app.happens("docpod", Event::Failed).await;
    let again = app.alice().get("/v3/pods/docpod/start").await.ok();
    assert_eq!(again["status"], "RESTARTING", "from ERROR and COMPLETE a start is a restart");
    app.alice().get("/v3/pods/docpod/start").await.is(409, "RESTARTING");
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_restart_are_possible_at_any_time() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let stopped = app.alice().get("/v3/pods/docpod/stop").await.ok();
    assert_eq!(stopped["status"], "STOPPED");
    let restarted = app.alice().get("/v3/pods/docpod/restart").await.ok();
    assert_eq!(
        (restarted["status"].as_str(), restarted["status_requested"].as_str()),
        (Some("RESTARTING"), Some("RESTART"))
    );
    for _ in 0..3 {
        let stopped = app.alice().get("/v3/pods/docpod/stop").await.ok();
        assert_eq!(
            (stopped["status"].as_str(), stopped["status_requested"].as_str()),
            (Some("SHUTTING_DOWN"), Some("OFF"))
        );
    }
    app.alice().get("/v3/pods/docpod/restart").await.ok();
    assert_eq!(app.wake_ups().await, ["restart", "stop", "stop", "stop", "restart"]);
    app.happens("docpod", Event::ObjectsGone).await;
    let pod = app.alice().get("/v3/pods/docpod").await.ok();
    assert_eq!((pod["status"].as_str(), pod["status_requested"].as_str()), (Some("REQUESTED"), Some("ON")));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_meet_leave_one_consistent_row() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let alice = app.alice();
    let mut requests = Vec::new();
    for n in 0..24 {
        let verb = ["start", "stop", "restart"][n % 3];
        let alice = &alice;
        requests.push(async move { alice.get(&format!("/v3/pods/docpod/{verb}")).await.status.as_u16() });
    }
    let codes = futures::future::join_all(requests).await;
    assert!(codes.iter().all(|code| [200, 409].contains(code)), "{codes:?}");
    let done = codes.iter().filter(|code| **code == 200).count();
    let row = app.row("docpod").await;
    assert!(row.revision <= 1 + done as i64);
    assert!(app.wake_ups().await.len() <= done);
}

#[tokio::test(flavor = "multi_thread")]
async fn lifecycle_requests_are_never_cached_and_come_as_get_or_post() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("docpod", json!({})).await;
    for path in ["start", "stop", "stop?force=true", "restart?grab_latest_template_tag=true"] {
        let answer = alice.get(&format!("/v3/pods/docpod/{path}")).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        answer.ok();
    }
    let answer = alice.send(reqwest::Method::POST, "/v3/pods/docpod/stop", None).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.ok();
    let head = alice.send(reqwest::Method::HEAD, "/v3/pods/docpod/start", None).await;
    assert_eq!(head.status.as_u16(), 405);
    alice.get("/v3/pods/docpod/stop?force=perhaps").await.is_invalid("force");
    alice
        .get("/v3/pods/docpod/restart?grab_latest_template_tag=")
        .await
        .is_invalid("grab_latest_template_tag");
}
