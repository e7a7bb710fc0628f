//! Pages of other origins.

use pods_api::{middleware::cors::Origins, state::HttpPolicy};
use reqwest::{Method, Response, header::HeaderMap};
use serde_json::json;

use crate::app::{Caller, Setup, TestApp};

const ORIGIN: &str = "http://localhost:3000";

async fn app() -> TestApp {
    let cors = Origins::parse(&[ORIGIN.to_owned()]).unwrap();
    TestApp::start_with(Setup { http: HttpPolicy { cors, ..HttpPolicy::default() }, ..Setup::default() })
        .await
}

/// That a page of [`ORIGIN`] may read an answer.
#[track_caller]
fn is_readable(headers: &HeaderMap) {
    let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("access-control-allow-origin"), [ORIGIN], "once: {headers:?}");
    assert_eq!(all("access-control-allow-credentials"), ["true"]);
    assert_eq!(
        all("access-control-expose-headers"),
        ["X-TapisUsername, x-tapis-token, x-request-id, x-pods-cursor, retry-after, *"]
    );
    assert_eq!(all("vary"), ["Origin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_read_every_answer_errors_included() {
    let app = app().await;
    fn page(caller: Caller<'_>) -> Caller<'_> {
        caller.with("origin", ORIGIN)
    }
    let alice = page(app.alice());
    is_readable(&alice.get("/v3/pods").await.headers);
    is_readable(&page(app.anonymous()).get("/healthcheck").await.headers);
    is_readable(&alice.get("/v3/pods/nothing").await.headers);
    is_readable(&alice.get("/nothing").await.headers);
    is_readable(&alice.post("/v3/pods", json!({})).await.headers);
    is_readable(&alice.delete("/v3/pods").await.headers);
    is_readable(&page(app.anonymous()).get("/v3/pods").await.headers);
    let forged = page(app.anonymous()).with("x-tapis-token", "not a token");
    is_readable(&forged.get("/v3/pods").await.headers);
    is_readable(&page(app.bob()).with("x-pods-admin", "true").get("/v3/pods").await.headers);
    app.database.go_away().await;
    let answer = alice.get("/v3/pods").await;
    answer.is(503, "database");
    is_readable(&answer.headers);
    app.database.come_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_without_a_token() {
    let app = app().await;
    let preflight = async |origin: &str, path: &str, wanted: &[(&'static str, &str)]| {
        let mut page = app.anonymous().with("origin", origin);
        for (name, value) in wanted {
            page = page.with(name, *value);
        }
        page.raw(Method::OPTIONS, path).await
    };
    let method = ("access-control-request-method", "PUT");
    let names = ("access-control-request-headers", "x-tapis-token, content-type, x-pods-admin");
    for path in ["/v3/pods", "/v3/pods/docpod", "/pods/templates/postgres/tags", "/nothing"] {
        let answer = preflight(ORIGIN, path, &[method, names]).await;
        assert_eq!(answer.status(), 200, "{path}");
        let headers = answer.headers().clone();
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("access-control-allow-origin").as_deref(), Some(ORIGIN));
        assert_eq!(header("access-control-allow-credentials").as_deref(), Some("true"));
        assert_eq!(
            header("access-control-allow-methods").as_deref(),
            Some("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
        );
        assert_eq!(header("access-control-allow-headers").as_deref(), Some(names.1));
        assert_eq!(header("access-control-max-age").as_deref(), Some("600"));
        assert_eq!(header("vary").as_deref(), Some("Origin"));
        assert_eq!(header("content-type").as_deref(), Some("text/plain"));
        assert_eq!(answer.text().await.unwrap(), "OK");
    }
    let refused = preflight("https://evil.example.org", "/v3/pods", &[method, names]).await;
    assert_eq!(refused.status(), 400);
    assert!(is_silent(&refused));
    // Without the header it is no preflight.
    assert_eq!(preflight(ORIGIN, "/v3/pods", &[]).await.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_answered_and_cannot_read_it() {
    let app = app().await;
    let answer = app.alice().with("origin", "http://localhost:3001").raw(Method::GET, "/v3/pods").await;
    assert_eq!(answer.status(), 200);
    assert!(is_silent(&answer));
    assert_eq!(answer.headers()["vary"], "Origin", "a cache must not give it to an allowed origin");
    assert!(is_silent(&app.alice().raw(Method::GET, "/v3/pods").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configured_origins_there_is_no_cors() {
    let app = TestApp::start().await;
    let answer = app.alice().with("origin", ORIGIN).raw(Method::GET, "/v3/pods").await;
    assert!(is_silent(&answer) && !answer.headers().contains_key("vary"));
    let page = app.anonymous().with("origin", ORIGIN).with("access-control-request-method", "GET");
    assert_eq!(page.raw(Method::OPTIONS, "/v3/pods").await.status(), 405);
}

fn is_silent(answer: &Response) -> bool {
    answer.headers().keys().all(|name| !name.as_str().starts_with("access-control"))
}
