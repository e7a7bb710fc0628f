//! Callers of the API, as users reach it: through Traefik, with a token of the platform.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::wait::{LIMIT, await_condition};

/// Somebody who calls the API.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user's name, for messages.
    pub name: String,
    /// The access token; empty sends none.
    pub token: String,
    base_url: String,
    http: reqwest::Client,
    admin_mode: bool,
}

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// The status code.
    pub code: u16,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The envelope.
    pub body: Value,
}

impl Caller {
    /// A caller of a tenant. No token is sent when it is empty.
    pub fn new(name: &str, base_url: &str, token: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client without options can be built");
        Self { name: name.to_owned(), token, base_url: base_url.to_owned(), http, admin_mode: false }
    }

    /// The same caller with another token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    /// The same caller with connections of its own.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self { admin_mode: self.admin_mode, ..Self::new(&self.name, &self.base_url, self.token.clone()) }
    }

    /// The same caller with `X-Pods-Admin: true`.
    #[must_use]
    pub fn in_admin_mode(&self) -> Self {
        Self { admin_mode: true, ..self.clone() }
    }

    /// Any request; the path begins after the base URL.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = format!("{method} {path} as {}", self.name);
        self.try_send(method, path, body)
            .await
            .unwrap_or_else(|error| panic!("{request} got no answer: {error:?}"))
    }

    /// The same where it is no surprise that no answer comes.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base_url));
        if !self.token.is_empty() {
            request = request.header("X-Tapis-Token", &self.token);
        }
        if self.admin_mode {
            request = request.header("X-Pods-Admin", "true");
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let request_text = format!("{method} {path} as {}", self.name);
        let response = request.send().await?;
        let code = response.status().as_u16();
        let header = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = header.unwrap_or_default().to_owned();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { request: request_text, code, content_type, body })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// `POST` with a body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(&body)).await
    }

    /// `PUT` with a body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(&body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// The pod as the API shows it.
    pub async fn pod(&self, pod_id: &str) -> Value {
        self.get(&format!("/v3/pods/{pod_id}")).await.result()
    }

    /// `start`, `stop` or `restart`, which must be accepted.
    pub async fn act(&self, pod_id: &str, action: &str) -> Value {
        self.get(&format!("/v3/pods/{pod_id}/{action}")).await.result()
    }

    /// The log of the container.
    pub async fn logs(&self, pod_id: &str) -> String {
        let result = self.get(&format!("/v3/pods/{pod_id}/logs")).await.result();
        result["logs"].as_str().expect("logs is a string").to_owned()
    }

    /// The action log, one line each.
    pub async fn action_logs(&self, pod_id: &str) -> Vec<String> {
        let result = self.get(&format!("/v3/pods/{pod_id}/logs")).await.result();
        let lines = result["action_logs"].as_array().expect("action_logs is an array");
        lines.iter().map(|line| line.as_str().expect("a line is a string").to_owned()).collect()
    }

    /// Grants a level on a pod.
    pub async fn grant(&self, pod_id: &str, user: &str, level: &str) -> Value {
        let body = json!({ "user": user, "level": level });
        self.post(&format!("/v3/pods/{pod_id}/permissions"), body).await.result()
    }

    /// Waits until the pod has the status; an ERROR that is not waited for ends the wait at once.
    pub async fn await_status(&self, pod_id: &str, wanted: &str) -> Value {
        self.await_status_within(pod_id, wanted, LIMIT).await
    }

    /// The same with a limit of its own.
    pub async fn await_status_within(&self, pod_id: &str, wanted: &str, limit: Duration) -> Value {
        await_condition(&format!("pod {pod_id} becomes {wanted}"), limit, || async {
            let pod = self.pod(pod_id).await;
            let status = pod["status"].as_str().unwrap_or_default();
            assert!(
                status != "ERROR" || wanted == "ERROR",
                "pod {pod_id} is in ERROR instead of {wanted}: {}",
                pod["status_container"]
            );
            if status == wanted { Ok(pod) } else { Err(format!("{status} {}", pod["status_container"])) }
        })
        .await
    }
}

impl Answer {
    /// `result` of a success.
    pub fn result(self) -> Value {
        let fine = self.code == 200 && self.body["status"] == "success";
        assert!(fine, "{} was refused with {}: {}", self.request, self.code, self.body);
        assert_eq!(self.content_type, "application/json", "{}", self.request);
        for part in ["message", "metadata", "version"] {
            assert!(
                !self.body[part].is_null(),
                "{}: the envelope has no {part}: {}",
                self.request,
                self.body
            );
        }
        self.body["result"].clone()
    }

    /// The message of a refusal, which must have this code and the envelope of an error.
    pub fn refused(self, code: u16) -> String {
        assert_eq!(self.code, code, "{} answered {}", self.request, self.body);
        assert_eq!(self.content_type, "application/json", "{}", self.request);
        assert_eq!(self.body["status"], "error", "{}", self.request);
        let message = match &self.body["message"] {
            Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
            Value::String(text) => text.clone(),
            other => panic!("{}: a message that is no text: {other}", self.request),
        };
        assert!(!message.is_empty(), "{} was refused without a reason", self.request);
        message
    }
}
