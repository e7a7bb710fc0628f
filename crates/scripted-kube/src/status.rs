//! The parts of a Pod that scheduler and kubelet write. Pure, apart from the time.

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::store::now;

/// The image of the container.
pub fn image(pod: &Value) -> String {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
}

/// The name of the container.
pub fn container_name(pod: &Value) -> String {
    pod["spec"]["containers"][0]["name"].as_str().unwrap_or("container").to_owned()
}

fn condition(pod: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let Some(all) = pod["status"]["conditions"].as_array_mut() else { return };
    let known = all.iter().position(|condition| condition["type"] == kind);
    let since =
        known.and_then(|at| (all[at]["status"] == status).then(|| all[at]["lastTransitionTime"].clone()));
    let mut new = json!({
        "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since.unwrap_or_else(|| json!(now())),
    });
    if !reason.is_empty() {
        new["reason"] = json!(reason);
    }
    if !message.is_empty() {
        new["message"] = json!(message);
    }
    match known {
        Some(at) => all[at] = new,
        None => all.push(new),
    }
}

/// No node has room.
pub fn unschedulable(pod: &mut Value, why: &str) {
    condition(pod, "PodScheduled", "False", "Unschedulable", why);
}

/// It was placed.
pub fn scheduled(pod: &mut Value, node: &str) {
    pod["spec"]["nodeName"] = json!(node);
    condition(pod, "PodScheduled", "True", "", "");
}

fn container(pod: &mut Value, state: Value, ready: bool) {
    let name = container_name(pod);
    let image = image(pod);
    let started = !state["running"].is_null();
    let mut container = json!({
        "name": name, "image": image, "imageID": "", "lastState": {}, "ready": ready, "started": started,
        "restartCount": 0, "state": state,
    });
    if container["state"]["waiting"].is_null() {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().replace('-', "");
        container["containerID"] = json!(format!("containerd://{uid}{uid}"));
        container["imageID"] = json!(format!("{image}@sha256:{uid}{uid}"));
    }
    pod["status"]["containerStatuses"] = json!([container]);
}

/// The container does not run yet.
pub fn waiting(pod: &mut Value, reason: &str, message: &str) {
    let mut state = json!({"waiting": {"reason": reason}});
    if !message.is_empty() {
        state["waiting"]["message"] = json!(message);
    }
    pod["status"]["phase"] = json!("Pending");
    if pod["status"]["startTime"].is_null() {
        pod["status"]["startTime"] = json!(now());
        pod["status"]["hostIP"] = json!("10.0.0.1");
    }
    condition(pod, "Initialized", "True", "", "");
    let name = container_name(pod);
    let unready = format!("containers with unready status: [{name}]");
    condition(pod, "Ready", "False", "ContainersNotReady", &unready);
    condition(pod, "ContainersReady", "False", "ContainersNotReady", &unready);
    container(pod, state, false);
}

/// The container runs, and is not ready yet.
pub fn running(pod: &mut Value) {
    // Of the time of a start the API knows seconds only.
    let since = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    container(pod, json!({"running": {"startedAt": since}}), false);
    pod["status"]["phase"] = json!("Running");
    let address = address(pod);
    pod["status"]["podIP"] = json!(address);
    pod["status"]["podIPs"] = json!([{"ip": address}]);
    condition(pod, "Initialized", "True", "", "");
    condition(pod, "PodReadyToStartContainers", "True", "", "");
}

/// Some address; nothing listens there.
fn address(pod: &Value) -> String {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let at =
        |from: usize| uid.get(from..from + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(1);
    format!("10.{}.{}.{}", at(0), at(2), at(4))
}

/// Its readiness probe succeeds.
pub fn ready(pod: &mut Value) {
    pod["status"]["containerStatuses"][0]["ready"] = json!(true);
    condition(pod, "Ready", "True", "", "");
    condition(pod, "ContainersReady", "True", "", "");
}

/// Its readiness probe fails.
pub fn not_ready(pod: &mut Value) {
    let name = container_name(pod);
    let unready = format!("containers with unready status: [{name}]");
    pod["status"]["containerStatuses"][0]["ready"] = json!(false);
    condition(pod, "Ready", "False", "ContainersNotReady", &unready);
    condition(pod, "ContainersReady", "False", "ContainersNotReady", &unready);
}

/// Its node does not answer.
pub fn node_silent(pod: &mut Value) {
    condition(pod, "Ready", "False", "NodeNotReady", "");
}

/// The container ended.
pub fn ended(pod: &mut Value, code: i32, reason: &str, message: &str) {
    let started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].clone();
    let mut state = json!({"terminated": {
        "exitCode": code, "reason": reason, "finishedAt": now(),
        "startedAt": if started.is_null() { json!(now()) } else { started },
    }});
    if !message.is_empty() {
        state["terminated"]["message"] = json!(message);
    }
    container(pod, state, false);
    // A Pod that failed as a whole stays so.
    if pod["status"]["phase"] != "Failed" {
        pod["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
    }
    let why = if code == 0 { "PodCompleted" } else { "PodFailed" };
    condition(pod, "Ready", "False", why, "");
    condition(pod, "ContainersReady", "False", why, "");
}

/// The Pod failed as a whole.
pub fn failed(pod: &mut Value, reason: &str, message: &str) {
    pod["status"]["phase"] = json!("Failed");
    if !reason.is_empty() {
        pod["status"]["reason"] = json!(reason);
    }
    if !message.is_empty() {
        pod["status"]["message"] = json!(message);
    }
}

/// Something other than the Pod itself ends it.
pub fn disrupted(pod: &mut Value, reason: &str, message: &str) {
    condition(pod, "DisruptionTarget", "True", reason, message);
}
