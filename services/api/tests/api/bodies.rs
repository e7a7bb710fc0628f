//! Bodies: what is accepted leniently, what is refused, and that nothing makes the service fail.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn clients_may_send_numbers_as_text_and_words_for_booleans() {
    let app = TestApp::start().await;
    let body = json!({
        "time_to_stop_default": "3600", "time_to_stop_instance": "", "environment_variables": {"Key1": "Value1"},
        "networking": {"default": {"port": "8080", "protocol": "HTTP", "tapis_auth": "False", "proxy_compression": 1}},
        "resources": {"cpu_request": "500", "cpu_limit": 1000.0, "mem_request": "", "mem_limit": "", "gpus": ""}
    });
    let pod = app.alice().create("docpod", body).await;
    assert_eq!(pod["time_to_stop_default"], 3600);
    assert_eq!(pod["networking"]["default"]["port"], 8080);
    assert_eq!(pod["resources"]["cpu_request"], 500);
    let echo = app.alice().put("/v3/pods/docpod", json!({"networking": pod["networking"]})).await;
    assert_eq!(echo.body["status"], "error", "an answer sent back changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_body_is_a_line() {
    let app = TestApp::start().await;
    let cases = [
        (json!({}), "body, pod_id: Field required"),
        (json!({"pod_id": "docpod"}), "image is required"),
        (
            json!({"pod_id": "docpod", "image": "busybox", "bogus": 1}),
            "body, bogus: Extra inputs are not permitted",
        ),
        (json!({"pod_id": "docpod", "image": ["busybox"]}), "body, image: Input should be a valid string"),
        (json!({"pod_id": "Doc-Pod", "image": "busybox"}), "pod_id"),
        (json!({"pod_id": "templates", "image": "busybox"}), "reserved"),
        (json!({"pod_id": "a".repeat(60), "image": "busybox"}), "shorten it by"),
        (json!({"pod_id": "docpod", "image": "registry.evil/x"}), "must be in allowlist"),
        (
            json!({"pod_id": "docpod", "image": "busybox", "environment_variables": {"A": 1}}),
            "body, environment_variables, A",
        ),
        (
            json!({"pod_id": "docpod", "image": "busybox", "networking": {"default": {"port": 7}}}),
            "Got port: 7",
        ),
        (
            json!({"pod_id": "docpod", "image": "busybox", "resources": {"cpu_request": 999_999}}),
            "out of bounds",
        ),
        (json!({"pod_id": "docpod", "image": "busybox", "status_requested": "off"}), "status_requested"),
        (json!({"pod_id": "docpod", "image": "busybox", "compute_queue": "nope"}), "compute_queue"),
        (json!([]), "expected a JSON object"),
        (json!("text"), "expected a JSON object"),
        (json!(null), "expected a JSON object"),
    ];
    for (body, expected) in cases {
        app.alice().post("/v3/pods", body).await.is_invalid(expected);
    }
    let raw = async |content_type: &str, body: &[u8]| {
        let caller = app.alice().with("content-type", content_type);
        caller.send(Method::POST, "/v3/pods", Some(body.to_vec())).await
    };
    raw("application/json", b"{").await.is_invalid("JSON");
    raw("application/json", b"").await.is_invalid("JSON");
    raw("application/json", b"\xff\xfe").await.is_invalid("JSON");
    raw("text/plain", b"{}").await.is_invalid("Content-Type: application/json");
    raw("Application/JSON; charset=utf-8", b"{}").await.is_invalid("pod_id");
    let nested = "[".repeat(100_000);
    raw("application/json", nested.as_bytes()).await.is_invalid("JSON");
    assert_eq!(app.alice().get("/v3/pods").await.ok(), json!([]), "nothing was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_counts_before_what_the_body_says() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let large = vec![b'x'; 4 * 1024 * 1024 + 1];
    for body in [b"{".to_vec(), b"\xff".to_vec(), large] {
        for (method, path) in [(Method::POST, "/v3/pods"), (Method::PUT, "/v3/pods/docpod")] {
            app.anonymous().send(method, path, Some(body.clone())).await.is(401, "token");
        }
        for (method, path) in
            [(Method::PUT, "/v3/pods/docpod"), (Method::POST, "/v3/pods/docpod/permissions")]
        {
            app.bob().send(method.clone(), path, Some(body.clone())).await.is(403, "ADMINs");
        }
        app.bob().send(Method::PUT, "/v3/pods/unknown", Some(body)).await.is(404, "unknown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_resets_some_fields_and_is_refused_for_the_others() {
    let app = TestApp::start().await;
    let before = app.alice().create("docpod", json!({"command": ["a"], "resources": {"gpus": 1}})).await;
    for field in ["image", "compute_queue", "time_to_stop_default", "status_requested"] {
        app.alice().put("/v3/pods/docpod", json!({field: null})).await.is_invalid(field);
    }
    assert_eq!(app.alice().get("/v3/pods/docpod").await.ok(), before);
    let reset =
        json!({"command": null, "resources": null, "networking": null, "environment_variables": null});
    let pod = app.alice().put("/v3/pods/docpod", reset).await.ok();
    assert_eq!((&pod["command"], &pod["resources"]["gpus"]), (&Value::Null, &json!(0)));
    assert!(!pod["modified_fields"].to_string().contains("resources"), "{}", pod["modified_fields"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_too_large() {
    const MIB: usize = 1024 * 1024;
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    // Bodies with the contents of configuration files may be larger than others.
    for (path, limit) in
        [("/v3/pods", 4 * MIB), ("/v3/pods/templates", MIB), ("/v3/pods/docpod/permissions", MIB)]
    {
        let body = |length: usize| json!({"bogus": "x".repeat(length)});
        app.alice().post(path, body(limit)).await.is(413, &format!("larger than {limit} bytes"));
        app.alice().post(path, body(limit - 100)).await.is_invalid("bogus");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_bodies_at_once_are_all_read() {
    let app = TestApp::start().await;
    let body = json!({"bogus": "x".repeat(2 * 1024 * 1024)});
    let alice = app.alice();
    let answers = futures::future::join_all((0..100).map(|_| alice.post("/v3/pods", body.clone()))).await;
    for answer in answers {
        answer.is_invalid("bogus");
    }
}

/// Values that a field might get from a hostile client.
fn garbage() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        Just("\0".to_owned()),
        Just("\u{0}key\u{ffff}\u{10ffff}".to_owned()),
        Just("'; DROP TABLE pods; --".to_owned()),
        Just("$(PODS)${secret:a:b}".to_owned()),
        Just("busybox".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_never_make_the_service_fail() {
    let app = TestApp::start().await;
    app.alice().create("target", json!({})).await;
    let fields = [
        "pod_id",
        "image",
        "description",
        "command",
        "arguments",
        "environment_variables",
        "networking",
        "resources",
        "compute_queue",
        "time_to_stop_default",
        "time_to_stop_instance",
        "status_requested",
        "other",
    ];
    let entries =
        ["port", "protocol", "url", "ip_allow_list", "tapis_auth_response_headers", "cors_allow_origins"];
    let mut runner = TestRunner::deterministic();
    let (strategy, alice) = (garbage(), app.alice());
    for round in 0..300 {
        let value = strategy.new_tree(&mut runner).unwrap().current();
        let body = match round % 3 {
            0 => {
                json!({"pod_id": format!("pod{round}"), "image": "busybox", fields[round % fields.len()]: value})
            }
            1 => {
                let entry = json!({entries[round % entries.len()]: value});
                json!({"pod_id": format!("pod{round}"), "image": "busybox", "networking": {"default": entry}})
            }
            _ => json!({"environment_variables": value, "description": "x"}),
        };
        for (method, path) in [
            (Method::POST, "/v3/pods"),
            (Method::PUT, "/v3/pods/target"),
            (Method::POST, "/v3/pods/target/permissions"),
        ] {
            let answer = alice.send(method.clone(), path, Some(body.to_string().into_bytes())).await;
            assert!(answer.status.as_u16() < 500, "{method} {path} {body}: {}", answer.body);
        }
        let grant = json!({"user": value, "level": "READ"});
        assert!(alice.post("/v3/pods/target/permissions", grant).await.status.as_u16() < 500);
    }
}
