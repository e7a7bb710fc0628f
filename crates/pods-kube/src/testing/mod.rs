//! A scripted Kubernetes API server in the test's own process.
//!
//! [`FakeCluster::client`] is a real [`kube::Client`] whose requests never leave the process. It knows Pods, Services
//! and Secrets of one namespace: list, get, watch, create, merge patch, delete with uid preconditions, logs. The
//! test plays the kubelet ([`FakeCluster::set_running`] and friends, or [`FakeCluster::autopilot`]) and decides which
//! calls fail ([`FakeCluster::fail`], [`FakeCluster::set_reachable`]).

mod answer;
mod kubelet;
mod store;

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use kube::{Client, client::Body};

use store::Store;

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

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// GET, POST, PATCH or DELETE.
    pub method: String,
    /// `pods`, `services` or `secrets`.
    pub kind: String,
    /// The object's name; of a create too.
    pub name: String,
}

struct Scripted {
    method: &'static str,
    kind: &'static str,
    left: usize,
    fault: Fault,
}

type Hook = Arc<dyn Fn(&Call) + Send + Sync>;

struct Shared {
    namespace: String,
    store: Mutex<Store>,
    faults: Mutex<Vec<Scripted>>,
    calls: Mutex<Vec<Call>>,
    hook: Mutex<Option<Hook>>,
    reachable: tokio::sync::watch::Sender<bool>,
}

/// The scripted API server; clones share it.
#[derive(Clone)]
pub struct FakeCluster {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeCluster").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}

impl FakeCluster {
    /// An empty cluster with one namespace.
    pub fn new(namespace: &str) -> Self {
        let shared = Shared {
            namespace: namespace.to_owned(),
            store: Mutex::new(Store::new()),
            faults: Mutex::default(),
            calls: Mutex::default(),
            hook: Mutex::default(),
            reachable: tokio::sync::watch::Sender::new(true),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A client for it.
    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { fake.answer(request).await }
        });
        Client::new(service, self.shared.namespace.clone())
    }

    /// The next `times` calls of this method and kind meet a fault. Lists and watches are GET.
    pub fn fail(&self, method: &'static str, kind: &'static str, times: usize, fault: Fault) {
        lock(&self.shared.faults).push(Scripted { method, kind, left: times, fault });
    }

    /// Whether the API server can be reached. Open watches and logs break off when it cannot.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.reachable.send_replace(reachable);
    }

    /// Runs before each call that changes something takes effect.
    pub fn before_writes(&self, hook: impl Fn(&Call) + Send + Sync + 'static) {
        *lock(&self.shared.hook) = Some(Arc::new(hook));
    }

    /// Every call that changed or tried to change something, in order.
    pub fn writes(&self) -> Vec<Call> {
        lock(&self.shared.calls).iter().filter(|call| call.method != "GET").cloned().collect()
    }

    /// The writes as `METHOD kind`.
    pub fn written(&self) -> Vec<String> {
        self.writes().iter().map(|call| format!("{} {}", call.method, call.kind)).collect()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }

    fn note(&self, call: &Call) {
        lock(&self.shared.calls).push(call.clone());
        let hook = lock(&self.shared.hook).clone();
        if call.method != "GET"
            && let Some(hook) = hook
        {
            hook(call);
        }
    }

    fn fault(&self, call: &Call) -> Option<Fault> {
        let mut faults = lock(&self.shared.faults);
        let scripted = faults
            .iter_mut()
            .find(|fault| fault.left > 0 && fault.method == call.method && fault.kind == call.kind)?;
        scripted.left -= 1;
        Some(scripted.fault.clone())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What breaks a connection.
#[derive(Debug, thiserror::Error)]
#[error("the scripted cluster broke the connection")]
struct Broken;

type AnswerBody = UnsyncBoxBody<Bytes, Broken>;
type Answered = Result<Response<AnswerBody>, Broken>;
