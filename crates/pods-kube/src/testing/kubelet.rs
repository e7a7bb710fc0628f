//! What the test does in place of scheduler and kubelet.

use chrono::Utc;
use serde_json::{Value, json};

use super::{FakeCluster, store::Store};

impl FakeCluster {
    /// Pods run as soon as they are created and end as soon as their deadline is set.
    pub fn autopilot(&self) {
        self.store().runs_by_itself = true;
    }

    /// A deleted Pod stays, marked, until [`FakeCluster::remove_pod`] or a deletion by force.
    pub fn keep_deleted_pods(&self) {
        self.store().keeps_deleted_pods = true;
    }

    /// Objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        self.store().list(kind, "")
    }

    /// Names of the Pods.
    pub fn pod_names(&self) -> Vec<String> {
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.objects("pods").iter().map(name).collect()
    }

    /// Puts an object there as it is, past every rule.
    pub fn put(&self, kind: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.store().put("ADDED", kind, &name, object);
    }

    /// The container runs.
    pub fn set_running(&self, pod: &str) {
        self.store().set_running(pod);
    }

    /// The container waits.
    pub fn set_waiting(&self, pod: &str, reason: &str, message: &str) {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        self.store().set_status(pod, json!({"phase": "Pending", "containerStatuses": [container(&state)]}));
    }

    /// No node fits.
    pub fn set_unschedulable(&self, pod: &str, message: &str) {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        self.store().set_status(pod, json!({"phase": "Pending", "conditions": [condition]}));
    }

    /// The container ended by itself; reason `Completed`, `Error` or `OOMKilled`.
    pub fn set_terminated(&self, pod: &str, exit_code: i32, reason: &str) {
        let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
        self.store()
            .set_status(pod, json!({"phase": phase, "containerStatuses": [ended(exit_code, reason)]}));
    }

    /// The container ended because its deadline was set.
    pub fn end_by_deadline(&self, pod: &str) {
        self.store().end_by_deadline(pod);
    }

    /// The Pod failed as a whole: `Evicted`, `Preempting`, `NodeLost`, `OutOfcpu`...
    pub fn fail_pod(&self, pod: &str, reason: &str, message: &str) {
        self.store().set_status(pod, json!({"phase": "Failed", "reason": reason, "message": message}));
    }

    /// The Pod is gone, as if somebody had deleted it by force.
    pub fn remove_pod(&self, pod: &str) {
        self.store().remove("pods", pod);
    }

    /// Appends to the container's log: lines as the API server sends them, with times.
    pub fn write_log(&self, pod: &str, line: &str) {
        let now = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
        self.write_raw_log(pod, format!("{now} {line}\n").as_bytes());
    }

    /// Appends bytes to what the API server sends as the container's log.
    pub fn write_raw_log(&self, pod: &str, bytes: &[u8]) {
        let mut store = self.store();
        store.logs.entry(pod.to_owned()).or_default().extend_from_slice(bytes);
        store.touch();
    }
}

impl Store {
    pub(super) fn set_running(&mut self, pod: &str) -> Option<Value> {
        let state = json!({"running": {"startedAt": Utc::now().to_rfc3339()}});
        self.set_status(pod, json!({"phase": "Running", "containerStatuses": [container(&state)]}))
    }

    pub(super) fn end_by_deadline(&mut self, pod: &str) {
        let status = json!({
            "phase": "Failed", "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
            "containerStatuses": [ended(143, "Error")],
        });
        self.set_status(pod, status);
    }

    fn set_status(&mut self, pod: &str, status: Value) -> Option<Value> {
        let mut object = self.get("pods", pod).ok()?;
        object["status"] = status;
        if object["spec"]["nodeName"].is_null() {
            object["spec"]["nodeName"] = json!("node");
        }
        Some(self.put("MODIFIED", "pods", pod, object))
    }
}

fn container(state: &Value) -> Value {
    let running = !state["running"].is_null();
    json!({
        "name": "container", "image": "", "imageID": "", "ready": running, "started": running, "restartCount": 0,
        "state": state,
    })
}

fn ended(exit_code: i32, reason: &str) -> Value {
    let now = Utc::now().to_rfc3339();
    let state = json!({"exitCode": exit_code, "reason": reason, "startedAt": now, "finishedAt": now});
    container(&json!({"terminated": state}))
}
