//! One database, one scripted cluster, one worker.

use std::collections::BTreeMap;

use pods_core::{PodDefinition, Status, transition::Event};
use pods_db::{
    instances,
    pods::{NewPodRow, PodRow},
    testing::{self, TestDatabase},
    transitions::Change,
};
use pods_kube::{build::Settings, testing::FakeCluster};
use pods_messages::Outcome;
use pods_spawner::{cluster::Cluster, worker::Worker};
use uuid::Uuid;

pub struct Stage {
    pub db: TestDatabase,
    pub fake: FakeCluster,
    pub worker: Worker,
}

impl Stage {
    pub async fn new() -> Self {
        let db = TestDatabase::new().await;
        let fake = FakeCluster::new("pods-test");
        let worker = worker(&db, &fake);
        Self { db, fake, worker }
    }

    /// A pod with an environment and one networking entry, wanted to run.
    pub async fn pod(&self, pod_id: &str) -> PodRow {
        let environment_variables = BTreeMap::from([("KEY".to_owned(), "value".to_owned())]);
        let definition = PodDefinition { environment_variables, ..testing::definition() };
        let tenant = testing::tenant();
        let new = NewPodRow { definition, ..testing::new_pod(&tenant, pod_id, true) };
        PodRow::create(&mut *self.db.conn().await, new).await.expect("the pod can be created")
    }

    /// A pod whose container runs.
    pub async fn running(&self, pod_id: &str) -> PodRow {
        self.fake.autopilot();
        let row = self.pod(pod_id).await;
        assert_eq!(self.look(row.uid).await, Outcome::Done);
        self.event(row.uid, Event::Running).await
    }

    pub async fn row(&self, uid: Uuid) -> PodRow {
        let found = PodRow::by_uid(&mut *self.db.conn().await, uid).await;
        found.expect("the database answers").expect("the pod has a row")
    }

    /// Health has stored the log of the current start to its end.
    pub async fn log_stored(&self, row: &PodRow) {
        let instance = row.instance_id.expect("the pod has a start");
        let stored = instances::set_log_complete(&mut *self.db.conn().await, instance).await;
        stored.expect("the database answers");
    }

    pub async fn status(&self, uid: Uuid) -> Status {
        self.row(uid).await.status
    }

    pub async fn event(&self, uid: Uuid, event: Event) -> PodRow {
        let row = self.row(uid).await;
        testing::done(&mut *self.db.conn().await, &row, Change::new(event, testing::now())).await
    }

    pub async fn look(&self, uid: Uuid) -> Outcome {
        self.worker.look_at(uid, 1).await
    }

    pub fn objects(&self) -> usize {
        ["pods", "services", "secrets"].iter().map(|kind| self.fake.objects(kind).len()).sum()
    }
}

pub fn worker(db: &TestDatabase, fake: &FakeCluster) -> Worker {
    let settings = Settings {
        image_pull_policy: "IfNotPresent".to_owned(),
        termination_grace_seconds: 2,
        compute_queues: Vec::new(),
    };
    let cluster = Cluster::new(&fake.client(), "pods-test");
    Worker::new("dev", &db.db(), cluster, settings, 8).expect("a pool can be built")
}

pub fn waits(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::RetryAfter(_))
}
