//! Paths and methods.

use reqwest::Method;
use serde_json::json;

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn slashes_and_prefixes_do_not_matter() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    for path in [
        "/v3/pods/docpod",
        "/pods/docpod",
        "/v3/pods/docpod/",
        "/v3//pods///docpod//",
        "//pods/docpod",
        "/v3/pods/%64ocpod",
    ] {
        assert_eq!(app.alice().get(path).await.ok()["pod_id"], "docpod", "{path}");
    }
    for path in ["/v3/pods", "/v3/pods/", "/pods", "/pods/?unknown=1"] {
        assert_eq!(app.alice().get(path).await.ok().as_array().unwrap().len(), 1, "{path}");
    }
    app.alice().get("/v3/pods/docpod//permissions").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_paths_are_not_found() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    for path in [
        "/",
        "/v3",
        "/nothing",
        "/v4/pods",
        "/traefik-config",
        "/error-handler/502",
        "/v3/pods/docpod/nothing",
        "/v3/pods/docpod%2Fpermissions",
        "/v3/pods/docpod%252Flogs",
        "/v3/pods/%00",
        "/v3/pods/docpod%00",
        "/v3/pods/%FF%FE",
        "/v3/pods/DOCPOD",
        "/v3/pods/..%2f..%2fetc",
        "/v3/pods/%27%20OR%201=1",
        "/v3/pods/unknown",
        "/v3/pods/unknown/logs",
    ] {
        let answer = app.alice().get(path).await;
        assert_eq!(answer.status.as_u16(), 404, "{path}: {}", answer.body);
    }
    app.alice().get("/v3/pods/unknown").await.is(404, "unknown");
    let long = format!("/v3/pods/{}", "a".repeat(5000));
    assert!(app.alice().get(&long).await.message().len() < 200);
    for user in ["%00", "nobody", "a%2Fb", "%FF"] {
        let answer = app.alice().delete(&format!("/v3/pods/docpod/permissions/{user}")).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{user}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_the_api_are_no_pods() {
    let app = TestApp::start().await;
    for path in [
        "/v3/pods/volumes",
        "/v3/pods/volumes/shopdata/permissions",
        "/v3/pods/snapshots",
        "/v3/pods/secrets/mine/value",
        "/pods/metrics",
        "/pods/usage",
        "/pods/admin/logs",
        "/pods/traefik-config",
        "/pods/templates/docpod/logs",
        "/pods/jupyter",
        "/pods/jupyter/start",
        "/v3/volumes",
        "/v3/snapshots/x/files",
    ] {
        let answer = app.anonymous().get(path).await;
        if path == "/pods/traefik-config" {
            // Cannot be the id of a pod; whoever is logged in learns that there is none.
            assert_eq!(answer.status.as_u16(), 401);
            continue;
        }
        answer.is(404, "nothing at this path");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_tags_and_users_may_be_raw_or_encoded() {
    let app = TestApp::start().await;
    let (alice, admin) = (app.alice(), app.admin_mode());
    admin.post("/v3/pods/images", json!({"image": "library/redis", "tenants": ["**"]})).await.ok();
    for path in ["library/redis", "library%2Fredis", "library%2fredis", "/library//redis/"] {
        let image = alice.get(&format!("/v3/pods/images/{path}")).await.ok();
        assert_eq!(image["image"], "library/redis", "{path}");
    }
    // Decoded once, not twice.
    alice.get("/v3/pods/images/library%252Fredis").await.is(404, "library%2Fredis");
    admin.put("/pods/images/library%2Fredis", json!({"description": "a cache"})).await.ok();
    admin.delete("/pods/images/library%2Fredis").await.ok();

    alice.post("/v3/pods/templates", json!({"template_id": "postgres"})).await.ok();
    let body = json!({"commit_message": "first", "pod_definition": {"image": "busybox"}});
    let tag = alice.post("/v3/pods/templates/postgres/tags", body).await.ok();
    let id = tag["tag_timestamp"].as_str().unwrap();
    for id in [id.to_owned(), id.replace('@', "%40").replace(':', "%3A"), "latest".to_owned()] {
        let tags = alice.get(&format!("/v3/pods/templates/postgres/tags/{id}")).await.ok();
        assert_eq!(tags, json!([tag]), "{id}");
    }
    let everybody = json!({"user": "**", "level": "READ"});
    admin.post("/v3/pods/templates/postgres/permissions", everybody.clone()).await.ok();
    let left = admin.delete("/v3/pods/templates/postgres/permissions/%2A%2A").await.ok();
    assert_eq!(left, json!({"permissions": ["alice:ADMIN"]}));
    admin.post("/v3/pods/templates/postgres/permissions", everybody).await.ok();
    admin.delete("/v3/pods/templates/postgres/permissions/**").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_under_every_prefix() {
    let app = TestApp::start().await;
    for path in ["/openapi.json", "/v3/pods/openapi.json", "/pods/openapi.json"] {
        let answer = app.anonymous().raw(Method::GET, path).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.text().await.unwrap(), pods_api::openapi::json());
    }
    for path in ["/healthcheck", "/v3/healthcheck", "/v3/pods/healthcheck", "/pods/healthcheck"] {
        app.anonymous().get(path).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_the_documented_ones() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    for path in
        ["/v3/pods", "/v3/pods/docpod", "/v3/pods/docpod/logs", "/v3/pods/docpod/permissions", "/healthcheck"]
    {
        let head = app.alice().send(Method::HEAD, path, None).await;
        assert_eq!(head.status.as_u16(), 200, "HEAD {path}");
        assert_eq!(head.headers["content-type"], "application/json");
    }
    for (method, path) in [
        (Method::HEAD, "/v3/pods/docpod/start"),
        (Method::HEAD, "/v3/pods/docpod/stop"),
        (Method::HEAD, "/v3/pods/docpod/restart"),
        (Method::PUT, "/v3/pods"),
        (Method::DELETE, "/v3/pods"),
        (Method::POST, "/v3/pods/docpod"),
        (Method::PATCH, "/v3/pods/docpod"),
        (Method::PUT, "/v3/pods/docpod/start"),
        (Method::POST, "/v3/pods/docpod/logs"),
        (Method::GET, "/v3/pods/docpod/permissions/bob"),
        (Method::HEAD, "/v3/pods/jupyter/ensure"),
        (Method::POST, "/v3/pods/jupyter/ensure"),
        (Method::GET, "/v3/pods/images/bulk"),
        (Method::PUT, "/v3/pods/templates"),
        (Method::TRACE, "/v3/pods"),
        (Method::OPTIONS, "/v3/pods/docpod"),
    ] {
        let answer = app.alice().send(method.clone(), path, None).await;
        assert_eq!(answer.status.as_u16(), 405, "{method} {path}: {}", answer.body);
        let allowed = answer.headers["allow"].to_str().unwrap();
        assert!(!allowed.is_empty() && allowed.split(", ").all(|name| name != method.as_str()), "{allowed}");
    }
    assert_eq!(app.wake_ups().await, Vec::<String>::new(), "nothing happened");
    for method in [Method::GET, Method::POST] {
        let answer = app.alice().send(method, "/v3/pods/docpod/stop", None).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        answer.ok();
    }
}
