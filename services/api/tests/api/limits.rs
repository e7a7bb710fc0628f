//! Rate limit, request ids, panics, and the status codes of old scripts.

use std::sync::{Arc, Mutex};

use actix_web::{HttpResponse, web};
use pods_api::{
    middleware::{cors::Origins, rate_limit::RateLimit},
    routes,
    state::HttpPolicy,
};
use reqwest::Method;
use serde_json::json;

use crate::app::{Setup, TestApp};

async fn app_with(http: HttpPolicy) -> TestApp {
    TestApp::start_with(Setup { http, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_is_refused_alone_and_for_a_while() {
    // One a day: the test must not depend on how fast it is.
    let cors = Origins::parse(&["*".to_owned()]).unwrap();
    let app = app_with(HttpPolicy { cors, rate_limit: RateLimit::new(1, 5), ..HttpPolicy::default() }).await;
    let alice = app.alice().with("origin", "https://ui.example.org");
    let answers = futures::future::join_all((0..30).map(|_| alice.get("/v3/pods"))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!((15..=25).contains(&refused.len()), "{} of 30 were refused", refused.len());
    for answer in refused {
        answer.is(429, "too many requests");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.headers["access-control-allow-origin"], "https://ui.example.org");
        assert!(answer.headers.contains_key("x-request-id"));
    }
    app.bob().get("/v3/pods").await.ok();
    app.other_alice().get("/v3/pods").await.ok();
    for _ in 0..30 {
        app.anonymous().get("/healthcheck").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_id_of_its_request() {
    let app = TestApp::start().await;
    let own = app.alice().with("x-request-id", "My-Request.7_x").get("/v3/pods").await;
    assert_eq!(own.headers["x-request-id"], "My-Request.7_x");
    let too_long = "x".repeat(129);
    for bad in ["has space", "{curly}", too_long.as_str()] {
        let answer = app.alice().with("x-request-id", bad).get("/v3/pods").await;
        assert_ne!(answer.headers["x-request-id"], bad);
        assert_eq!(answer.headers["x-request-id"].len(), 36, "one of ours");
    }
    let first = app.alice().get("/nothing").await.headers["x-request-id"].clone();
    let second = app.anonymous().get("/v3/pods").await.headers["x-request-id"].clone();
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_internal_error_that_can_be_found_by_its_id() {
    fn configure(config: &mut web::ServiceConfig) {
        async fn panics() -> HttpResponse {
            panic!("a canary that nobody may see")
        }
        config.service(web::resource("/panic").route(web::to(panics)));
        routes::configure(config);
    }
    let cors = Origins::parse(&["https://ui.example.org".to_owned()]).unwrap();
    let http = HttpPolicy { cors, ..HttpPolicy::default() };
    let app = TestApp::start_with(Setup { http, configure, ..Setup::default() }).await;
    for round in 0..3 {
        let id = format!("panic-{round}");
        let page = app.alice().with("origin", "https://ui.example.org").with("x-request-id", &id);
        let answer = page.raw(Method::GET, "/panic").await;
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["x-request-id"], id.as_str());
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://ui.example.org");
        let text = answer.text().await.unwrap();
        assert!(text.contains(&id) && !text.contains("canary"), "{text}");
        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&body["status"], &body["result"]), (&json!("error"), &json!(null)));
        app.alice().get("/v3/pods").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_may_keep_the_old_codes_for_refused_callers() {
    let app = app_with(HttpPolicy { auth_errors_400: true, ..HttpPolicy::default() }).await;
    app.alice().create("docpod", json!({})).await;
    app.anonymous().get("/v3/pods").await.is(400, "token");
    app.bob().get("/v3/pods/docpod").await.is(400, "READ");
    app.alice().get("/v3/pods/nothing").await.is(404, "nothing");
    app.alice().get("/v3/pods/docpod").await.ok();
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_name_the_request_and_never_its_path() {
    let log = Captured::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let app = TestApp::start().await;
    app.alice().create("canarypod", json!({})).await;
    let request = app.alice().with("x-request-id", "the-request").with("x-tapis-tracking-id", "lab.42");
    request.get("/v3/pods/canarypod?unknown=canaryquery").await.ok();
    app.anonymous()
        .with("x-request-id", "nobody's")
        .with("x-tapis-tracking-id", "{forged}")
        .get("/v3/pods")
        .await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let finished: Vec<&str> = log.lines().filter(|line| line.contains("request finished")).collect();
    let line = finished.iter().find(|line| line.contains("the-request")).unwrap();
    for part in ["GET", "/v3/pods/{pod_id}", "status=200", "tenant=\"dev\"", "user=\"alice\"", "lab.42"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for line in finished {
        assert!(!line.contains("canary") && !line.contains("nobody's") && !line.contains("forged"), "{line}");
    }
}
