//! Who sends requests, and what comes back.

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::{app::TestApp, conformance};

/// Somebody who sends requests.
#[derive(Clone)]
pub struct Caller<'a> {
    pub app: &'a TestApp,
    pub host: &'static str,
    pub headers: Vec<(&'static str, String)>,
}

impl Caller<'_> {
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string().into_bytes())).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body.to_string().into_bytes())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Creates a pod that must be possible to create.
    pub async fn create(&self, pod_id: &str, more: Value) -> Value {
        let mut body = json!({"pod_id": pod_id, "image": "busybox", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post("/v3/pods", body).await.ok()
    }

    /// Gives somebody a level on a pod.
    pub async fn grant(&self, pod_id: &str, user: &str, level: &str) {
        self.post(&format!("/v3/pods/{pod_id}/permissions"), json!({"user": user, "level": level}))
            .await
            .ok();
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Answer {
        let mut request =
            self.app.client.request(method.clone(), format!("http://{}{path}", self.app.address()));
        request = request.header("host", self.host);
        let typed = self.headers.iter().any(|(name, _)| *name == "content-type");
        if body.is_some() && !typed {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        if headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            // It has no end; that it begins is the answer.
            assert_eq!(status, StatusCode::OK);
            return Answer { status, headers, body: Value::Null };
        }
        let bytes = response.bytes().await.unwrap();
        let body = if method == Method::HEAD {
            assert!(bytes.is_empty(), "HEAD has no body");
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                panic!("{status} {path}: {error}: {}", String::from_utf8_lossy(&bytes))
            })
        };
        let answer = Answer { status, headers, body };
        if method != Method::HEAD {
            answer.check_envelope();
            conformance::check(&method, path, answer.status, &answer.body);
        }
        answer
    }

    /// A request whose answer may be anything: a preflight, a page.
    pub async fn raw(&self, method: Method, path: &str) -> reqwest::Response {
        let mut request = self.app.client.request(method, format!("http://{}{path}", self.app.address()));
        request = request.header("host", self.host);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send().await.unwrap()
    }
}

/// What came back; every body is an envelope.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    fn check_envelope(&self) {
        assert_eq!(self.headers["content-type"], "application/json", "exactly, without a charset");
        let members: Vec<&str> = self.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["message", "metadata", "result", "status", "version"]);
        assert!(self.body["metadata"].is_object() && self.body["version"].is_string(), "{}", self.body);
        if self.status.is_success() {
            assert!(self.body["message"].is_string(), "{}", self.body);
        } else {
            assert_eq!((&self.body["status"], &self.body["result"]), (&json!("error"), &Value::Null));
            assert!(!self.message().is_empty());
        }
    }

    /// The result of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert_eq!(self.body["status"], "success", "{}", self.body);
        self.body["result"].clone()
    }

    /// That the answer is an error of this code whose message contains `text`.
    #[track_caller]
    pub fn is(&self, code: u16, text: &str) {
        assert_eq!(self.status.as_u16(), code, "{}", self.body);
        let message = self.message();
        assert!(message.to_lowercase().contains(&text.to_lowercase()), "{text:?} is not in {message:?}");
    }

    /// The same for a body that breaks rules: 400 and an array of lines.
    #[track_caller]
    pub fn is_invalid(&self, text: &str) {
        assert!(self.body["message"].is_array(), "{}", self.body);
        self.is(400, text);
    }

    /// The message, lines joined.
    pub fn message(&self) -> String {
        match &self.body["message"] {
            Value::String(text) => text.clone(),
            Value::Array(lines) => {
                lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
            }
            other => panic!("a message is text or a list of texts: {other}"),
        }
    }
}
