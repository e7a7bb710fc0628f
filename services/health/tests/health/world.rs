//! A world for one test: a database of its own, a scripted cluster, and any number of replicas of health.

use std::{future::Future, time::Duration};

use chrono::Utc;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use pods_core::{Status, Tenant, ids::instance_name, reason::Reason, transition::Event};
use pods_db::{
    PooledConnection,
    pods::PodRow,
    testing::{self, TestDatabase},
    transitions::{self, Applied, Change},
};
use pods_health::{Clients, Config, config::SpawnLimits};
use pods_kube::testing::FakeCluster;
use pods_runtime::{internal_http::Health, shutdown::Supervisor};
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

const SITE: &str = "dev";
const NAMESPACE: &str = "pods-test";

pub struct World {
    pub cluster: FakeCluster,
    database: TestDatabase,
}

#[derive(diesel::QueryableByName)]
struct Waiting {
    #[diesel(sql_type = diesel::sql_types::Text)]
    reason: String,
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
    World { cluster: FakeCluster::new(NAMESPACE), database: TestDatabase::new().await }
}

impl World {
    /// A replica that does not give up a start within a test.
    pub async fn replica(&self) -> Replica {
        self.replica_with(|_| {}).await
    }

    pub async fn replica_that_gives_up_after(&self, give_up_after: Duration) -> Replica {
        self.replica_with(|config| config.spawn = SpawnLimits { give_up_after }).await
    }

    /// A replica whose configuration differs. It does not give up a start within a test.
    pub async fn replica_with(&self, change: impl FnOnce(&mut Config)) -> Replica {
        let mut config: Config = pods_runtime::config::load_from(
            None,
            [
                ("PODS__SERVICE__SITE_ID", SITE),
                ("PODS__DATABASE__URL", self.database.url()),
                // No broker: wake-ups stay in the outbox, where the tests look for them.
                ("PODS__NATS__URL", "nats://127.0.0.1:9"),
                ("PODS__KUBERNETES__NAMESPACE", NAMESPACE),
                ("PODS__HEALTH__INTERNAL_BIND", "127.0.0.1:0"),
                ("PODS__HEALTH__SWEEP_INTERVAL", "500ms"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        )
        .unwrap();
        config.spawn = SpawnLimits { give_up_after: Duration::from_secs(600) };
        change(&mut config);
        let health = Health::new();
        let mut supervisor = Supervisor::new();
        let clients = Clients { calls: self.cluster.client(), streams: self.cluster.client() };
        pods_health::start(&config, clients, &health, &mut supervisor).await.unwrap();
        let stop = supervisor.token();
        let task = tokio::spawn(supervisor.run());
        let replica = Replica { health, task, stop };
        until("health is ready", || async { replica.health.not_ready().is_empty() }).await;
        replica
    }

    pub async fn conn(&self) -> PooledConnection {
        self.database.conn().await
    }

    /// A pod whose spawner has begun, with the Pod of its instance in the cluster.
    pub async fn spawning(&self, pod_id: &str) -> PodRow {
        let row = self.begun(pod_id).await;
        self.create_pod(&row);
        row
    }

    /// A pod whose spawner has begun; there is nothing in the cluster yet.
    pub async fn begun(&self, pod_id: &str) -> PodRow {
        let mut conn = self.conn().await;
        let tenant = Tenant::new(SITE, "dev");
        let new = testing::new_pod(&tenant, pod_id, true);
        let row = PodRow::create(&mut conn, new).await.unwrap();
        drop(conn);
        let row = self.event(row.uid, Event::SpawnBegun).await;
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

    pub async fn until_code(&self, uid: Uuid, code: Reason) {
        until(&format!("the row says {code:?}"), || async {
            self.row(uid).await.status_container.code == Some(code)
        })
        .await;
    }

    /// Does what a user or the spawner would; health may write at the same time.
    pub async fn event(&self, uid: Uuid, event: Event) -> PodRow {
        let conn = &mut *self.conn().await;
        loop {
            let row = PodRow::by_uid(conn, uid).await.unwrap().unwrap();
            match transitions::apply(conn, &row, Change::new(event, Utc::now())).await.unwrap() {
                Applied::Done(row) => return *row,
                Applied::Moved => {}
                other => panic!("{event}: {other:?}"),
            }
        }
    }

    /// Waits until health has looked at everything that was shown in the cluster before: a pod that comes afterwards is
    /// seen running.
    pub async fn until_seen(&self) {
        let row = self.spawning(&format!("later{}", &Uuid::new_v4().simple().to_string()[..8])).await;
        self.cluster.set_running(&pod_name(&row));
        self.until_status(row.uid, Status::Available).await;
    }

    /// Waits until further requests have failed because the cluster cannot be reached, of those whose path ends so.
    pub async fn until_unreached(&self, path: &str, requests: usize) {
        let before = self.cluster.unreached(path);
        until("requests fail", || async { self.cluster.unreached(path) >= before + requests }).await;
    }

    /// Reasons of the wake-ups that wait, oldest first.
    pub async fn outbox(&self, uid: Uuid) -> Vec<String> {
        let reasons: Vec<Waiting> =
            diesel::sql_query("SELECT reason FROM outbox WHERE pod_uid = $1 ORDER BY id")
                .bind::<diesel::sql_types::Uuid, _>(uid)
                .load(&mut *self.conn().await)
                .await
                .unwrap();
        reasons.into_iter().map(|waiting| waiting.reason).collect()
    }

    pub async fn clear_outbox(&self) {
        self.sql("DELETE FROM outbox").await;
    }

    pub async fn sql(&self, statement: &str) {
        self.conn().await.batch_execute(statement).await.unwrap();
    }

    pub async fn log(&self, uid: Uuid) -> String {
        String::from_utf8(pods_db::logs::of_latest(&mut *self.conn().await, uid).await.unwrap()).unwrap()
    }
}

pub fn pod_name(row: &PodRow) -> String {
    instance_name(&row.k8_name, row.instance_id.unwrap())
}

pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
