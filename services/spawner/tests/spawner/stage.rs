//! One database, one scripted cluster, one worker.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use pods_core::{
    PodDefinition, Status, credentials::Credentials, definition::EffectivePod, transition::Event,
};
use pods_db::{
    credentials::SealedCredentials,
    instances,
    pods::{NewPodRow, PodRow},
    testing::{self, TestDatabase},
    transitions::Change,
};
use pods_kube::{build::Settings, testing::FakeCluster};
use pods_messages::{Delivery, Outcome, WakeUp};
use pods_secrets::KeyRing;
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
        let worker = worker(&db, &fake, &keys(&["k1"]));
        Self { db, fake, worker }
    }

    /// A pod with an environment and one networking entry, wanted to run.
    pub async fn pod(&self, pod_id: &str) -> PodRow {
        let environment_variables = BTreeMap::from([("KEY".to_owned(), "value".to_owned())]);
        self.pod_of(
            pod_id,
            PodDefinition { environment_variables, ..testing::definition() },
            &credentials(pod_id),
        )
        .await
    }

    /// A pod with this definition, wanted to run, whose credentials are sealed with the key `k1`.
    pub async fn pod_of(&self, pod_id: &str, definition: PodDefinition, own: &Credentials) -> PodRow {
        let tenant = testing::tenant();
        let new = testing::new_pod(&tenant, pod_id, true);
        let sealed =
            pods_secrets::credentials::seal(&keys(&["k1"]), new.uid, own).expect("credentials can be sealed");
        let new = NewPodRow {
            effective: EffectivePod { definition: definition.clone() },
            definition,
            credentials: SealedCredentials { key_id: sealed.key_id, sealed: sealed.bytes },
            ..new
        };
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

    /// The first column of what a statement answers, as text.
    pub async fn sql(&self, statement: &str) -> Vec<String> {
        let (client, connection) =
            tokio_postgres::connect(self.db.url(), tokio_postgres::NoTls).await.expect("Postgres answers");
        tokio::spawn(connection);
        let rows = client.simple_query(statement).await.expect("the statement is SQL");
        let text = |row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            _ => None,
        };
        rows.into_iter().filter_map(text).collect()
    }

    pub async fn look(&self, uid: Uuid) -> Outcome {
        self.worker.look_at(uid, 1).await
    }

    /// What the worker answers to a wake-up with this reason that was written so long ago.
    pub async fn wake(&self, uid: Uuid, reason: &str, age: Duration) -> Outcome {
        let wake_up = WakeUp::new(uid, reason, 1, SystemTime::now() - age);
        self.worker.handle(Delivery { wake_up, attempt: 1, sequence: 1, traceparent: None }).await
    }

    pub fn objects(&self) -> usize {
        ["pods", "services", "secrets", "networkpolicies"]
            .iter()
            .map(|kind| self.fake.objects(kind).len())
            .sum()
    }
}

/// A ring of keys with these ids; the same id is the same key everywhere.
pub fn keys(ids: &[&str]) -> KeyRing {
    let key = |id: &&str| ((*id).to_owned(), format!("{:0>64}", hex(id)).into());
    KeyRing::parse(ids.iter().map(key)).expect("the keys are keys")
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub fn credentials(pod_id: &str) -> Credentials {
    pods_secrets::credentials::generate(pod_id).expect("the system gives randomness")
}

pub fn worker(db: &TestDatabase, fake: &FakeCluster, keys: &KeyRing) -> Worker {
    worker_of(db, fake, keys, settings())
}

/// A worker of an installation with other settings.
pub fn worker_with(db: &TestDatabase, fake: &FakeCluster, change: impl FnOnce(&mut Settings)) -> Worker {
    let mut settings = settings();
    change(&mut settings);
    worker_of(db, fake, &keys(&["k1"]), settings)
}

fn settings() -> Settings {
    Settings {
        image_pull_policy: "IfNotPresent".to_owned(),
        termination_grace_seconds: 2,
        ..Settings::default()
    }
}

fn worker_of(db: &TestDatabase, fake: &FakeCluster, keys: &KeyRing, settings: Settings) -> Worker {
    let cluster = Cluster::new(&fake.client(), "pods-test", settings.network_policy.enabled);
    Worker::new("dev", &db.db(), cluster, keys.clone(), settings, 8).expect("a pool can be built")
}

pub fn waits(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::RetryAfter(_))
}
