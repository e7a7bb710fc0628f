//! What the API reads of Kubernetes: Pods and their events, never a Secret, and it writes nothing. Without a cluster,
//! or while it does not answer, there is just less to tell.
//!
//! An API server finds the events of a Pod by looking at all events of the namespace, so however many ask, few questions
//! are on their way at once, and an answer serves everybody for a moment.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, Client, api::ListParams};
use pods_kube::{KubernetesConfig, client};
use tokio::{sync::Semaphore, time::timeout};

/// How long a request waits for Kubernetes.
const LIMIT: Duration = Duration::from_secs(2);
/// Most events of one Pod that are read.
const EVENTS_MAX: u32 = 500;
/// Pods that are asked about at once.
const ASKING: usize = 4;
/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(1);
/// Answers that are remembered.
const REMEMBERED: usize = 64;

/// Reads of Kubernetes; clones share the connection.
#[derive(Clone)]
pub struct Cluster {
    pods: Api<Pod>,
    events: Api<Event>,
    shared: Arc<Shared>,
}

struct Shared {
    asking: Semaphore,
    /// What was answered, by the name of the Pod, and when.
    recent: Mutex<HashMap<String, (Instant, Arc<About>)>>,
}

/// What Kubernetes knows of one Pod.
struct About {
    exists: bool,
    events: Vec<Event>,
}

/// What Kubernetes knows of some Pods.
#[derive(Debug, Default)]
pub struct Found {
    /// The Pods that exist, by name.
    pub pods: BTreeSet<String>,
    /// Their events.
    pub events: Vec<Event>,
}

impl Cluster {
    /// The cluster that is configured; `None` when there is none.
    pub async fn connect(config: Option<&KubernetesConfig>) -> Option<Self> {
        let config = config?;
        match client::connect().await {
            Ok(client) => Some(Self::new(client, &config.namespace)),
            Err(error) => {
                tracing::info!(error = %error, "no cluster can be read; events of pods are not shown");
                None
            }
        }
    }

    /// The Pods of a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        let shared = Arc::new(Shared { asking: Semaphore::new(ASKING), recent: Mutex::default() });
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            events: Api::namespaced(client, namespace),
            shared,
        }
    }

    /// What is known of the Pods of these names; of each nothing when Kubernetes does not answer in time.
    pub async fn about(&self, names: &[String]) -> Found {
        let each = names
            .iter()
            .map(|name| async move { (name, timeout(LIMIT, self.one(name)).await.ok().flatten()) });
        let mut found = Found::default();
        for (name, about) in future::join_all(each).await {
            let Some(about) = about else { continue };
            found.pods.extend(about.exists.then(|| name.clone()));
            found.events.extend(about.events.iter().cloned());
        }
        found
    }

    async fn one(&self, name: &str) -> Option<Arc<About>> {
        if let Some(about) = self.shared.recent(name) {
            return Some(about);
        }
        let _turn = self.shared.asking.acquire().await.ok()?;
        // Somebody else may have asked the same meanwhile.
        if let Some(about) = self.shared.recent(name) {
            return Some(about);
        }
        let about = Arc::new(self.ask(name).await?);
        self.shared.remember(name, &about);
        Some(about)
    }

    /// A failure is no answer, and is not remembered as one.
    async fn ask(&self, name: &str) -> Option<About> {
        let of_pod = format!("involvedObject.kind=Pod,involvedObject.name={name}");
        let params = ListParams::default().fields(&of_pod).limit(EVENTS_MAX);
        let (events, pod) =
            future::join(client::call(self.events.list(&params)), client::call(self.pods.get_metadata(name)))
                .await;
        let mut events = events.ok()?.items;
        // A server that does not select answers with more.
        events.retain(|event| event.involved_object.name.as_deref() == Some(name));
        Some(About { exists: pod.is_ok(), events })
    }
}

impl Shared {
    fn recent(&self, name: &str) -> Option<Arc<About>> {
        let recent = self.lock();
        let (at, about) = recent.get(name)?;
        (at.elapsed() < FRESH).then(|| Arc::clone(about))
    }

    fn remember(&self, name: &str, about: &Arc<About>) {
        let mut recent = self.lock();
        if recent.len() >= REMEMBERED {
            recent.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if recent.len() < REMEMBERED {
            recent.insert(name.to_owned(), (Instant::now(), Arc::clone(about)));
        }
    }

    /// An entry is there as a whole, or not.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, Arc<About>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
