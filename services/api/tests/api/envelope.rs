//! Who is asking, and the shape of every answer.

use dev_tapis::tokens::Kind;
use reqwest::Method;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_documented_shape() {
    let app = TestApp::start().await;
    app.anonymous().get("/healthcheck").await.ok();
    let created = app.alice().create("docpod", json!({})).await;
    assert_eq!(created["pod_id"], "docpod");
    let creation = created["creation_ts"].as_str().unwrap();
    assert!(creation.len() == "2026-02-13T20:59:08.175504Z".len() && creation.ends_with('Z'), "{creation}");
    let nulls = ["command", "arguments", "time_to_stop_instance", "time_to_stop_ts", "start_instance_ts"];
    for key in nulls {
        assert!(created.as_object().unwrap().contains_key(key) && created[key].is_null(), "{key}");
    }
    assert_eq!(created["status_container"], json!({}));
    assert_eq!(created["modified_fields"], json!(["image", "pod_id", "status_requested"]));
    assert!(created.get("permissions").is_none());
    let deleted = app.alice().delete("/v3/pods/docpod").await.ok();
    assert_eq!(deleted, "", "tapipy shows the whole answer for an empty text");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_must_be_good() {
    let app = TestApp::start().await;
    let with = |token: String| app.anonymous().with("x-tapis-token", token);
    let mut forged = app.token("dev", "alice", Kind::Access, 600);
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    for (token, code) in [
        (app.token("dev", "alice", Kind::Access, -1), 401),
        (app.token("dev", "alice", Kind::Refresh, 600), 401),
        (forged, 401),
        ("not a token".to_owned(), 401),
        (String::new(), 401),
        (app.token("dev-two", "alice", Kind::Access, 600), 403),
    ] {
        let answer = with(token.clone()).get("/v3/pods").await;
        assert_eq!(answer.status.as_u16(), code, "{}", answer.body);
        if !token.is_empty() {
            assert!(!answer.body.to_string().contains(&token), "a token is never shown");
        }
    }
    app.anonymous().get("/v3/pods").await.is(401, "token");
    for (method, path) in [
        (Method::POST, "/v3/pods"),
        (Method::GET, "/pods/docpod"),
        (Method::PUT, "/v3/pods/docpod"),
        (Method::DELETE, "/v3/pods/docpod"),
        (Method::GET, "/v3/pods/docpod/start"),
        (Method::GET, "/v3/pods/docpod/stop"),
        (Method::GET, "/v3/pods/docpod/restart"),
        (Method::GET, "/v3/pods/docpod/logs"),
        (Method::GET, "/v3/pods/docpod/permissions"),
        (Method::POST, "/v3/pods/docpod/permissions"),
        (Method::DELETE, "/v3/pods/docpod/permissions/bob"),
    ] {
        let answer = app.anonymous().send(method, path, None).await;
        assert_eq!(answer.status.as_u16(), 401, "{path}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_act_for_users_and_users_for_nobody() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let service = app.anonymous().with("x-tapis-token", app.service_token("files"));
    let pods =
        service.clone().with("x-tapis-tenant", "dev").with("x-tapis-user", "alice").get("/v3/pods").await;
    assert_eq!(pods.ok()[0]["pod_id"], "docpod");
    let bobs =
        service.clone().with("x-tapis-tenant", "dev").with("x-tapis-user", "bob").get("/v3/pods").await;
    assert_eq!(bobs.ok(), json!([]));
    assert_eq!(service.get("/v3/pods").await.status.as_u16(), 401, "both headers are needed");
    let answer = app.alice().with("x-tapis-user", "bob").with("x-tapis-tenant", "dev").get("/v3/pods").await;
    assert_eq!(answer.status.as_u16(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_of_administrators_needs_the_role() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    app.bob().with("x-pods-admin", "true").get("/v3/pods").await.is(403, "X-Pods-Admin");
    app.alice().with("x-pods-admin", "True").get("/v3/pods/docpod").await.is(403, "X-Pods-Admin");
    app.alice().with("x-pods-admin", "false").get("/v3/pods/docpod").await.ok();
    assert_eq!(app.admin().get("/v3/pods").await.ok(), json!([]), "the role alone shows nothing more");
    app.admin().get("/v3/pods/docpod").await.is(403, "READ");
    let all = app.admin_mode().get("/v3/pods").await;
    assert_eq!(all.body["metadata"]["admin_context"]["user_accessible_ids"], json!([]));
    assert_eq!(all.ok()[0]["pod_id"], "docpod");
    app.admin_mode().get("/v3/pods/docpod/stop").await.ok();
    let logs = app.alice().get("/v3/pods/docpod/logs").await.ok();
    let last = logs["action_logs"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    assert!(last.contains("ADMIN 'root'") || logs["action_logs"].as_array().unwrap().len() == 1, "{last}");
    app.admin_mode().delete("/v3/pods/docpod").await.ok();
}
