//! What Kubernetes holds of a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    core::v1::{Event, Node, Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt, watcher},
};
use pods_kube::labels;
use tokio::task::JoinHandle;

use crate::{
    env::Env,
    wait::{LIMIT, await_condition},
};

/// The namespace of the users' pods, seen as administrator.
#[derive(Clone)]
pub struct Cluster {
    /// Kubernetes Pods.
    pub pods: Api<Pod>,
    /// What Kubernetes says happened.
    pub events: Api<Event>,
    /// The nodes.
    pub nodes: Api<Node>,
    /// For whatever else a test needs.
    pub client: Client,
    services: Api<Service>,
    /// Secrets.
    pub secrets: Api<Secret>,
    /// Who reaches whom.
    pub policies: Api<NetworkPolicy>,
}

fn of(pod_id: &str) -> ListParams {
    ListParams::default().labels(&format!("{}={pod_id}", labels::POD_ID))
}

impl Cluster {
    /// Connects as administrator.
    pub async fn connect(env: &Env) -> Self {
        let file =
            Kubeconfig::read_from(&env.kubeconfig).expect("the kubeconfig of the environment is readable");
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .expect("the kubeconfig of the environment is usable");
        let client = Client::try_from(config).expect("a client can be built");
        Self {
            pods: Api::namespaced(client.clone(), &env.namespace),
            services: Api::namespaced(client.clone(), &env.namespace),
            secrets: Api::namespaced(client.clone(), &env.namespace),
            policies: Api::namespaced(client.clone(), &env.namespace),
            events: Api::namespaced(client.clone(), &env.namespace),
            nodes: Api::all(client.clone()),
            client,
        }
    }

    /// The Kubernetes Pods of a pod.
    pub async fn pods_of(&self, pod_id: &str) -> Vec<Pod> {
        self.pods.list(&of(pod_id)).await.expect("Kubernetes lists pods").items
    }

    /// The one Kubernetes Pod of a pod.
    pub async fn pod_of(&self, pod_id: &str) -> Pod {
        let mut pods = self.pods_of(pod_id).await;
        assert_eq!(pods.len(), 1, "Kubernetes Pods of {pod_id}");
        pods.remove(0)
    }

    /// Deletes the Kubernetes Pods of a pod, as an administrator with kubectl would.
    pub async fn delete_by_hand(&self, pod_id: &str) {
        for pod in self.pods_of(pod_id).await {
            self.pods
                .delete(&pod.name_any(), &DeleteParams::default())
                .await
                .expect("the Pod can be deleted");
        }
    }

    /// Names of everything that exists for a pod.
    pub async fn objects_of(&self, pod_id: &str) -> Vec<String> {
        let of = of(pod_id);
        let pods = self.pods.list(&of).await.expect("Kubernetes lists pods");
        let services = self.services.list(&of).await.expect("Kubernetes lists services");
        let secrets = self.secrets.list(&of).await.expect("Kubernetes lists secrets");
        let policies = self.policies.list(&of).await.expect("Kubernetes lists policies");
        let policies = policies.items.iter().map(|object| format!("policy/{}", object.name_any()));
        let pods = pods.items.iter().map(|object| format!("pod/{}", object.name_any()));
        let services = services.items.iter().map(|object| format!("service/{}", object.name_any()));
        let secrets = secrets.items.iter().map(|object| format!("secret/{}", object.name_any()));
        pods.chain(services).chain(secrets).chain(policies).collect()
    }

    /// Waits until the Service of a pod leads to its container at this port, which serves a page with this text. Where the
    /// address of a Service leads that has no such port yet is up to the machine's network, and the proxy keeps
    /// connections.
    pub async fn await_port(&self, pod_id: &str, port: u16, text: &str) {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2));
        let client = client.pool_max_idle_per_host(0).build().expect("a client can be built");
        await_condition(&format!("the Service of {pod_id} leads to port {port}"), LIMIT, || async {
            let services = self.services.list(&of(pod_id)).await.expect("Kubernetes lists services");
            let spec = services.items.first().and_then(|service| service.spec.as_ref());
            let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or("127.0.0.1");
            let answer = client.get(format!("http://{address}:{port}/")).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            let page = answer.text().await.unwrap_or_default();
            if page.contains(text) { Ok(()) } else { Err(page) }
        })
        .await;
    }

    /// Waits until nothing exists for a pod.
    pub async fn await_nothing_of(&self, pod_id: &str) {
        await_condition(&format!("nothing is left of {pod_id} in Kubernetes"), LIMIT, || async {
            let left = self.objects_of(pod_id).await;
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
    }

    /// Waits until no Kubernetes Pod exists for a pod.
    pub async fn await_no_pods_of(&self, pod_id: &str) {
        await_condition(&format!("no Kubernetes Pod is left of {pod_id}"), LIMIT, || async {
            let left: Vec<String> = self.pods_of(pod_id).await.iter().map(ResourceExt::name_any).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })
        .await;
    }

    /// Waits for a phase of the one Kubernetes Pod of a pod.
    pub async fn await_phase(&self, pod_id: &str, wanted: &str) {
        await_condition(&format!("the Kubernetes Pod of {pod_id} is {wanted}"), LIMIT, || async {
            let phases: Vec<String> = self.pods_of(pod_id).await.iter().map(phase).collect();
            if phases == [wanted] { Ok(()) } else { Err(format!("{phases:?}")) }
        })
        .await;
    }

    /// How many pods of so many whole cores the nodes could hold at most.
    pub async fn room_for_cores(&self, cores: usize) -> usize {
        let nodes = self.nodes.list(&ListParams::default()).await.expect("Kubernetes lists nodes");
        let of_node = |node: &Node| {
            let cpu = node.status.as_ref()?.allocatable.as_ref()?.get("cpu")?;
            cpu.0
                .parse::<usize>()
                .ok()
                .or_else(|| Some(cpu.0.strip_suffix('m')?.parse::<usize>().ok()? / 1000))
        };
        nodes.iter().map(|node| of_node(node).unwrap_or(0) / cores).sum()
    }

    /// Notes every Kubernetes Pod that exists from now on.
    pub async fn record(&self) -> Recorder {
        Recorder::start(self.pods.clone()).await
    }
}

/// The phase of a Kubernetes Pod.
pub fn phase(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default()
}

/// Whether a container of a Kubernetes Pod runs.
pub fn runs(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Kubernetes Pods (their own uids) that existed since it was started, by pod id.
pub struct Recorder {
    seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    async fn start(pods: Api<Pod>) -> Self {
        let seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
        let selector = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
        let stream = watcher(pods, watcher::Config::default().labels(&selector)).default_backoff();
        let note = seen.clone();
        let (ready, listed) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ready = Some(ready);
            let mut stream = stream.boxed();
            loop {
                match stream.try_next().await {
                    Ok(Some(watcher::Event::InitDone)) => {
                        if let Some(ready) = ready.take() {
                            let _ = ready.send(());
                        }
                    }
                    Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                        let id = pod.labels().get(labels::POD_ID).cloned().unwrap_or_default();
                        let uid = pod.uid().unwrap_or_default();
                        note.lock().expect("nobody panics with the lock").entry(id).or_default().insert(uid);
                    }
                    Ok(Some(watcher::Event::Init | watcher::Event::Delete(_))) => {}
                    Ok(None) => return,
                    // The API server may be away; the watcher comes back by itself.
                    Err(_) => {}
                }
            }
        });
        listed.await.expect("the watch begins");
        Self { seen, task }
    }

    /// How many different Kubernetes Pods a pod had.
    pub fn count(&self, pod_id: &str) -> usize {
        self.seen.lock().expect("nobody panics with the lock").get(pod_id).map_or(0, BTreeSet::len)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
