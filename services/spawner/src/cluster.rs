//! Reads and writes of Kubernetes, each guarded: nothing is touched that carries another row's uid, and nothing is
//! written once the pod's lock is lost.

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::ObjectMeta,
};
use pods_core::resolve::Resolved;
use pods_kube::{
    Failure,
    build::{self, Build},
    client::call,
    labels, observe,
    observe::END_DEADLINE_SECONDS,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    decide::{Removal, SecretStep, ServiceStep, Spawn},
    world::{Object, World},
};

/// Why a step could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The start is refused for good.
    #[error("refused: {message}")]
    Refused {
        /// Whether a quota is used up.
        quota: bool,
        /// The explanation for the user.
        message: String,
    },
    /// An object of another row or start has the name; it has to go first.
    #[error("{0} of the same name belongs to something else and has to go first")]
    NameTaken(&'static str),
    /// Nothing is known about the outcome.
    #[error("{0}")]
    Unknown(String),
    /// The pod's lock was lost; somebody else may work on the pod.
    #[error("the lock of the pod is lost")]
    LockLost,
}

/// Says whether the lock still stands.
pub type Fence<'a> = &'a (dyn Fn() -> bool + Sync);

/// The namespace of the pods of users.
#[derive(Debug, Clone)]
pub struct Cluster {
    pods: Api<Pod>,
    services: Api<Service>,
    secrets: Api<Secret>,
}

impl Cluster {
    /// The objects in `namespace`.
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
        }
    }

    /// Everything that carries the row's uid. The reads are consistent: none is served from a cache that may lag
    /// behind our own writes. Of Secrets only the metadata is read.
    pub async fn world(&self, uid: Uuid) -> Result<World, Trouble> {
        let by_uid = ListParams::default().labels(&labels::uid_selector(uid));
        let (pods, services, secrets) = future::try_join3(
            call(self.pods.list(&by_uid)),
            call(self.services.list(&by_uid)),
            call(self.secrets.list_metadata(&by_uid)),
        )
        .await
        .map_err(unknown)?;
        let services = services.items.iter().map(|service| Object {
            instance: selected_instance(service).unwrap_or_default(),
            ..object(&service.metadata)
        });
        Ok(World {
            pods: pods.items.iter().filter_map(observe).collect(),
            services: services.collect(),
            secrets: secrets.items.iter().map(|secret| object(&secret.metadata)).collect(),
        })
    }

    /// Creates what is missing. `values` are there if [`Spawn::needs_values`]. No trouble tells a value, whatever
    /// Kubernetes answers.
    pub async fn spawn(
        &self,
        build: &Build<'_>,
        values: Option<&Resolved>,
        spawn: &Spawn,
        fence: Fence<'_>,
    ) -> Result<(), Trouble> {
        let result = self.create_missing(build, values, spawn, fence).await;
        result.map_err(|trouble| values.map_or(trouble.clone(), |values| trouble.without(values)))
    }

    /// The Pod waits for its Secret only: one whose Secret is not there yet costs seconds of back-off.
    async fn create_missing(
        &self,
        build: &Build<'_>,
        values: Option<&Resolved>,
        spawn: &Spawn,
        fence: Fence<'_>,
    ) -> Result<(), Trouble> {
        let pod = values
            .filter(|_| spawn.pod)
            .map(|values| build::pod(build, values))
            .transpose()
            .map_err(|error| Trouble::Refused { quota: false, message: error.to_string() })?;
        let secret = values
            .filter(|_| spawn.secret == SecretStep::Create)
            .and_then(|values| build::secret(build, values));
        let secret_then_pod = async {
            if let Some(secret) = &secret {
                self.create(&self.secrets, secret, "a Secret", build, fence).await?;
            }
            match &pod {
                Some(pod) => self.create(&self.pods, pod, "a Pod", build, fence).await.map(Some),
                None => Ok(None),
            }
        };
        let service = self.serve(build, &spawn.service, fence);
        let (pod, service) = future::join(secret_then_pod, service).await;
        // A refusal is the answer that counts: the other part is taken down with the start.
        if let Err(refused @ Trouble::Refused { .. }) = service {
            return Err(refused);
        }
        let created = pod?;
        service?;
        if spawn.secret != SecretStep::Keep {
            self.own_secret(build, created, fence).await?;
        }
        Ok(())
    }

    async fn serve(&self, build: &Build<'_>, step: &ServiceStep, fence: Fence<'_>) -> Result<(), Trouble> {
        let Some(service) = build::service(build) else { return Ok(()) };
        match step {
            ServiceStep::Keep => Ok(()),
            ServiceStep::Point(existing) => self.point(&service, &existing.k8s_uid, fence).await,
            ServiceStep::Create => {
                guard(fence)?;
                match call(self.services.create(&PostParams::default(), &service)).await {
                    Ok(_) => Ok(()),
                    Err(Failure::Exists) => {
                        let found = call(self.services.get(build.k8_name)).await.map_err(unknown)?;
                        if labels::uid(&found.metadata) != Some(build.uid) {
                            return Err(Trouble::NameTaken("a Service"));
                        }
                        self.point(&service, &found.metadata.uid.unwrap_or_default(), fence).await
                    }
                    Err(failure) => Err(refused_or_unknown(failure)),
                }
            }
        }
    }

    /// Points an existing Service of the same row to the current start. The uid in the patch makes it fail if the
    /// Service is another one by now.
    async fn point(&self, service: &Service, k8s_uid: &str, fence: Fence<'_>) -> Result<(), Trouble> {
        guard(fence)?;
        let meta = &service.metadata;
        let spec = service.spec.as_ref();
        let patch = json!({
            "metadata": {"uid": k8s_uid, "labels": meta.labels, "annotations": meta.annotations},
            "spec": {"selector": spec.and_then(|s| s.selector.as_ref()), "ports": spec.and_then(|s| s.ports.as_ref())},
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

    /// Lets the Secret go away with its Pod, should nobody be there to delete it.
    async fn own_secret(
        &self,
        build: &Build<'_>,
        created: Option<ObjectMeta>,
        fence: Fence<'_>,
    ) -> Result<(), Trouble> {
        let name = build.instance_name();
        let pod = match created {
            Some(meta) => meta,
            None => call(self.pods.get_metadata(&name)).await.map_err(unknown)?.metadata,
        };
        guard(fence)?;
        let patch = json!({"metadata": {"ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod.uid,
        }]}});
        match call(self.secrets.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch))).await {
            Ok(_) | Err(Failure::Gone) => Ok(()),
            Err(failure) => Err(unknown(failure)),
        }
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
        };
        match answer {
            Ok(()) | Err(Failure::Gone) => Ok(()),
            Err(failure) => Err(unknown(failure)),
        }
    }
}

impl Trouble {
    /// The same without values that an answer of Kubernetes, or of something that it asked, may quote.
    fn without(self, values: &Resolved) -> Self {
        match self {
            Self::Refused { quota, message } => Self::Refused { quota, message: hide(message, values) },
            Self::Unknown(message) => Self::Unknown(hide(message, values)),
            other @ (Self::NameTaken(_) | Self::LockLost) => other,
        }
    }
}

/// Shorter values are words of any sentence; no password is that short.
const HIDDEN_FROM: usize = 6;

fn hide(message: String, values: &Resolved) -> String {
    let secret = values.values().filter(|value| value.len() >= HIDDEN_FROM);
    secret.fold(message, |message, value| {
        // Admission webhooks quote values as JSON, where a line break or quote is escaped.
        let quoted = serde_json::Value::from(value).to_string();
        let quoted = &quoted[1..quoted.len() - 1];
        message.replace(value, "***").replace(quoted, "***").replace(&STANDARD.encode(value), "***")
    })
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
    }
}

fn selected_instance(service: &Service) -> Option<Uuid> {
    service.spec.as_ref()?.selector.as_ref()?.get(labels::INSTANCE)?.parse().ok()
}

fn unknown(failure: Failure) -> Trouble {
    Trouble::Unknown(failure.to_string())
}

fn refused_or_unknown(failure: Failure) -> Trouble {
    match failure {
        Failure::Refused { quota: true, message, .. } => {
            Trouble::Refused { quota: true, message: format!("a quota of the cluster is used up: {message}") }
        }
        Failure::Refused { quota: false, message, .. } => {
            Trouble::Refused { quota: false, message: format!("Kubernetes refuses this pod: {message}") }
        }
        other => unknown(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn values_are_hidden_in_every_form_that_an_answer_quotes() {
        let value = "first \"line\"\nsecond";
        let values = Resolved {
            environment: BTreeMap::from([
                ("A".to_owned(), value.to_owned()),
                ("B".to_owned(), "short".to_owned()),
            ]),
            ..Resolved::default()
        };
        for quoted in [
            value.to_owned(),
            STANDARD.encode(value),
            format!("{value:?}"),
            serde_json::json!(value).to_string(),
        ] {
            let hidden = hide(format!("denied: {quoted} is short"), &values);
            assert!(!hidden.contains("second") && hidden.ends_with("is short"), "{hidden}");
        }
    }
}
