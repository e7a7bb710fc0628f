//! The cluster inside of a test's own process, with the test as scheduler and kubelet.

use chrono::Utc;
use http::Request;
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::{
    cluster::{Broken, Call, CallFault, Cluster, Effect, lock},
    object::Object,
    refusal::Refusal,
    state::{Mode, State, resource},
};

/// A fault that a call meets.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call is answered with this status and has no effect.
    Status {
        /// The HTTP status.
        code: u16,
        /// For example `Invalid` or `Forbidden`.
        reason: &'static str,
        /// The explanation.
        message: String,
    },
    /// The connection breaks before the call has an effect.
    Refused,
    /// The call takes effect, but its answer is lost.
    AnswerLost,
}

/// A scripted cluster with one namespace; clones share it.
///
/// [`FakeCluster::client`] is a real [`kube::Client`] whose requests never leave the process. The test plays the kubelet
/// ([`FakeCluster::set_running`] and friends, or [`FakeCluster::autopilot`]) and decides which calls fail
/// ([`FakeCluster::fail`], [`FakeCluster::set_reachable`]).
#[derive(Debug, Clone)]
pub struct FakeCluster {
    cluster: Cluster,
    namespace: String,
}

impl FakeCluster {
    /// An empty cluster with one namespace.
    pub fn new(namespace: &str) -> Self {
        let by_the_test = Mode::Manual { runs_by_itself: false, keeps_deleted: false };
        let cluster = Cluster::new(by_the_test, true);
        cluster.state().add_namespace(namespace);
        Self { cluster, namespace: namespace.to_owned() }
    }

    /// A client for it.
    pub fn client(&self) -> Client {
        let cluster = self.cluster.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
                cluster.answer(&parts, body).await
            }
        });
        Client::new(service, self.namespace.clone())
    }

    /// Everything that can be done to it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The next `times` calls of this method and kind meet a fault. Lists and watches are GET.
    pub fn fail(&self, method: &'static str, kind: &'static str, times: usize, fault: Fault) {
        let effect = match fault {
            Fault::Status { code, reason, message } => Effect::Status(Refusal::new(code, reason, message)),
            Fault::Refused => Effect::Drop,
            Fault::AnswerLost => Effect::AnswerLost,
        };
        self.cluster.add_fault(CallFault {
            method: method.to_owned(),
            kind: kind.to_owned(),
            name: None,
            left: times,
            effect,
        });
    }

    /// Whether the API server can be reached. Open watches and logs break off when it cannot.
    pub fn set_reachable(&self, reachable: bool) {
        self.cluster.set_reachable(reachable);
    }

    /// How many requests have broken so far because it could not be reached, of those whose path ends like this.
    pub fn unreached(&self, path: &str) -> usize {
        lock(&self.cluster.shared.unreached).iter().filter(|asked| asked.ends_with(path)).count()
    }

    /// Runs before each call that changes something takes effect.
    pub fn before_writes(&self, hook: impl Fn(&Call) + Send + Sync + 'static) {
        *lock(&self.cluster.shared.hook) = Some(std::sync::Arc::new(hook));
    }

    /// Every call that changed or tried to change something, in order.
    pub fn writes(&self) -> Vec<Call> {
        let calls = self.cluster.shared.calls.as_ref().map(|calls| lock(calls).clone()).unwrap_or_default();
        calls.into_iter().filter(|call| call.method != "GET").collect()
    }

    /// How many calls have read objects of a kind so far.
    pub fn reads(&self, kind: &str) -> usize {
        let calls = self.cluster.shared.calls.as_ref().map(|calls| lock(calls).clone()).unwrap_or_default();
        calls.iter().filter(|call| call.method == "GET" && call.kind == kind).count()
    }

    /// The writes as `METHOD kind`.
    pub fn written(&self) -> Vec<String> {
        self.writes().iter().map(|call| format!("{} {}", call.method, call.kind)).collect()
    }

    /// Pods run as soon as they are created and end as soon as their deadline is set.
    pub fn autopilot(&self) {
        if let Mode::Manual { runs_by_itself, .. } = &mut self.cluster.state().mode {
            *runs_by_itself = true;
        }
    }

    /// A deleted Pod stays, marked, until [`FakeCluster::remove_pod`] or a deletion by force.
    pub fn keep_deleted_pods(&self) {
        if let Mode::Manual { keeps_deleted, .. } = &mut self.cluster.state().mode {
            *keeps_deleted = true;
        }
    }

    /// Objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        self.cluster
            .state()
            .store
            .table(resource(kind))
            .objects
            .values()
            .map(|object| object.value())
            .collect()
    }

    /// Names of the Pods.
    pub fn pod_names(&self) -> Vec<String> {
        let state = self.cluster.state();
        let names = state.store.table(resource("pods")).objects.values();
        names.map(|object: &std::sync::Arc<Object>| object.name().to_owned()).collect()
    }

    /// Puts an object there as it is, past every rule.
    pub fn put(&self, kind: &str, mut object: Value) {
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        self.cluster.state().put(resource(kind), object);
    }

    /// The container runs.
    pub fn set_running(&self, pod: &str) {
        self.cluster.state().set_running(&self.namespace, pod);
    }

    /// The container waits.
    pub fn set_waiting(&self, pod: &str, reason: &str, message: &str) {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        self.set_status(pod, json!({"phase": "Pending", "containerStatuses": [container(&state)]}));
    }

    /// No node fits.
    pub fn set_unschedulable(&self, pod: &str, message: &str) {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        self.set_status(pod, json!({"phase": "Pending", "conditions": [condition]}));
    }

    /// The container ended by itself; reason `Completed`, `Error` or `OOMKilled`.
    pub fn set_terminated(&self, pod: &str, exit_code: i32, reason: &str) {
        let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
        let now = Utc::now().to_rfc3339();
        let state = json!({"exitCode": exit_code, "reason": reason, "startedAt": now, "finishedAt": now});
        let state = json!({"terminated": state});
        self.set_status(pod, json!({"phase": phase, "containerStatuses": [container(&state)]}));
    }

    /// The container ended because its deadline was set.
    pub fn end_by_deadline(&self, pod: &str) {
        self.cluster.state().end_by_deadline(&self.namespace, pod);
    }

    /// The Pod failed as a whole: `Evicted`, `Preempting`, `NodeLost`, `OutOfcpu`...
    pub fn fail_pod(&self, pod: &str, reason: &str, message: &str) {
        self.set_status(pod, json!({"phase": "Failed", "reason": reason, "message": message}));
    }

    /// Any status.
    pub fn set_status(&self, pod: &str, status: Value) {
        self.cluster.state().set_status(&self.namespace, pod, status);
    }

    /// The Pod is gone, as if somebody had deleted it by force.
    pub fn remove_pod(&self, pod: &str) {
        self.cluster.state().remove_pod(&self.namespace, pod);
    }

    /// Appends to the container's log: lines as the API server sends them, with times.
    pub fn write_log(&self, pod: &str, line: &str) {
        if let Some(log) = self.log(pod) {
            log.line(line);
        }
    }

    /// Appends bytes to what the API server sends as the container's log.
    pub fn write_raw_log(&self, pod: &str, bytes: &[u8]) {
        if let Some(log) = self.log(pod) {
            log.raw(bytes);
        }
    }

    fn log(&self, pod: &str) -> Option<crate::log::Log> {
        let mut state: std::sync::MutexGuard<'_, State> = self.cluster.state();
        state.log(&self.namespace, pod)
    }
}

fn container(state: &Value) -> Value {
    let running = !state["running"].is_null();
    json!({
        "name": "container", "image": "", "imageID": "", "ready": running, "started": running, "restartCount": 0,
        "state": state,
    })
}
