//! Pods that nobody touches, and objects that are not ours: nothing may happen to them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use integration_tests::{Env, api::Caller};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use pods_kube::labels;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::snapshot::{self, Object, Snapshot, What};

const RUNNING: usize = 4;
const READY_LIMIT: Duration = Duration::from_secs(120);

/// What is watched over.
pub struct Bystanders {
    prefix: String,
    owner: Caller,
    /// Containers of the running ones, by Kubernetes' uid of the Pod.
    containers: BTreeMap<String, Option<(String, i32)>>,
    starts: BTreeMap<String, Option<Uuid>>,
    /// Whether each start of this environment has a NetworkPolicy.
    pub policies: bool,
    strangers: Strangers,
}

impl Bystanders {
    /// Makes them and waits until they run.
    pub async fn make(env: &Env, client: &Client, owner: Caller, run: &str) -> Result<Self> {
        let prefix = format!("cb{run}");
        let ticker = "i=0; while :; do i=$((i+1)); echo line $i; sleep 1; done";
        for number in 0..=RUNNING {
            let body = json!({
                "pod_id": format!("{prefix}x{number}"), "image": "busybox", "command": ["sh", "-c", ticker],
                "description": "chaos 1",
                "status_requested": if number < RUNNING { "ON" } else { "OFF" },
            });
            let answer = owner.try_send(reqwest::Method::POST, "/v3/pods", Some(&body)).await?;
            if answer.code != 200 {
                bail!("a bystander cannot be created: {} {}", answer.code, answer.body);
            }
        }
        let begun = Instant::now();
        let found = loop {
            let found = snapshot::take(env, client, &prefix).await?;
            let running = found.objects.values().flatten().filter(|object| object.running).count();
            let available = rows(&found).filter(|row| row.status == "AVAILABLE").count();
            if (running, available) == (RUNNING, RUNNING) {
                break found;
            }
            if begun.elapsed() > READY_LIMIT {
                bail!("the bystanders do not run: {running} containers, {available} AVAILABLE");
            }
            sleep(Duration::from_millis(200)).await;
        };
        let strangers = Strangers::make(client, &env.namespace, run).await?;
        Ok(Self {
            owner,
            containers: containers(&found),
            starts: rows(&found).map(|row| (row.pod_id.clone(), row.instance)).collect(),
            policies: found.objects.values().flatten().any(|object| object.what == What::Policy),
            strangers,
            prefix,
        })
    }

    /// What happened to them; empty when nothing did.
    pub async fn harm(&self, env: &Env, client: &Client, with_logs: bool) -> Result<Vec<String>> {
        let found = snapshot::take(env, client, &self.prefix).await?;
        let mut harm = self.strangers.missing(client, &env.namespace).await?;
        if containers(&found) != self.containers {
            harm.push(format!(
                "bystanders had the containers {:?} and have {:?}",
                self.containers,
                containers(&found)
            ));
        }
        let starts: BTreeMap<_, _> = rows(&found).map(|row| (row.pod_id.clone(), row.instance)).collect();
        if starts != self.starts {
            harm.push(format!("bystanders had the starts {:?} and have {starts:?}", self.starts));
        }
        for row in rows(&found) {
            let wanted = if row.on { "AVAILABLE" } else { "STOPPED" };
            if row.status != wanted {
                harm.push(format!("bystander {} is {} instead of {wanted}", row.pod_id, row.status));
            }
            if row.on && with_logs {
                harm.extend(self.gaps(&row.pod_id).await);
            }
        }
        Ok(harm)
    }

    /// What is missing of a log or stands in it twice.
    async fn gaps(&self, pod_id: &str) -> Option<String> {
        let path = format!("/v3/pods/{pod_id}/logs");
        let answer = self.owner.try_send(reqwest::Method::GET, &path, None).await;
        let body = answer.map(|answer| answer.body).unwrap_or_default();
        let Some(text) = body["result"]["logs"].as_str() else {
            return Some(format!("the log of {pod_id} cannot be read: {body}"));
        };
        let wrong = text
            .lines()
            .enumerate()
            .find(|(at, line)| *line != format!("line {}", at + 1))
            .map(|(at, line)| format!("line {} of the log of {pod_id} is {line:?}", at + 1));
        wrong.or_else(|| text.is_empty().then(|| format!("the log of {pod_id} is empty")))
    }

    /// Takes everything away.
    pub async fn remove(&self, client: &Client, namespace: &str) {
        for number in 0..=RUNNING {
            let path = format!("/v3/pods/{}x{number}", self.prefix);
            let _answer = self.owner.try_send(reqwest::Method::DELETE, &path, None).await;
        }
        self.strangers.remove(client, namespace).await;
    }
}

fn rows(found: &Snapshot) -> impl Iterator<Item = &snapshot::Row> {
    found.rows.values().flatten().filter(|row| !row.deleted)
}

fn containers(found: &Snapshot) -> BTreeMap<String, Option<(String, i32)>> {
    let pods = found.objects.values().flatten().filter(|object| object.what == What::Pod);
    pods.map(|Object { k8s_uid, container, .. }| (k8s_uid.clone(), container.clone())).collect()
}

/// Objects with our labels that belong to no row, made by hand.
struct Strangers {
    name: String,
}

impl Strangers {
    async fn make(client: &Client, namespace: &str, run: &str) -> Result<Self> {
        let name = format!("chaos-stranger-{run}");
        let meta = json!({
            "name": name,
            "labels": {
                labels::MANAGED_BY: labels::MANAGER, labels::SITE: "dev", labels::TENANT: "dev",
                labels::POD_ID: format!("stranger{run}"), labels::UID: Uuid::now_v7(), labels::INSTANCE: Uuid::now_v7(),
            },
        });
        let pod: Pod = serde_json::from_value(json!({
            "metadata": meta,
            "spec": {
                "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
                "containers": [{
                    "name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", "while :; do sleep 1; done"],
                }],
            },
        }))?;
        let secret: Secret = serde_json::from_value(json!({ "metadata": meta, "stringData": { "A": "1" } }))?;
        let service: Service = serde_json::from_value(json!({
            "metadata": meta, "spec": { "selector": { "app": name }, "ports": [{ "port": 80 }] },
        }))?;
        let create = PostParams::default();
        let what = "a stranger cannot be made";
        Api::<Pod>::namespaced(client.clone(), namespace).create(&create, &pod).await.context(what)?;
        Api::<Secret>::namespaced(client.clone(), namespace).create(&create, &secret).await.context(what)?;
        Api::<Service>::namespaced(client.clone(), namespace)
            .create(&create, &service)
            .await
            .context(what)?;
        Ok(Self { name })
    }

    async fn missing(&self, client: &Client, namespace: &str) -> Result<Vec<String>> {
        let name = &self.name;
        let there = [
            ("Pod", Api::<Pod>::namespaced(client.clone(), namespace).get_opt(name).await?.is_some()),
            ("Secret", Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?.is_some()),
            ("Service", Api::<Service>::namespaced(client.clone(), namespace).get_opt(name).await?.is_some()),
        ];
        let gone = there.iter().filter(|(_, there)| !there);
        Ok(gone.map(|(what, _)| format!("the {what} {name}, which is not ours, was deleted")).collect())
    }

    async fn remove(&self, client: &Client, namespace: &str) {
        let delete = DeleteParams::default();
        let name = &self.name;
        let _pod = Api::<Pod>::namespaced(client.clone(), namespace).delete(name, &delete).await;
        let _secret = Api::<Secret>::namespaced(client.clone(), namespace).delete(name, &delete).await;
        let _service = Api::<Service>::namespaced(client.clone(), namespace).delete(name, &delete).await;
    }
}
