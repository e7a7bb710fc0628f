//! A world for one test: a database of its own, a scripted cluster, and any number of replicas of health.

use std::{future::Future, time::Duration};

use chrono::Utc;
use pods_core::{Status, Tenant, ids::instance_name, transition::Event};
use pods_db::{
    Connection, Db, PooledConnection,
    pods::PodRow,
    testing,
    transitions::{self, Applied, Change},
};
use pods_health::{Config, config::SpawnLimits};
use pods_kube::testing::FakeCluster;
use pods_runtime::{internal_http::Health, shutdown::Supervisor};
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

const SITE: &str = "dev";
const NAMESPACE: &str = "pods-test";

pub struct World {
    pub cluster: FakeCluster,
    pub db: Db,
    name: String,
    admin_url: String,
    url: String,
}

pub struct Replica {
    pub health: Health,
    task: JoinHandle<anyhow::Result<()>>,
    stop: pods_runtime::shutdown::CancellationToken,
}

impl Replica {
    /// Ends it without a word, as a SIGKILL does.
    pub async fn kill(self) {
        self.task.abort();
        let _ended = self.task.await;
    }

    /// Ends it in an orderly way.
    pub async fn stop(self) {
        self.stop.cancel();
        // Which task ends first is not told from one that ends too early.
        let _ended = self.task.await.unwrap();
    }
}

pub async fn world() -> World {
    let admin_url = std::env::var("PODS_TEST_DATABASE_URL")
        .expect("set PODS_TEST_DATABASE_URL to a database whose role may create databases");
    let name = format!("health_{}", Uuid::now_v7().simple());
    execute(&admin_url, &format!("CREATE DATABASE {name}")).await;
    let (base, _) = admin_url.rsplit_once('/').expect("a URL with a database");
    let url = format!("{base}/{name}");
    pods_db::migrate::run(&url).await.unwrap();
    let db = Db::connect(&url, 4).unwrap();
    World { cluster: FakeCluster::new(NAMESPACE), db, name, admin_url, url }
}

async fn execute(url: &str, statement: &str) {
    try_execute(url, statement).await.unwrap();
}

async fn try_execute(url: &str, statement: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let driver = tokio::spawn(connection);
    let result = client.batch_execute(statement).await;
    driver.abort();
    result
}

impl World {
    /// Removes the database. A failed test leaves it for a look.
    pub async fn end(self) {
        // A vacuum of the server itself may be at work in it, which only a superuser may end.
        until("the database is removed", || async {
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            try_execute(&self.admin_url, &drop).await.is_ok()
        })
        .await;
    }

    pub async fn replica(&self) -> Replica {
        self.replica_with(|_| {}).await
    }

    /// A replica whose configuration differs.
    pub async fn replica_with(&self, change: impl FnOnce(&mut Config)) -> Replica {
        let mut config: Config = pods_runtime::config::load_from(
            None,
            [
                ("PODS__SERVICE__SITE_ID", SITE),
                ("PODS__DATABASE__URL", &self.url),
                // No broker: wake-ups stay in the outbox, where the tests look for them.
                ("PODS__NATS__URL", "nats://127.0.0.1:9"),
                ("PODS__KUBERNETES__NAMESPACE", NAMESPACE),
                ("PODS__HEALTH__INTERNAL_BIND", "127.0.0.1:0"),
                ("PODS__HEALTH__SWEEP_INTERVAL", "500ms"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        )
        .unwrap();
        config.spawn = SpawnLimits { give_up_after: Duration::from_millis(1500) };
        change(&mut config);
        let health = Health::new();
        let mut supervisor = Supervisor::new();
        pods_health::start(&config, self.cluster.client(), &health, &mut supervisor).await.unwrap();
        let stop = supervisor.token();
        let task = tokio::spawn(supervisor.run());
        let replica = Replica { health, task, stop };
        until("health is ready", || async { replica.health.not_ready().is_empty() }).await;
        replica
    }

    pub async fn conn(&self) -> PooledConnection {
        self.db.get().await.unwrap()
    }

    /// A pod whose spawner has begun, with the Pod of its instance in the cluster.
    pub async fn spawning(&self, pod_id: &str) -> PodRow {
        let mut conn = self.conn().await;
        let tenant = Tenant::new(SITE, "dev");
        let new = testing::new_pod(&tenant, pod_id, true);
        let row = PodRow::create(&mut conn, new).await.unwrap();
        let row = apply(&mut conn, &row, Event::SpawnBegun).await;
        self.create_pod(&row);
        self.clear_outbox().await;
        row
    }

    /// Puts the Pod of the row's instance into the cluster, as the spawner would.
    pub fn create_pod(&self, row: &PodRow) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": pod_name(row), "namespace": NAMESPACE, "uid": Uuid::now_v7(),
                "creationTimestamp": Utc::now().to_rfc3339(),
                "labels": {
                    "app.kubernetes.io/managed-by": "pods", "tapis.io/site": SITE, "tapis.io/tenant": "dev",
                    "tapis.io/pod-id": row.pod_id, "tapis.io/uid": row.uid,
                    "tapis.io/instance": row.instance_id.unwrap(),
                },
            },
            "spec": {"containers": [{"name": "container", "image": "busybox"}]},
            "status": {"phase": "Pending"},
        });
        self.cluster.put("pods", pod);
    }

    pub async fn row(&self, uid: Uuid) -> PodRow {
        PodRow::by_uid(&mut *self.conn().await, uid).await.unwrap().unwrap()
    }

    pub async fn until_status(&self, uid: Uuid, status: Status) -> PodRow {
        until(&format!("the status is {status}"), || async { self.row(uid).await.status == status }).await;
        self.row(uid).await
    }

    pub async fn event(&self, uid: Uuid, event: Event) -> PodRow {
        let row = self.row(uid).await;
        apply(&mut *self.conn().await, &row, event).await
    }

    /// Reasons of the wake-ups that wait, oldest first.
    pub async fn outbox(&self, uid: Uuid) -> Vec<String> {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let text = format!("SELECT reason FROM outbox WHERE pod_uid = '{uid}' ORDER BY id");
        let rows = client.query(&text, &[]).await.unwrap();
        driver.abort();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub async fn clear_outbox(&self) {
        self.sql("DELETE FROM outbox").await;
    }

    pub async fn sql(&self, statement: &str) {
        execute(&self.url, statement).await;
    }

    pub async fn log(&self, uid: Uuid) -> String {
        String::from_utf8(pods_db::logs::of_latest(&mut *self.conn().await, uid).await.unwrap()).unwrap()
    }
}

pub fn pod_name(row: &PodRow) -> String {
    instance_name(&row.k8_name, row.instance_id.unwrap())
}

async fn apply(conn: &mut Connection, row: &PodRow, event: Event) -> PodRow {
    match transitions::apply(conn, row, Change::new(event, Utc::now())).await.unwrap() {
        Applied::Done(row) => *row,
        other => panic!("{event}: {other:?}"),
    }
}

pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Time for something that must not happen.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}
