//! From a request to its answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{Stream, stream};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};

use super::{
    Answered, Broken, Call, FakeCluster, Fault,
    store::{Refusal, matches},
};

struct Target {
    kind: String,
    name: String,
    log: bool,
    query: BTreeMap<String, String>,
}

impl FakeCluster {
    pub(super) async fn answer(&self, request: Request<Body>) -> Answered {
        if !*self.shared.reachable.borrow() {
            return Err(Broken);
        }
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if parts.uri.path() == "/version" {
            return json_answer(
                200,
                &json!({
                    "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "",
                    "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
                }),
            );
        }
        let Some(target) = self.target(&parts.uri) else {
            return refusal(&not_found("the scripted cluster does not know this path"));
        };
        let name = body["metadata"]["name"].as_str().filter(|_| parts.method == Method::POST);
        let call = Call {
            method: parts.method.to_string(),
            kind: target.kind.clone(),
            name: name.unwrap_or(&target.name).to_owned(),
        };
        self.note(&call);
        let fault = self.fault(&call);
        match fault {
            Some(Fault::Refused) => return Err(Broken),
            Some(Fault::Status { code, reason, message }) => {
                return refusal(&Refusal { code, reason, message });
            }
            Some(Fault::AnswerLost) | None => {}
        }
        let answer = self.carry_out(&parts.method, &target, &body);
        if matches!(fault, Some(Fault::AnswerLost)) { Err(Broken) } else { answer }
    }

    fn target(&self, uri: &http::Uri) -> Option<Target> {
        let rest = uri.path().strip_prefix("/api/v1/")?;
        let words: Vec<&str> = rest.split('/').filter(|word| !word.is_empty()).collect();
        let words = match words.as_slice() {
            ["namespaces", namespace, rest @ ..] if *namespace == self.shared.namespace => rest,
            [_, ..] if words[0] != "namespaces" => &words,
            _ => return None,
        };
        let kind = (*words.first()?).to_owned();
        let name = words.get(1).copied().unwrap_or_default().to_owned();
        let query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(key, value)| (key.to_owned(), decode(value))).collect();
        Some(Target { kind, name, log: words.get(2) == Some(&"log"), query })
    }

    fn carry_out(&self, method: &Method, target: &Target, body: &Value) -> Answered {
        let selector = target.query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let asked = |key: &str| target.query.get(key).is_some_and(|value| value == "true");
        let (kind, name) = (target.kind.as_str(), target.name.as_str());
        let result = match *method {
            Method::GET if target.log => return self.log(name, asked("follow"), target),
            Method::GET if asked("watch") => return self.watch(kind, selector, target),
            Method::GET if name.is_empty() => {
                let store = self.store();
                Ok(json!({
                    "apiVersion": "v1", "kind": "List",
                    "metadata": {"resourceVersion": store.version.to_string()},
                    "items": store.list(kind, selector),
                }))
            }
            Method::GET => self.store().get(kind, name),
            Method::POST => self.store().create(kind, body.clone()),
            Method::PATCH => self.store().patch(kind, name, body),
            Method::DELETE => self.store().delete(kind, name, body),
            _ => Err(not_found("method")),
        };
        match result {
            Ok(object) => json_answer(if *method == Method::POST { 201 } else { 200 }, &object),
            Err(refused) => refusal(&refused),
        }
    }

    fn watch(&self, kind: &str, selector: &str, target: &Target) -> Answered {
        let seen: u64 = target.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let (fake, kind, selector) = (self.clone(), kind.to_owned(), selector.to_owned());
        self.streamed(seen, move |seen| {
            let store = fake.store();
            let news = store.events.iter().filter(|event| event.version > *seen && event.kind == kind);
            let lines: Vec<String> = news
                .filter(|event| matches(&event.object, &selector))
                .map(|event| format!("{}\n", json!({"type": event.action, "object": event.object})))
                .collect();
            *seen = store.version.max(*seen);
            Chunk { bytes: lines.concat().into_bytes(), last: false }
        })
    }

    fn log(&self, pod: &str, follow: bool, target: &Target) -> Answered {
        let object = match self.store().get("pods", pod) {
            Ok(object) => object,
            Err(refused) => return refusal(&refused),
        };
        if object["status"]["containerStatuses"][0]["state"]["waiting"].is_object()
            || object["status"]["containerStatuses"].is_null()
        {
            let message = "container is waiting to start: ContainerCreating".to_owned();
            return refusal(&Refusal { code: 400, reason: "BadRequest", message });
        }
        let since = target.query.get("sinceTime").cloned().unwrap_or_default();
        let tail = target.query.get("tailLines").and_then(|lines| lines.parse().ok()).unwrap_or(usize::MAX);
        let (fake, pod) = (self.clone(), pod.to_owned());
        let skipped = self.store().logs.get(&pod).map_or(0, |log| start_of(log, &since, tail));
        self.streamed(skipped as u64, move |sent| {
            let store = fake.store();
            let bytes = store.logs.get(&pod).map(|log| log[(*sent as usize).min(log.len())..].to_vec());
            let bytes = bytes.unwrap_or_default();
            *sent += bytes.len() as u64;
            let running = store
                .get("pods", &pod)
                .is_ok_and(|pod| pod["status"]["containerStatuses"][0]["state"]["running"].is_object());
            Chunk { bytes, last: !follow || !running }
        })
    }

    /// An answer that goes on whenever something changes, until it is done or the cluster cannot be reached.
    fn streamed(&self, state: u64, next: impl FnMut(&mut u64) -> Chunk + Send + 'static) -> Answered {
        let changed = self.store().changed.subscribe();
        let reachable = self.shared.reachable.subscribe();
        let frames = frames(Live { state, next, changed, reachable, done: false });
        let body = StreamBody::new(frames).boxed_unsync();
        Response::builder().status(200).body(body).map_err(|_| Broken)
    }
}

struct Chunk {
    bytes: Vec<u8>,
    last: bool,
}

struct Live<F> {
    state: u64,
    next: F,
    changed: tokio::sync::watch::Receiver<u64>,
    reachable: tokio::sync::watch::Receiver<bool>,
    done: bool,
}

fn frames<F>(live: Live<F>) -> impl Stream<Item = Result<Frame<Bytes>, Broken>> + Send
where
    F: FnMut(&mut u64) -> Chunk + Send + 'static,
{
    stream::unfold(live, |mut live| async move {
        if live.done {
            return None;
        }
        loop {
            live.changed.mark_unchanged();
            let chunk = (live.next)(&mut live.state);
            live.done = chunk.last;
            if !chunk.bytes.is_empty() {
                return Some((Ok(Frame::data(Bytes::from(chunk.bytes))), live));
            }
            if chunk.last {
                return None;
            }
            let broken = tokio::select! {
                biased;
                result = live.reachable.wait_for(|reachable| !reachable) => result.map(drop).is_ok(),
                result = live.changed.changed() => result.is_err(),
            };
            if broken {
                live.done = true;
                return Some((Err(Broken), live));
            }
        }
    })
}

/// Where a log begins that was asked for from a time, or for a number of lines.
fn start_of(log: &[u8], since: &str, tail: usize) -> usize {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1))
        .filter(|start| *start < log.len())
        .collect();
    let second = since.trim_end_matches('Z').as_bytes();
    let late = starts.iter().position(|start| log[*start..].iter().take(second.len()).ge(second.iter()));
    let first = late.unwrap_or(starts.len()).max(starts.len().saturating_sub(tail));
    starts.get(first).copied().unwrap_or(log.len())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let hex = [*high, *low];
                let hex = std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(hex.unwrap_or(b'?'));
                after
            }
            (b'+', after) => {
                bytes.push(b' ');
                after
            }
            (byte, after) => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn not_found(what: &str) -> Refusal {
    Refusal { code: 404, reason: "NotFound", message: what.to_owned() }
}

fn refusal(refused: &Refusal) -> Answered {
    json_answer(
        refused.code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": refused.code, "reason": refused.reason, "message": refused.message,
        }),
    )
}

fn json_answer(code: u16, object: &Value) -> Answered {
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(object.to_string())).map_err(|never| match never {}).boxed_unsync())
        .map_err(|_| Broken)
}
