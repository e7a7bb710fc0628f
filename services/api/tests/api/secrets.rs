//! No token, no environment value and no generated password in a log line, an error or the wrong answer.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use dev_tapis::tokens::Kind;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::app::{Caller, TestApp};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const CANARY: &str = "canary7f3a1c";

/// Every answer about a pod with generated values that is not meant to show them.
async fn everything_but_credentials(app: &TestApp, alice: &Caller<'_>) -> Vec<String> {
    let body = json!({
        "secret_map": {"RANDOM": "${pods:random:32}"},
        "environment_variables": {"FROM": "<<tapissecret_user_password>>", "R": "${pods:secrets:RANDOM}"},
    });
    let mut texts = vec![alice.put("/v3/pods/docpod", body).await.body.to_string()];
    alice.grant("docpod", "carol", "READ").await;
    let carol = app.user("carol");
    for path in
        ["", "?derived=true", "?include_configs=true", "/derived", "/logs", "/overrides", "/provenance"]
    {
        texts.push(carol.get(&format!("/v3/pods/docpod{path}")).await.body.to_string());
    }
    for path in ["/v3/pods", "/v3/pods?derived=true", "/v3/pods/docpod/credentials"] {
        texts.push(carol.get(path).await.body.to_string());
    }
    for path in ["", "/logs", "/overrides", "/provenance", "/start", "/restart", "/stop"] {
        texts.push(alice.get(&format!("/v3/pods/docpod{path}")).await.body.to_string());
    }
    texts.push(alice.get("/v3/pods?derived_lite=true").await.body.to_string());
    texts
}

/// Bodies with the secret that break a rule.
fn refused(secret: &Value) -> Vec<Value> {
    vec![
        json!({"pod_id": "docpod", "environment_variables": secret}),
        json!({"image": "nope", "environment_variables": {"A": CANARY, "1bad": CANARY}}),
        json!({"environment_variables": {"A": [CANARY]}}),
        json!({"environment_variables": CANARY}),
        json!({"environment_variables": {"A": format!("{CANARY}\0")}}),
        json!({"environment_variables": {"A": CANARY.repeat(30_000)}}),
        json!({"secret_map": {"A": [CANARY]}}),
        json!({"secret_map": {"bad key": CANARY}}),
        json!({"secret_map": {"A": format!("{CANARY}${{pods:random:16}}")}}),
        json!({"secret_map": {"A": format!("${{pods:random:4}}{CANARY}")}}),
        json!({"secret_map": CANARY}),
        json!({"volume_mounts": {"/x": {"type": "ephemeral", "config_content": CANARY, "sub_path": "../x"}}}),
        json!({"volume_mounts": {"/x": {"type": "pvc", "source_id": "x", "config_content": CANARY}}}),
        json!({"volume_mounts": {"/x": {"type": "ephemeral", "config_content": [CANARY]}}}),
        json!({"volume_mounts": {"/x": {"type": "ephemeral", "config_content": CANARY.repeat(100_000)}}}),
        json!({"template_overrides": {"secret_map": {"A": [CANARY]}}}),
        json!({"template_overrides": {"secret_map": {"bad key": CANARY}}}),
        json!({"template_overrides": {"volume_mounts": {"/x": {"config_content": [CANARY]}}}}),
        json!({"template": "nope", "secret_map": {"A": CANARY}}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_environment_value_is_logged_or_shown_in_an_error() {
    let log = Captured::default();
    // Everything at its most talkative; `init` also takes what libraries write with the crate log.
    let filter = pods_runtime::telemetry::filter("trace,tokio_postgres::query=trace").unwrap();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).init();
    let app = TestApp::start().await;
    let good = app.token("dev", "alice", Kind::Access, 600);
    let alice = app.anonymous().with("x-tapis-token", good.clone());
    let secret = json!({"PASSWORD": CANARY, "OTHER": format!("x{CANARY}")});
    alice.create("docpod", json!({"environment_variables": secret})).await;

    let mut errors = Vec::new();
    for more in refused(&secret) {
        let mut body = json!({"pod_id": "other", "image": "busybox"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = alice.post("/v3/pods", body).await;
        assert!(!answer.status.is_success(), "{more}");
        errors.push(answer.body.to_string());
    }
    alice
        .put("/v3/pods/docpod", json!({"environment_variables": {"PASSWORD": format!("{CANARY}2")}}))
        .await
        .ok();
    let logs = alice.get("/v3/pods/docpod/logs").await.ok();
    errors.push(logs.to_string());
    let mut tokens = vec![good];
    for kind in [Kind::Access, Kind::Refresh] {
        let token = app.token("dev", "alice", kind, -1);
        let caller = app.anonymous().with("x-tapis-token", token.clone());
        errors.push(caller.get("/v3/pods").await.body.to_string());
        tokens.push(token);
    }
    errors.extend(everything_but_credentials(&app, &alice).await);
    let credentials = alice.get("/v3/pods/docpod/credentials").await.ok();
    let password = credentials["user_password"].as_str().unwrap();
    let random = {
        let path = "/v3/pods/docpod/derived?resolve_secrets=true";
        app.admin_mode().get(path).await.ok()["secret_map"]["RANDOM"].as_str().unwrap().to_owned()
    };
    let environment = alice.get("/v3/pods/docpod/derived").await.ok()["environment_variables"].clone();
    assert_eq!(environment["FROM"], json!(password), "the derived view is for USER and above");
    app.database.go_away().await;
    let body = json!({"pod_id": "another", "image": "busybox", "environment_variables": secret});
    errors.push(alice.post("/v3/pods", body).await.body.to_string());
    app.database.come_back().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("no database connection"), "the log was captured: {log}");
    for text in errors.iter().chain([&log]) {
        assert!(!text.contains(CANARY), "{text}");
        assert!(!text.contains(password) && !text.contains(&random), "{text}");
        for token in &tokens {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!text.contains(signature), "{text}");
        }
    }
    assert!(!log.contains("podspw"), "nor the service's password");
    // Libraries that show bytes show them as numbers.
    for secret in [CANARY, "podspw", password, &random]
        .into_iter()
        .chain(tokens.iter().map(|token| &token[token.len() - 20..]))
    {
        let numbers = secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        let line = log.lines().find(|line| line.contains(&numbers));
        assert!(line.is_none(), "{}", line.unwrap_or_default());
    }
}
