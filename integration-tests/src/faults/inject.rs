//! Bringing a fault about, and taking it back.

use std::time::Instant;

use k8s_openapi::api::{
    core::v1::{LimitRange, Pod, ResourceQuota},
    rbac::v1::RoleBinding,
    scheduling::v1::PriorityClass,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    broken::{BrokenCni, OtherSpawner},
    played::{Nodes, Play},
    table::Fault,
    watch::Watch,
};
use crate::{Scene, await_condition, database, process::Outage, wait::LIMIT};

/// Name of whatever is created in Kubernetes for a fault.
const NAME: &str = "faults";
const SPAWNER_ROLE: &str = "pods-spawner";
const FINALIZER: &str = "faults.example/keep";

/// What is done besides creating the pod.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Injector {
    /// The definition alone is the fault.
    None,
    /// An administrator approves the user of the pull secret.
    ApprovePulls,
    /// Nodes that would have room are filled.
    FillCpu,
    /// The pod's compute queue becomes one without GPUs.
    QueueChanged,
    /// A quota of the namespace is used up.
    Quota,
    /// The namespace limits what a container may have.
    LimitRange,
    /// The Pod of a deleted pod does not go away.
    NameTaken,
    /// The Pod is deleted by hand.
    DeleteByHand,
    /// A Pod of higher priority takes the place.
    Preempt,
    /// The deadline is moved to the present.
    Expire,
    /// The kubelet stops.
    StopKubelet,
    /// The node cannot set up networks.
    BreakCni,
    /// The API server stops.
    StopKubernetes,
    /// The spawner loses its rights.
    DenySpawner,
    /// NATS stops.
    StopNats,
    /// Every spawner stops.
    StopSpawners,
    /// Every health process stops.
    StopHealth,
    /// The spawner that runs has another key.
    SpawnerWithoutKey,
    /// A node without a kubelet.
    Played(Play),
}

/// What all faults happen on.
pub struct Stage {
    /// Users and cluster.
    pub scene: Scene,
    /// The independent look.
    pub watch: Watch,
    /// The nodes that are played.
    pub nodes: Nodes,
}

/// A fault that was brought about.
pub struct Injected<'a> {
    /// When.
    pub at: Instant,
    undo: Vec<Undo>,
    outage: Option<Outage<'a>>,
}

enum Undo {
    Quota,
    LimitRange,
    Finalizer(String),
    Binding(Box<RoleBinding>),
    Preemptor,
    Silence,
    /// Programs and files put themselves back when they are dropped.
    Dropped(Box<dyn Send>),
}

impl Stage {
    /// Looks at the environment and removes what an interrupted run left.
    pub async fn new() -> Self {
        let scene = Scene::new().await;
        let watch = Watch::start(&scene.cluster);
        let nodes = Nodes::start(&scene.cluster).await;
        let stage = Self { scene, watch, nodes };
        stage.delete(stage.api::<ResourceQuota>(), NAME).await;
        stage.delete(stage.api::<LimitRange>(), NAME).await;
        stage.delete(stage.api::<Pod>(), NAME).await;
        stage
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.scene.cluster.client.clone(), &self.scene.env.namespace)
    }

    async fn make<K>(&self, api: &Api<K>, object: Value)
    where
        K: DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
    {
        let object = serde_json::from_value(object).expect("an object of Kubernetes");
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.is_already_exists() => {}
            Err(error) => panic!("Kubernetes did not take an object of the test: {error}"),
        }
    }

    async fn delete<K: DeserializeOwned + Clone + std::fmt::Debug>(&self, api: Api<K>, name: &str) {
        // It may never have been there.
        let _ = api
            .delete(name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
            .await;
    }

    async fn create(&self, id: &str, fault: &Fault) {
        let mut body = fault.pod.clone();
        body["pod_id"] = json!(id);
        self.scene.create(&self.scene.alice, body).await;
    }

    /// Creates a pod, waits until it runs, and says when that was.
    async fn running(&self, id: &str, fault: &Fault) -> Instant {
        self.create(id, fault).await;
        self.scene.alice.await_status(id, "AVAILABLE").await;
        Instant::now()
    }

    /// Brings a fault about, the pod included.
    pub async fn bring_about(&self, fault: &Fault, id: &str) -> Injected<'_> {
        let (scene, env) = (&self.scene, &self.scene.env);
        let (mut undo, mut outage) = (Vec::new(), None);
        let mut at = Instant::now();
        match &fault.injector {
            Injector::None => self.create(id, fault).await,
            Injector::ApprovePulls => at = self.approve_pulls(id, fault).await,
            Injector::QueueChanged => at = self.change_queue(id, fault).await,
            Injector::FillCpu => {
                for _ in 0..scene.cluster.room_for_cores(6).await {
                    self.create(&scene.id("filler"), fault).await;
                }
                self.create(id, fault).await;
            }
            Injector::Quota => {
                self.quota().await;
                undo.push(Undo::Quota);
                at = Instant::now();
                self.create(id, fault).await;
            }
            Injector::LimitRange => {
                self.limit_range().await;
                undo.push(Undo::LimitRange);
                at = Instant::now();
                self.create(id, fault).await;
            }
            Injector::NameTaken => {
                undo.push(Undo::Finalizer(self.keep_deleted(id, fault).await));
                at = Instant::now();
                self.create(id, fault).await;
            }
            Injector::DeleteByHand => {
                at = self.running(id, fault).await;
                scene.cluster.delete_by_hand(id).await;
            }
            Injector::Preempt => {
                at = self.running(id, fault).await;
                self.preempt().await;
                undo.push(Undo::Preemptor);
            }
            Injector::Expire => {
                at = self.running(id, fault).await;
                database::expire(env, id).await;
            }
            Injector::Played(play) => at = self.play(id, fault, play, &mut undo).await,
            Injector::StopKubelet => {
                at = self.running(id, fault).await;
                outage = Some(Outage::stop(env, "kubelet"));
            }
            other => {
                (outage, undo) = self.break_a_part(other).await;
                at = Instant::now();
                self.create(id, fault).await;
            }
        }
        Injected { at, undo, outage }
    }

    /// What concerns every pod; the pod is created afterwards.
    async fn break_a_part(&self, injector: &Injector) -> (Option<Outage<'_>>, Vec<Undo>) {
        let env = &self.scene.env;
        match injector {
            Injector::StopKubernetes => (Some(Outage::stop(env, "kube-apiserver")), vec![]),
            Injector::StopNats => (Some(Outage::stop(env, "nats")), vec![]),
            Injector::StopSpawners => (Some(Outage::stop_all(env, "pods-spawner")), vec![]),
            Injector::StopHealth => (Some(Outage::stop_all(env, "pods-health")), vec![]),
            Injector::BreakCni => (None, vec![Undo::Dropped(Box::new(BrokenCni::new(env)))]),
            Injector::DenySpawner => {
                let bindings = self.api::<RoleBinding>();
                let binding = bindings.get(SPAWNER_ROLE).await.expect("the spawner has a role");
                bindings.delete(SPAWNER_ROLE, &DeleteParams::default()).await.expect("it can be taken away");
                (None, vec![Undo::Binding(Box::new(binding))])
            }
            Injector::SpawnerWithoutKey => {
                let outage = Outage::stop_all(env, "pods-spawner");
                let other = OtherSpawner::start(env);
                (Some(outage), vec![Undo::Dropped(Box::new(other))])
            }
            other => panic!("{other:?} concerns one pod only"),
        }
    }

    /// The API refuses such a pod; the row says what a change of the configuration makes of one that is there.
    async fn change_queue(&self, id: &str, fault: &Fault) -> Instant {
        let mut off = fault.clone();
        off.pod["status_requested"] = json!("OFF");
        self.create(id, &off).await;
        database::set_queue(&self.scene.env, id, "nowhere").await;
        let at = Instant::now();
        self.scene.alice.act(id, "start").await;
        at
    }

    async fn approve_pulls(&self, id: &str, fault: &Fault) -> Instant {
        let mut off = fault.clone();
        off.pod["status_requested"] = json!("OFF");
        self.create(id, &off).await;
        let user = &fault.pod["environment_variables"]["TAPIS_PODS_IMAGEPULLSECRET"];
        let user = user.as_str().expect("the fault names a user");
        self.scene.admin.in_admin_mode().grant(id, user, "APPROVEDADMIN").await;
        let at = Instant::now();
        self.scene.alice.act(id, "start").await;
        at
    }

    async fn quota(&self) {
        let quotas = self.api::<ResourceQuota>();
        let spec = json!({ "hard": { "requests.faults.example/card": "0" } });
        self.make(&quotas, json!({ "metadata": { "name": NAME }, "spec": spec })).await;
        await_condition("the quota counts", LIMIT, || async {
            let quota = quotas.get(NAME).await.map_err(|error| error.to_string())?;
            let counts = quota.status.and_then(|status| status.used).is_some();
            if counts { Ok(()) } else { Err("not counted yet".to_owned()) }
        })
        .await;
    }

    /// Only what asks for nearly everything is concerned.
    async fn limit_range(&self) {
        let limit = json!({ "type": "Container", "max": { "memory": "12000Mi" },
            "default": { "memory": "3Gi" }, "defaultRequest": { "memory": "1Mi" } });
        let object = json!({ "metadata": { "name": NAME }, "spec": { "limits": [limit] } });
        self.make(&self.api::<LimitRange>(), object).await;
    }

    /// Runs and deletes a pod whose Kubernetes Pod then stays.
    async fn keep_deleted(&self, id: &str, fault: &Fault) -> String {
        self.running(id, fault).await;
        let name = self.scene.cluster.pod_of(id).await.name_any();
        self.finalizers(&name, json!([FINALIZER])).await;
        self.scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
        name
    }

    async fn finalizers(&self, name: &str, finalizers: Value) {
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        let patched = self.scene.cluster.pods.patch(name, &PatchParams::default(), &patch).await;
        patched.expect("an administrator may set finalizers");
    }

    async fn preempt(&self) {
        let classes: Api<PriorityClass> = Api::all(self.scene.cluster.client.clone());
        let class =
            json!({ "metadata": { "name": NAME }, "value": 1000, "description": "for the fault tests" });
        self.make(&classes, class).await;
        let room = json!({ "cpu": "1", "memory": "1Mi" });
        let container = json!({ "name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "1000"], "resources": { "requests": room } });
        let spec = json!({ "priorityClassName": NAME, "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0, "containers": [container] });
        self.make(&self.api::<Pod>(), json!({ "metadata": { "name": NAME }, "spec": spec })).await;
    }

    async fn play(&self, id: &str, fault: &Fault, play: &Play, undo: &mut Vec<Undo>) -> Instant {
        self.nodes.play(id, play.clone());
        let mut at = Instant::now();
        self.create(id, fault).await;
        if *play == Play::Silent {
            self.scene.alice.await_status(id, "AVAILABLE").await;
            self.nodes.silence(true);
            undo.push(Undo::Silence);
            at = Instant::now();
        }
        at
    }

    /// Takes the fault back.
    pub async fn take_back(&self, injected: Injected<'_>) {
        let Injected { undo, outage, .. } = injected;
        let kubelet =
            outage.as_ref().is_some_and(|outage| outage.names().iter().any(|name| name == "kubelet"));
        for undo in undo {
            match undo {
                Undo::Quota => self.delete(self.api::<ResourceQuota>(), NAME).await,
                Undo::LimitRange => self.delete(self.api::<LimitRange>(), NAME).await,
                Undo::Finalizer(name) => self.finalizers(&name, Value::Null).await,
                Undo::Preemptor => self.delete(self.api::<Pod>(), NAME).await,
                Undo::Silence => self.nodes.silence(false),
                Undo::Binding(mut binding) => {
                    binding.metadata.resource_version = None;
                    binding.metadata.uid = None;
                    let made = self.api::<RoleBinding>().create(&PostParams::default(), &binding).await;
                    made.expect("the spawner gets its role back");
                }
                Undo::Dropped(held) => drop(held),
            }
        }
        if let Some(outage) = outage {
            outage.end();
        }
        if kubelet {
            self.await_nodes().await;
        }
    }

    async fn await_nodes(&self) {
        await_condition("the node answers again", LIMIT, || async {
            let node = self.scene.cluster.nodes.list(&Default::default()).await.map_err(|e| e.to_string())?;
            let silent = node.items.iter().filter(|node| !node.name_any().starts_with(NAME)).any(|node| {
                let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
                conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status != "True")
            });
            if silent { Err("not ready".to_owned()) } else { Ok(()) }
        })
        .await;
    }

    /// Takes what was set up away.
    pub async fn end(self) {
        let classes: Api<PriorityClass> = Api::all(self.scene.cluster.client.clone());
        self.delete(classes, NAME).await;
        let Self { scene, nodes, .. } = self;
        // Played nodes finish the deletion of their Pods.
        let deleted = tokio::task::spawn_blocking(move || drop(scene));
        let _ = deleted.await;
        nodes.end().await;
    }
}
