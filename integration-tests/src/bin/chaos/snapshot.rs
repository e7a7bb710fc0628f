//! What the database and Kubernetes hold of the run's pods at one moment.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use integration_tests::{Env, cluster::runs};
use k8s_openapi::{
    api::{
        core::v1::{Pod, Secret, Service},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::ListParams};
use pods_kube::labels;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::driver::mark;

/// A row of `pods`, deleted ones included.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's own uid.
    pub uid: Uuid,
    /// The pod's id.
    pub pod_id: String,
    /// Its status.
    pub status: String,
    /// What the status says of its cause.
    pub because: String,
    /// Whether it is to run.
    pub on: bool,
    /// Its current start.
    pub instance: Option<Uuid>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Whether a deleted one is noted as gone from Kubernetes.
    pub gone: bool,
    /// The number in its description.
    pub mark: Option<u32>,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A Pod.
    Pod,
    /// A Service.
    Service,
    /// A Secret.
    Secret,
    /// A NetworkPolicy.
    Policy,
}

/// An object with our labels.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its kind.
    pub what: What,
    /// Its name.
    pub name: String,
    /// Kubernetes' own uid of it.
    pub k8s_uid: String,
    /// The pod's id on its labels.
    pub pod_id: String,
    /// The row that it says it belongs to.
    pub uid: Option<Uuid>,
    /// The start that it was made for, or that it selects.
    pub instance: Option<Uuid>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether a Pod's container runs.
    pub running: bool,
    /// Whether a Pod waits to be placed or set up.
    pub pending: bool,
    /// Kubernetes' id of a Pod's container and how often it was restarted.
    pub container: Option<(String, i32)>,
    /// The number that the environment of a Secret carries.
    pub mark: Option<u32>,
}

/// Both sides.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Rows by pod id.
    pub rows: BTreeMap<String, Vec<Row>>,
    /// Objects by pod id.
    pub objects: BTreeMap<String, Vec<Object>>,
}

impl Snapshot {
    /// Whether Kubernetes still has to place, set up or end a Pod.
    pub fn is_busy(&self) -> bool {
        self.objects
            .values()
            .flatten()
            .any(|object| object.what == What::Pod && (object.pending || object.deleting))
    }
}

/// Looks at the pods whose id begins with `prefix`.
pub async fn take(env: &Env, client: &Client, prefix: &str) -> Result<Snapshot> {
    let (rows, objects) = tokio::try_join!(rows(env, prefix), objects(client, &env.namespace, prefix))?;
    let mut snapshot = Snapshot::default();
    for row in rows {
        snapshot.rows.entry(row.pod_id.clone()).or_default().push(row);
    }
    for object in objects {
        snapshot.objects.entry(object.pod_id.clone()).or_default().push(object);
    }
    Ok(snapshot)
}

/// The rows of the pods whose id begins with `prefix`.
pub async fn rows(env: &Env, prefix: &str) -> Result<Vec<Row>> {
    let (client, connection) =
        tokio_postgres::connect(&env.database_url, NoTls).await.context("Postgres does not answer")?;
    let driver = tokio::spawn(connection);
    let sql = "SELECT uid::text, pod_id, status, coalesce(status_container::text, ''), status_requested <> 'OFF', \
               instance_id::text, deleted_at IS NOT NULL, objects_gone_ts IS NOT NULL, description \
               FROM pods WHERE starts_with(pod_id, $1)";
    let found = client.query(sql, &[&prefix]).await.context("the rows cannot be read");
    driver.abort();
    let row = |row: &tokio_postgres::Row| -> Result<Row> {
        Ok(Row {
            uid: row.get::<_, String>(0).parse()?,
            pod_id: row.get(1),
            status: row.get(2),
            because: row.get(3),
            on: row.get(4),
            instance: row.get::<_, Option<String>>(5).map(|text| text.parse()).transpose()?,
            deleted: row.get(6),
            gone: row.get(7),
            mark: mark(row.get(8)),
        })
    };
    found?.iter().map(row).collect()
}

async fn objects(client: &Client, namespace: &str, prefix: &str) -> Result<Vec<Object>> {
    let ours = ListParams::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let (pods, services, secrets, policies) = tokio::try_join!(
        list::<Pod>(client, namespace, &ours),
        list::<Service>(client, namespace, &ours),
        list::<Secret>(client, namespace, &ours),
        list::<NetworkPolicy>(client, namespace, &ours),
    )?;
    let pods = pods.iter().map(|pod| Object {
        running: runs(pod),
        pending: phase(pod) == "Pending",
        container: container(pod),
        ..object(What::Pod, &pod.metadata)
    });
    let services = services.iter().map(|service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selected = selector.and_then(|selector| selector.get(labels::INSTANCE)?.parse().ok());
        Object { instance: selected, ..object(What::Service, &service.metadata) }
    });
    let secrets = secrets.iter().map(|secret| {
        let value = secret.data.as_ref().and_then(|data| data.get("CHAOS"));
        let mark = value.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()?.parse().ok());
        Object { mark, ..object(What::Secret, &secret.metadata) }
    });
    let policies = policies.iter().map(|policy| object(What::Policy, &policy.metadata));
    let all = pods.chain(services).chain(secrets).chain(policies);
    Ok(all.filter(|object| object.pod_id.starts_with(prefix)).collect())
}

async fn list<K>(client: &Client, namespace: &str, params: &ListParams) -> Result<Vec<K>>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.list(params).await.context("Kubernetes does not list")?.items)
}

fn object(what: What, meta: &ObjectMeta) -> Object {
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key));
    Object {
        what,
        name: meta.name.clone().unwrap_or_default(),
        k8s_uid: meta.uid.clone().unwrap_or_default(),
        pod_id: label(labels::POD_ID).cloned().unwrap_or_default(),
        uid: label(labels::UID).and_then(|text| text.parse().ok()),
        instance: label(labels::INSTANCE).and_then(|text| text.parse().ok()),
        deleting: meta.deletion_timestamp.is_some(),
        running: false,
        pending: false,
        container: None,
        mark: None,
    }
}

fn phase(pod: &Pod) -> String {
    integration_tests::cluster::phase(pod)
}

fn container(pod: &Pod) -> Option<(String, i32)> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some((status.container_id.clone()?, status.restart_count))
}

/// The name of an object with its kind, for messages.
pub fn title(object: &Object) -> String {
    format!("{:?} {} (of start {:?})", object.what, object.name, object.instance)
}
