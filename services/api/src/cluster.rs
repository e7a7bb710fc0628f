//! What the API reads of Kubernetes: Pods and their events, never a Secret, and it writes nothing. Without a cluster,
//! or while it does not answer, there is just less to tell.

use std::{collections::BTreeSet, time::Duration};

use futures::future;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, Client, api::ListParams};
use pods_kube::{KubernetesConfig, client};

/// How long a request waits for Kubernetes.
const LIMIT: Duration = Duration::from_secs(2);
/// Most events of one Pod that are read.
const EVENTS_MAX: u32 = 500;

/// Reads of Kubernetes; clones share the connection.
#[derive(Clone)]
pub struct Cluster {
    pods: Api<Pod>,
    events: Api<Event>,
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
        Self { pods: Api::namespaced(client.clone(), namespace), events: Api::namespaced(client, namespace) }
    }

    /// What is known of the Pods of these names; nothing when Kubernetes does not answer in time.
    pub async fn about(&self, names: &[String]) -> Found {
        let each = names.iter().map(|name| async move {
            let about = format!("involvedObject.kind=Pod,involvedObject.name={name}");
            let params = ListParams::default().fields(&about).limit(EVENTS_MAX);
            let (events, pod) = future::join(
                client::call(self.events.list(&params)),
                client::call(self.pods.get_metadata(name)),
            )
            .await;
            (events.map(|list| list.items).unwrap_or_default(), pod.is_ok().then(|| name.clone()))
        });
        let all = tokio::time::timeout(LIMIT, future::join_all(each)).await.unwrap_or_default();
        let mut found = Found::default();
        for (events, pod) in all {
            found.pods.extend(pod);
            // A server that does not select answers with more.
            let mine = events
                .into_iter()
                .filter(|event| event.involved_object.name.as_ref().is_some_and(|name| names.contains(name)));
            found.events.extend(mine);
        }
        found
    }
}
