//! From a request to its answer.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Response, header::ACCEPT, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::{
    cluster::{Answered, Broken, Call, Cluster, Effect, lock},
    control, discovery,
    object::Object,
    refusal::Refusal,
    route::Target,
    selector::Selector,
    store::Deleted,
    stream,
};

impl Cluster {
    /// Answers a request as the API server would.
    ///
    /// # Errors
    /// [`Broken`]: the connection is to be broken off.
    pub async fn answer(&self, parts: &Parts, body: Bytes) -> Answered {
        if let Some(path) = parts.uri.path().strip_prefix("/_control/") {
            return control::answer(self, &parts.method, path, &body);
        }
        if !*self.shared.reachable.borrow() {
            if self.shared.calls.is_some() {
                lock(&self.shared.unreached).push(parts.uri.path().to_owned());
            }
            return Err(Broken);
        }
        if let Some(document) = discovery::document(parts.uri.path()) {
            return json_answer(200, &document);
        }
        let Some(target) = Target::read(&parts.uri) else {
            return refuse(&Refusal::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ));
        };
        let Ok(body) = read_body(&body) else {
            return refuse(&Refusal::bad_request(
                "the body of the request is neither JSON nor one of the YAML forms",
            ));
        };
        let own = body["metadata"]["name"].as_str().filter(|_| parts.method == Method::POST);
        let call = Call {
            method: parts.method.to_string(),
            kind: target.resource.plural.to_owned(),
            name: own.unwrap_or(&target.name).to_owned(),
        };
        self.note(&call, &target);
        let effect = self.fault(&call, &target);
        match effect {
            Some(Effect::Drop) => return Err(Broken),
            Some(Effect::Status(refusal)) => return refuse(&refusal),
            Some(Effect::Delay(time)) => tokio::time::sleep(time).await,
            Some(Effect::AnswerLost) | None => {}
        }
        let answer = self.carry_out(parts, &target, &body);
        if matches!(effect, Some(Effect::AnswerLost)) { Err(Broken) } else { answer }
    }

    fn note(&self, call: &Call, target: &Target) {
        let verb = verb(&call.method, target);
        *lock(&self.shared.counts).entry(format!("{verb} {}", call.kind)).or_default() += 1;
        if let Some(calls) = &self.shared.calls {
            lock(calls).push(call.clone());
        }
        let hook = lock(&self.shared.hook).clone();
        if call.method != "GET"
            && let Some(hook) = hook
        {
            hook(call);
        }
    }

    fn fault(&self, call: &Call, target: &Target) -> Option<Effect> {
        let verb = verb(&call.method, target);
        let mut faults = lock(&self.shared.faults);
        let at = faults.iter().position(|fault| {
            fault.left > 0
                && (fault.method == call.method || fault.method == verb)
                && fault.kind == call.kind
                && fault.name.as_ref().is_none_or(|name| *name == call.name)
        })?;
        faults[at].left -= 1;
        let effect = faults[at].effect.clone();
        faults.retain(|fault| fault.left > 0);
        Some(effect)
    }

    fn carry_out(&self, parts: &Parts, target: &Target, body: &Value) -> Answered {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let partial = header(ACCEPT).contains("as=PartialObjectMetadata");
        let one = |result: Result<Arc<Object>, Refusal>, code: u16| match result {
            Ok(object) if partial => bytes_answer(code, object.metadata_only()),
            Ok(object) => bytes_answer(code, object.json.clone()),
            Err(refusal) => refuse(&refusal),
        };
        let Target { resource, namespace, name, .. } = target;
        match parts.method {
            Method::GET if target.part == "log" => stream::log(self, target),
            Method::GET if target.asks("watch") => stream::watch(self, target, partial),
            Method::GET if name.is_empty() => match self.list(target, partial) {
                Ok(list) => bytes_answer(200, list),
                Err(refusal) => refuse(&refusal),
            },
            Method::GET => one(self.state().store.get(resource, namespace, name), 200),
            Method::POST if name.is_empty() => {
                one(self.state().create(resource, namespace, body.clone()), 201)
            }
            Method::PATCH => {
                let kind = header(CONTENT_TYPE).to_owned();
                let patched = self.state().change(resource, namespace, name, |store| {
                    store.patch(resource, namespace, name, &kind, body)
                });
                one(patched, 200)
            }
            Method::PUT => {
                let replaced = self.state().change(resource, namespace, name, |store| {
                    store.update(resource, namespace, name, |value| {
                        let uid = value["metadata"]["uid"].clone();
                        *value = body.clone();
                        if value["metadata"]["uid"].is_null() {
                            value["metadata"]["uid"] = uid;
                        }
                        Ok(())
                    })
                });
                one(replaced, 200)
            }
            Method::DELETE if name.is_empty() => self.delete_all(target, body),
            Method::DELETE => {
                let options = options(target, body);
                let deleted = self.state().delete(resource, namespace, name, &options);
                one(deleted.map(|deleted| Arc::clone(deleted.object())), 200)
            }
            _ => refuse(&Refusal::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )),
        }
    }

    fn delete_all(&self, target: &Target, body: &Value) -> Answered {
        let selector = match Selector::parse(target.get("labelSelector"), target.get("fieldSelector")) {
            Ok(selector) => selector,
            Err(refusal) => return refuse(&refusal),
        };
        let mut state = self.state();
        let table = state.store.table(target.resource);
        let found: Vec<Arc<Object>> = table.select(&target.namespace, &selector, "").cloned().collect();
        let options = options(target, body);
        for object in found {
            let _: Result<Deleted, Refusal> =
                state.delete(target.resource, object.namespace(), object.name(), &options);
        }
        json_answer(200, &json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}))
    }

    /// A list, or a page of one. A later page shows the present, not what was when the first was read; its version
    /// is that of the first page, so that a watch from there brings everything that happened since.
    fn list(&self, target: &Target, partial: bool) -> Result<Bytes, Refusal> {
        let selector = Selector::parse(target.get("labelSelector"), target.get("fieldSelector"))?;
        let state = self.state();
        let table = state.store.table(target.resource);
        let (version, after) = match target.get("continue") {
            "" => (state.store.version, String::new()),
            token => read_token(token).ok_or_else(|| Refusal::bad_request("continue key is not valid"))?,
        };
        if version < table.compacted && !after.is_empty() {
            return Err(Refusal::expired(table.compacted));
        }
        let limit = target.get("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut items = table.select(&target.namespace, &selector, &after);
        let mut out = BytesMut::with_capacity(64 * 1024);
        let (kind, api) = match partial {
            true => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            false => (target.resource.kind.to_owned(), target.resource.api_version()),
        };
        out.put_slice(format!("{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api}\",\"items\":[").as_bytes());
        let mut last: Option<&Arc<Object>> = None;
        for object in items.by_ref().take(limit) {
            if last.is_some() {
                out.put_u8(b',');
            }
            if partial {
                out.put_slice(&object.metadata_only());
            } else {
                out.put_slice(&object.json);
            }
            last = Some(object);
        }
        let mut meta = json!({"resourceVersion": version.to_string()});
        if let (true, Some(last)) = (items.next().is_some(), last) {
            meta["continue"] = json!(token(version, &last.key));
        }
        out.put_slice(format!("],\"metadata\":{meta}}}").as_bytes());
        Ok(out.freeze())
    }
}

fn verb(method: &str, target: &Target) -> &'static str {
    match method {
        "GET" if target.part == "log" => "LOG",
        "GET" if target.asks("watch") => "WATCH",
        "GET" if target.name.is_empty() => "LIST",
        "GET" => "GET",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "PUT" => "PUT",
        _ => "DELETE",
    }
}

/// The options of a deletion come in the body or in the query.
fn options(target: &Target, body: &Value) -> Value {
    let mut options = body.clone();
    if let Ok(grace) = target.get("gracePeriodSeconds").parse::<i64>() {
        options["gracePeriodSeconds"] = json!(grace);
    }
    options
}

fn read_body(body: &Bytes) -> Result<Value, serde_json::Error> {
    if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) }
}

fn token(version: u64, key: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(format!("{version} {key}"))
}

fn read_token(token: &str) -> Option<(u64, String)> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (version, key) = text.split_once(' ')?;
    Some((version.parse().ok()?, key.to_owned()))
}

pub(crate) fn refuse(refusal: &Refusal) -> Answered {
    json_answer(refusal.code, &refusal.status())
}

pub(crate) fn json_answer(code: u16, value: &Value) -> Answered {
    bytes_answer(code, value.to_string().into())
}

fn bytes_answer(code: u16, bytes: Bytes) -> Answered {
    Response::builder()
        .status(code)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
        .map_err(|_| Broken)
}
