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
    ] {
        let answer = app.alice().send(method.clone(), path, None).await;
        assert_eq!(answer.status.as_u16(), 405, "{method} {path}: {}", answer.body);
    }
    assert_eq!(app.wake_ups().await, Vec::<String>::new(), "nothing happened");
    for method in [Method::GET, Method::POST] {
        let answer = app.alice().send(method, "/v3/pods/docpod/stop", None).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        answer.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_lists_every_operation_with_tapipys_names() {
    let text = pods_api::openapi::json();
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut operations: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    operations.sort_unstable();
    let expected = [
        "create_pod",
        "delete_pod",
        "delete_pod_permission",
        "get_pod",
        "get_pod_logs",
        "get_pod_permissions",
        "healthcheck",
        "list_pods",
        "restart_pod",
        "set_pod_permission",
        "start_pod",
        "stop_pod",
        "update_pod",
    ];
    assert_eq!(operations, expected);
}
