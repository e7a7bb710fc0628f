//! Postgres or the platform is away.

use serde_json::json;

use crate::app::TestApp;

/// More than the pools of all workers of the API under test hold.
const CONNECTIONS_MAX: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_every_request_is_a_503_and_afterwards_all_is_well() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let alice = app.alice();
    for round in 0..3 {
        app.database.go_away().await;
        let requests = [
            alice.get("/v3/pods"),
            alice.get("/v3/pods/docpod"),
            alice.get("/v3/pods/docpod/start"),
            alice.get("/v3/pods/docpod/logs"),
        ];
        for answer in futures::future::join_all(requests).await {
            answer.is(503, "database");
        }
        let body = json!({"pod_id": "another", "image": "busybox"});
        // A connection that the pool has not missed yet breaks under the request, which then cannot promise so much.
        // There are no more of those than connections, and the pool makes no new ones now.
        let mut told = Vec::new();
        while !told.last().is_some_and(|text: &String| text.contains("nothing was changed")) {
            assert!(told.len() <= CONNECTIONS_MAX, "{told:?}");
            let answer = alice.post("/v3/pods", body.clone()).await;
            answer.is(503, "database");
            told.push(answer.body["message"].to_string());
        }
        alice.delete("/v3/pods/docpod").await.is(503, "database");
        app.anonymous().get("/healthcheck").await.ok();
        app.database.come_back().await;
        let pod = alice.get("/v3/pods/docpod").await.ok();
        assert_eq!(pod["status"], "STOPPED", "round {round}");
    }
    assert_eq!(alice.get("/v3/pods").await.ok().as_array().unwrap().len(), 1);
    assert_eq!(app.wake_ups().await, Vec::<String>::new(), "nothing half-done");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_platform_only_what_needs_roles_is_a_503() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    app.stop_platform().await;
    app.alice().get("/v3/pods/docpod").await.ok();
    app.bob().get("/v3/pods/docpod").await.is(403, "READ");
    app.admin_mode().get("/v3/pods/docpod").await.is(503, "roles");
    let grant = json!({"user": "bob", "level": "APPROVEDADMIN"});
    app.alice().post("/v3/pods/docpod/permissions", grant).await.is(503, "roles");
    assert_eq!(
        app.alice().get("/v3/pods/docpod/permissions").await.ok()["permissions"],
        json!(["alice:ADMIN"])
    );
}
