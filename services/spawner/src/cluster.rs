//! Reads and writes of Kubernetes, each guarded: nothing is touched that carries another row's uid, and nothing is
//! written once the pod's lock is lost.

mod policies;
mod pull_secret;
mod trouble;

use std::collections::HashSet;

use futures::future;
use k8s_openapi::api::{
    core::v1::{Pod, Secret, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::ObjectMeta,
};
use pods_core::resolve::Resolved;
use pods_kube::{
    Failure,
    build::{self, Build, Face},
    client::call,
    labels, observe,
    observe::END_DEADLINE_SECONDS,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    decide::{PolicyStep, Removal, SecretStep, ServiceStep, Spawn},
    world::{Object, World},
};
pub use pull_secret::SecretState;
pub use trouble::Trouble;
use trouble::{refused_or_unknown, unknown};

/// Objects of one answer when all of a site are listed.
const PAGE: u32 = 500;

/// Says whether the lock still stands.
pub type Fence<'a> = &'a (dyn Fn() -> bool + Sync);

/// What the objects of a start are made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The start.
    pub build: Build<'a>,
    /// The values of the start; there if [`Spawn::needs_values`].
    pub values: Option<&'a Resolved>,
    /// Its NetworkPolicy, when the installation has them.
    pub policy: Option<&'a NetworkPolicy>,
    /// The pod's Service, when it has networking entries.
    pub service: Option<&'a Service>,
}

/// The namespace of the pods of users.
#[derive(Debug, Clone)]
pub struct Cluster {
    pods: Api<Pod>,
    services: Api<Service>,
    secrets: Api<Secret>,
    policies: Api<NetworkPolicy>,
    with_policies: bool,
}

impl Cluster {
    /// The objects in `namespace`. Without `with_policies` nothing is asked about NetworkPolicies, so that an
    /// installation that has none need not permit it.
    pub fn new(client: &Client, namespace: &str, with_policies: bool) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            policies: Api::namespaced(client.clone(), namespace),
            with_policies,
        }
    }

    /// Everything that carries the row's uid. The reads are consistent: none is served from a cache that may lag
    /// behind our own writes. Of Secrets and NetworkPolicies only the metadata is read.
    pub async fn world(&self, uid: Uuid) -> Result<World, Trouble> {
        let by_uid = ListParams::default().labels(&labels::uid_selector(uid));
        let (pods, services, secrets, policies) = future::try_join4(
            call(self.pods.list(&by_uid)),
            call(self.services.list(&by_uid)),
            call(self.secrets.list_metadata(&by_uid)),
            self.list_policies(&by_uid),
        )
        .await
        .map_err(unknown)?;
        let services = services.items.iter().map(|service| Object {
            instance: selected_instance(service).unwrap_or_default(),
            face: Some(Box::new(Face::of(service))),
            ..object(&service.metadata)
        });
        Ok(World {
            pods: pods.items.iter().filter_map(observe).collect(),
            services: services.collect(),
            secrets: secrets.items.iter().map(|secret| object(&secret.metadata)).collect(),
            policies,
        })
    }

    /// The rows to which the Services, Secrets and NetworkPolicies of a site belong.
    ///
    /// # Errors
    /// When Kubernetes does not answer.
    pub async fn uids(&self, site_id: &str) -> Result<HashSet<Uuid>, Trouble> {
        let selector = labels::site_selector(site_id);
        let mut uids = HashSet::new();
        collect_uids(&self.services, &selector, &mut uids).await.map_err(unknown)?;
        collect_uids(&self.secrets, &selector, &mut uids).await.map_err(unknown)?;
        if self.with_policies {
            collect_uids(&self.policies, &selector, &mut uids).await.map_err(unknown)?;
        }
        Ok(uids)
    }

    /// Creates what is missing. No trouble tells a value, whatever Kubernetes answers.
    pub async fn spawn(&self, plan: &Plan<'_>, spawn: &Spawn, fence: Fence<'_>) -> Result<(), Trouble> {
        let (values, result) = (plan.values, self.create_missing(plan, spawn, fence).await);
        result.map_err(|trouble| values.map_or(trouble.clone(), |values| trouble.without(values)))
    }

    /// The Pod waits for its Secret and its NetworkPolicy: one whose Secret is not there yet costs seconds of back-off,
    /// and one without a policy is open to everybody.
    async fn create_missing(&self, plan: &Plan<'_>, spawn: &Spawn, fence: Fence<'_>) -> Result<(), Trouble> {
        let Plan { build, values, .. } = plan;
        let pod = values
            .filter(|_| spawn.pod)
            .map(|values| build::pod(build, values))
            .transpose()
            .map_err(|error| Trouble::Refused { quota: false, message: error.to_string() })?;
        let secret = values
            .filter(|_| spawn.secret == SecretStep::Create)
            .and_then(|values| build::secret(build, values));
        let secret = async {
            match &secret {
                Some(secret) => self.create(&self.secrets, secret, "a Secret", build, fence).await.map(drop),
                None => Ok(()),
            }
        };
        let then_pod = async {
            future::try_join(secret, self.protect(plan, &spawn.policy, fence)).await?;
            match &pod {
                Some(pod) => self.create(&self.pods, pod, "a Pod", build, fence).await.map(Some),
                None => Ok(None),
            }
        };
        let service = self.serve(plan, &spawn.service, fence);
        let (pod, service) = future::join(then_pod, service).await;
        // A refusal is the answer that counts: the other part is taken down with the start.
        if let Err(refused @ Trouble::Refused { .. }) = service {
            return Err(refused);
        }
        let created = pod?;
        service?;
        self.own(build, spawn, created, fence).await
    }

    async fn serve(&self, plan: &Plan<'_>, step: &ServiceStep, fence: Fence<'_>) -> Result<(), Trouble> {
        let Plan { build, service, .. } = plan;
        let Some(service) = service else { return Ok(()) };
        match step {
            ServiceStep::Keep => Ok(()),
            ServiceStep::Point(existing) => self.point(service, &existing.k8s_uid, fence).await,
            ServiceStep::Create => {
                guard(fence)?;
                match call(self.services.create(&PostParams::default(), service)).await {
                    Ok(_) => Ok(()),
                    Err(Failure::Exists) => {
                        let found = call(self.services.get(build.k8_name)).await.map_err(unknown)?;
                        if labels::uid(&found.metadata) != Some(build.uid) {
                            return Err(Trouble::NameTaken("a Service"));
                        }
                        self.point(service, &found.metadata.uid.unwrap_or_default(), fence).await
                    }
                    Err(failure) => Err(refused_or_unknown(failure)),
                }
            }
        }
    }

    /// Points an existing Service of the same row to the current start, with the ports that are wanted now. The uid in the
    /// patch makes it fail if the Service is another one by now.
    async fn point(&self, service: &Service, k8s_uid: &str, fence: Fence<'_>) -> Result<(), Trouble> {
        guard(fence)?;
        let meta = &service.metadata;
        let spec = service.spec.as_ref();
        // What is null is taken away.
        let patch = json!({
            "metadata": {"uid": k8s_uid, "labels": meta.labels, "annotations": meta.annotations},
            "spec": {
                "selector": spec.and_then(|spec| spec.selector.as_ref()),
                "ports": spec.and_then(|spec| spec.ports.as_ref()),
                "publishNotReadyAddresses": spec.and_then(|spec| spec.publish_not_ready_addresses),
            },
        });
        let name = meta.name.as_deref().unwrap_or_default();
        call(self.services.patch(name, &PatchParams::default(), &Patch::Merge(patch)))
            .await
            .map(drop)
            .map_err(refused_or_unknown)
    }

    /// Creates an object. One of this name that is already there is ours when it is of this row and start: the answer
    /// to an earlier attempt was lost.
    async fn create<K>(
        &self,
        api: &Api<K>,
        object: &K,
        kind: &'static str,
        build: &Build<'_>,
        fence: Fence<'_>,
    ) -> Result<ObjectMeta, Trouble>
    where
        K: Resource + Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        guard(fence)?;
        match call(api.create(&PostParams::default(), object)).await {
            Ok(created) => Ok(created.meta().clone()),
            Err(Failure::Exists) => {
                let found = call(api.get_metadata(&build.instance_name())).await.map_err(unknown)?.metadata;
                let mine = labels::uid(&found) == Some(build.uid)
                    && labels::instance(&found) == Some(build.instance_id)
                    && found.deletion_timestamp.is_none();
                if mine { Ok(found) } else { Err(Trouble::NameTaken(kind)) }
            }
            Err(failure) => Err(refused_or_unknown(failure)),
        }
    }

    /// Lets Secret and NetworkPolicy go away with their Pod, should nobody be there to delete them.
    async fn own(
        &self,
        build: &Build<'_>,
        spawn: &Spawn,
        created: Option<ObjectMeta>,
        fence: Fence<'_>,
    ) -> Result<(), Trouble> {
        let (secret, policy) = (spawn.secret != SecretStep::Keep, spawn.policy != PolicyStep::Keep);
        if !secret && !policy {
            return Ok(());
        }
        let name = build.instance_name();
        let pod = match created {
            Some(meta) => meta,
            None => call(self.pods.get_metadata(&name)).await.map_err(unknown)?.metadata,
        };
        guard(fence)?;
        let patch = json!({"metadata": {"ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod.uid,
        }]}});
        let of_secret = own_by(&self.secrets, &name, &patch, secret);
        let of_policy = own_by(&self.policies, &name, &patch, policy);
        future::try_join(of_secret, of_policy).await.map(drop)
    }

    /// Removes or ends one object; one that is gone already is fine.
    pub async fn remove(&self, removal: &Removal, fence: Fence<'_>) -> Result<(), Trouble> {
        guard(fence)?;
        let answer = match removal {
            Removal::EndPod { name, k8s_uid } => {
                let patch = json!({
                    "metadata": {"uid": k8s_uid}, "spec": {"activeDeadlineSeconds": END_DEADLINE_SECONDS},
                });
                call(self.pods.patch(name, &PatchParams::default(), &Patch::Merge(patch))).await.map(drop)
            }
            Removal::DeletePod { name, k8s_uid, grace } => {
                call(self.pods.delete(name, &delete(k8s_uid, *grace))).await.map(drop)
            }
            Removal::DeleteService(object) => {
                call(self.services.delete(&object.name, &delete(&object.k8s_uid, None))).await.map(drop)
            }
            Removal::DeleteSecret(object) => {
                call(self.secrets.delete(&object.name, &delete(&object.k8s_uid, None))).await.map(drop)
            }
            Removal::DeletePolicy(object) => {
                call(self.policies.delete(&object.name, &delete(&object.k8s_uid, None))).await.map(drop)
            }
        };
        match answer {
            Ok(()) | Err(Failure::Gone) => Ok(()),
            Err(failure) => Err(unknown(failure)),
        }
    }
}

/// Reads the metadata of what a selector finds, page by page.
async fn collect_uids<K>(api: &Api<K>, selector: &str, uids: &mut HashSet<Uuid>) -> Result<(), Failure>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut page = ListParams::default().labels(selector).limit(PAGE);
    loop {
        let found = call(api.list_metadata(&page)).await?;
        uids.extend(found.items.iter().filter_map(|object| labels::uid(&object.metadata)));
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Makes the Pod of a merge patch the owner of the object.
async fn own_by<K>(api: &Api<K>, name: &str, patch: &serde_json::Value, wanted: bool) -> Result<(), Trouble>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    if !wanted {
        return Ok(());
    }
    match call(api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch))).await {
        Ok(_) | Err(Failure::Gone) => Ok(()),
        Err(failure) => Err(unknown(failure)),
    }
}

fn guard(fence: Fence<'_>) -> Result<(), Trouble> {
    if fence() { Ok(()) } else { Err(Trouble::LockLost) }
}

/// Deletes this very object: under the same name there may be another one by now.
fn delete(k8s_uid: &str, grace: Option<u32>) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(k8s_uid.to_owned()), resource_version: None };
    DeleteParams {
        grace_period_seconds: grace,
        preconditions: Some(preconditions),
        ..DeleteParams::background()
    }
}

fn object(meta: &ObjectMeta) -> Object {
    Object {
        name: meta.name.clone().unwrap_or_default(),
        k8s_uid: meta.uid.clone().unwrap_or_default(),
        instance: labels::instance(meta).unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        owned: meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty()),
        rules: meta.annotations.as_ref().and_then(|all| all.get(labels::RULES_ANNOTATION)).cloned(),
        face: None,
    }
}

fn selected_instance(service: &Service) -> Option<Uuid> {
    service.spec.as_ref()?.selector.as_ref()?.get(labels::INSTANCE)?.parse().ok()
}
