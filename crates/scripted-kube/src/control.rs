//! `/_control`: how a test or a bench moves the cluster from outside.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{
    answer::{json_answer, refuse},
    cluster::{Answered, CallFault, Cluster, Effect, lock},
    object::Object,
    refusal::Refusal,
    resource::Resource,
    scenario::Scenario,
    selector::Selector,
    settings::Settings,
    state::{Stage, resource},
};

/// `POST pods`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pods {
    name: Option<String>,
    labels: Option<String>,
    /// At most so many of them, in the order of their names.
    limit: Option<usize>,
    scenario: String,
}

/// `POST nodes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nodes {
    name: Option<String>,
    ready: Option<String>,
    /// Absent: as it is; null: none.
    #[serde(default, deserialize_with = "present")]
    pressure: Option<Option<String>>,
    #[serde(default)]
    removed: bool,
    #[serde(default)]
    added: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// `POST faults`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    #[serde(default)]
    clear: bool,
    method: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    times: Option<usize>,
    status: Option<FaultStatus>,
    #[serde(default)]
    drop: bool,
    #[serde(default)]
    answer_lost: bool,
    delay_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultStatus {
    code: u16,
    reason: String,
    message: String,
}

/// `POST watches`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watches {
    cut: bool,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    gone: bool,
}

/// `POST logs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logs {
    name: String,
    namespace: Option<String>,
    line: Option<String>,
    raw: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reachable {
    reachable: bool,
}

/// Answers a request to `/_control/<path>`.
pub fn answer(cluster: &Cluster, method: &Method, path: &str, body: &Bytes) -> Answered {
    let result = match (method, path) {
        (&Method::GET, "state") => Ok(state(cluster)),
        (&Method::POST, "settings") => settings(cluster, body),
        (&Method::POST, "pods") => read(body).and_then(|asked| pods(cluster, &asked)),
        (&Method::POST, "nodes") => read(body).and_then(|asked| nodes(cluster, &asked)),
        (&Method::POST, "faults") => read(body).and_then(|asked| faults(cluster, asked)),
        (&Method::POST, "watches") => read::<Watches>(body).map(|asked| {
            if asked.cut {
                cluster.cut_watches(&asked.kind, asked.gone);
            }
            json!({"watches": cluster.shared.watches.load(Ordering::Relaxed)})
        }),
        (&Method::POST, "reachable") => read::<Reachable>(body).map(|asked| {
            cluster.set_reachable(asked.reachable);
            json!({"reachable": asked.reachable})
        }),
        (&Method::POST, "logs") => read(body).and_then(|asked| logs(cluster, &asked)),
        (&Method::POST, "objects") => objects(cluster, body),
        (&Method::POST, "reset") => Ok(reset(cluster)),
        _ => Err(Refusal::new(404, "NotFound", format!("there is no control {method} {path}"))),
    };
    match result {
        Ok(value) => json_answer(200, &value),
        Err(refusal) => refuse(&refusal),
    }
}

fn read<'de, T: Deserialize<'de>>(body: &'de Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(error.to_string()))
}

fn state(cluster: &Cluster) -> Value {
    let state = cluster.state();
    let objects: BTreeMap<&str, usize> =
        state.store.tables().iter().map(|table| (table.resource.plural, table.objects.len())).collect();
    let compacted: BTreeMap<&str, u64> =
        state.store.tables().iter().map(|table| (table.resource.plural, table.compacted)).collect();
    let mut phases: BTreeMap<String, usize> = BTreeMap::new();
    let mut terminating = 0;
    for pod in state.store.table(resource("pods")).objects.values() {
        let value = pod.value();
        let phase = value["status"]["phase"].as_str().unwrap_or("Unknown");
        *phases.entry(phase.to_owned()).or_default() += 1;
        terminating += usize::from(!value["metadata"]["deletionTimestamp"].is_null());
    }
    let settings = serde_json::to_value(&state.settings).unwrap_or_default();
    json!({
        "version": state.store.version, "objects": objects, "compacted": compacted, "pods": phases,
        "terminating": terminating, "settings": settings,
        "nodes": state.nodes.iter().map(|(name, node)| (name.clone(), json!(node.ready))).collect::<BTreeMap<_, _>>(),
        "requests": *lock(&cluster.shared.counts),
        "watches": cluster.shared.watches.load(Ordering::Relaxed),
        "log_streams": cluster.shared.log_streams.load(Ordering::Relaxed),
        "reachable": *cluster.shared.reachable.borrow(),
    })
}

/// What is not named stays as it is.
fn settings(cluster: &Cluster, body: &Bytes) -> Result<Value, Refusal> {
    let patch: Value = read(body)?;
    let mut state = cluster.state();
    let mut all = serde_json::to_value(&state.settings).unwrap_or_default();
    crate::patch::merge(&mut all, &patch);
    let new: Settings =
        serde_json::from_value(all.clone()).map_err(|error| Refusal::bad_request(error.to_string()))?;
    state.store.history_limit = new.history;
    state.settings = new;
    Ok(all)
}

fn pods(cluster: &Cluster, asked: &Pods) -> Result<Value, Refusal> {
    let fields = asked.name.as_ref().map(|name| format!("metadata.name={name}")).unwrap_or_default();
    let selector = Selector::parse(asked.labels.as_deref().unwrap_or_default(), &fields)?;
    if selector.is_everything() {
        return Err(Refusal::bad_request("say which Pods by name or by labels"));
    }
    let mut state = cluster.state();
    let limit = asked.limit.unwrap_or(usize::MAX);
    let found: Vec<Arc<Object>> =
        state.store.table(resource("pods")).select("", &selector, "").take(limit).cloned().collect();
    for pod in &found {
        if asked.scenario == "remove" {
            state.remove_pod(pod.namespace(), pod.name());
            continue;
        }
        let scenario: Scenario =
            asked.scenario.parse().map_err(|error| Refusal::bad_request(format!("{error}")))?;
        state.perform(pod, scenario).map_err(Refusal::bad_request)?;
    }
    Ok(json!({"pods": found.iter().map(|pod| pod.name()).collect::<Vec<_>>()}))
}

fn nodes(cluster: &Cluster, asked: &Nodes) -> Result<Value, Refusal> {
    if let Some(ready) = &asked.ready
        && !["True", "False", "Unknown"].contains(&ready.as_str())
    {
        return Err(Refusal::bad_request("ready is True, False or Unknown"));
    }
    if let Some(Some(pressure)) = &asked.pressure
        && !["memory", "disk", "pid"].contains(&pressure.as_str())
    {
        return Err(Refusal::bad_request("pressure is memory, disk, pid or null"));
    }
    let mut state = cluster.state();
    let names: Vec<String> = match &asked.name {
        Some(name) if asked.added => {
            state.add_node(name);
            vec![name.clone()]
        }
        Some(name) => vec![name.clone()],
        None => state.nodes.keys().cloned().collect(),
    };
    for name in &names {
        let known = match asked.removed {
            true => state.remove_node(name),
            false => {
                let pressure = asked.pressure.as_ref().map(|pressure| pressure.as_deref());
                state.set_node(name, asked.ready.as_deref(), pressure)
            }
        };
        if !known {
            return Err(Refusal::not_found("nodes", name));
        }
    }
    Ok(json!({"nodes": names}))
}

fn faults(cluster: &Cluster, asked: Faults) -> Result<Value, Refusal> {
    if asked.clear {
        lock(&cluster.shared.faults).clear();
    }
    let (Some(method), Some(kind)) = (asked.method, asked.kind) else {
        return if asked.clear {
            Ok(json!({"faults": 0}))
        } else {
            Err(Refusal::bad_request("method and kind"))
        };
    };
    let effect = match (asked.status, asked.drop, asked.answer_lost, asked.delay_ms) {
        (Some(status), false, false, None) => {
            Effect::Status(Refusal::new(status.code, &status.reason, status.message))
        }
        (None, true, false, None) => Effect::Drop,
        (None, false, true, None) => Effect::AnswerLost,
        (None, false, false, Some(time)) => Effect::Delay(Duration::from_millis(time)),
        _ => return Err(Refusal::bad_request("one of status, drop, answer_lost and delay_ms")),
    };
    if Resource::named(&kind).is_none() {
        return Err(Refusal::bad_request(format!("there is no kind {kind}")));
    }
    cluster.add_fault(CallFault { method, kind, name: asked.name, left: asked.times.unwrap_or(1), effect });
    Ok(json!({"faults": lock(&cluster.shared.faults).len()}))
}

fn logs(cluster: &Cluster, asked: &Logs) -> Result<Value, Refusal> {
    let mut state = cluster.state();
    let namespace = match &asked.namespace {
        Some(namespace) => namespace.clone(),
        None => {
            let selector = Selector::parse("", &format!("metadata.name={}", asked.name))?;
            let found = state.store.table(resource("pods")).select("", &selector, "").next();
            found.map(|pod| pod.namespace().to_owned()).unwrap_or_default()
        }
    };
    let log = state.log(&namespace, &asked.name).ok_or_else(|| Refusal::not_found("pods", &asked.name))?;
    if let Some(line) = &asked.line {
        log.line(line);
    }
    if let Some(raw) = &asked.raw {
        log.raw(raw.as_bytes());
    }
    Ok(json!({}))
}

/// Objects one a line, stored as they are; those without a uid get one.
fn objects(cluster: &Cluster, body: &Bytes) -> Result<Value, Refusal> {
    let mut count = 0;
    // Not one lock for all of them: the others go on meanwhile.
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut value: Value =
            serde_json::from_slice(line).map_err(|error| Refusal::bad_request(error.to_string()))?;
        let kind = value["kind"].as_str().unwrap_or_default();
        let of = Resource::of_kind(kind)
            .ok_or_else(|| Refusal::bad_request(format!("there is no kind {kind}")))?;
        if value["metadata"]["uid"].is_null() {
            value["metadata"]["uid"] = json!(uuid::Uuid::new_v4());
        }
        if value["metadata"]["creationTimestamp"].is_null() {
            value["metadata"]["creationTimestamp"] = json!(crate::store::now());
        }
        cluster.state().put(of, value);
        count += 1;
    }
    Ok(json!({"objects": count}))
}

/// Removes everything but nodes and namespaces, as if it had been deleted by force.
fn reset(cluster: &Cluster) -> Value {
    lock(&cluster.shared.faults).clear();
    cluster.set_reachable(true);
    let mut state = cluster.state();
    let found: Vec<(&'static Resource, Arc<Object>)> = state
        .store
        .tables()
        .iter()
        .filter(|table| table.resource.namespaced)
        .flat_map(|table| table.objects.values().map(|object| (table.resource, Arc::clone(object))))
        .collect();
    for (of, object) in &found {
        match of.plural {
            "pods" => state.remove_pod(object.namespace(), object.name()),
            _ => drop(state.store.remove(of, object.namespace(), object.name())),
        }
    }
    let left = state.runs.values().filter(|run| run.stage != Stage::Over).count();
    json!({"removed": found.len(), "left": left})
}
