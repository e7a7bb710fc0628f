//! Thousands of pods in seconds: one is made as users make one, and the others are its copies, row by row and object by
//! object, with uids and names of their own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::scene::HTTPD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{MEASURED, Stage};

/// The pod that is copied; as long as the ids of its copies, so that all objects have the same size.
const SEED: &str = "steadyseed0";
const BATCH: usize = 500;
const LIMIT: Duration = Duration::from_secs(120);

/// Makes `pods` running pods, all of them AVAILABLE, with health and spawner running.
pub async fn fill(stage: &Stage, pods: usize) -> Result<()> {
    ensure!(pods > 0, "at least one pod is needed");
    stage.alice.post("/v3/pods", json!({"pod_id": SEED, "image": HTTPD})).await.result();
    stage.alice.await_status(SEED, "AVAILABLE").await;
    let seed = Seed::read(stage).await?;
    stage.stop(MEASURED)?;
    let copies: Vec<Copy> = (1..pods).map(Copy::new).collect();
    for batch in copies.chunks(BATCH) {
        let lines: Vec<String> = batch.iter().flat_map(|copy| seed.objects_of(copy)).collect();
        stage.control_raw("objects", lines.join("\n")).await?;
    }
    let begun = std::time::Instant::now();
    while stage.kubernetes().await?["pods"]["Running"] != json!(pods) {
        ensure!(
            begun.elapsed() < LIMIT,
            "the scripted Kubernetes does not run {pods} Pods: is there room on its nodes?"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for batch in copies.chunks(BATCH) {
        seed.insert_rows(stage, batch).await?;
    }
    // What the inserts leave behind is not what is measured.
    stage.db.batch_execute("DELETE FROM outbox").await?;
    stage.db.batch_execute("VACUUM ANALYZE").await?;
    stage.start(MEASURED)?;
    settle(stage, pods).await
}

/// Waits until the log of every pod is followed and nothing is left to do.
pub async fn settle(stage: &Stage, pods: usize) -> Result<()> {
    let begun = std::time::Instant::now();
    loop {
        let streams = stage.kubernetes().await?["log_streams"].as_u64().unwrap_or_default();
        let health: f64 = cpu_of_health(stage)?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let busy = (cpu_of_health(stage)? - health) / 2.0;
        if streams >= pods as u64 && busy < 0.05 {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < LIMIT,
            "health does not come to rest: {streams} of {pods} logs are followed, {:.0} % CPU",
            busy * 100.0
        );
    }
}

fn cpu_of_health(stage: &Stage) -> Result<f64> {
    Ok(stage.cpu()?.iter().filter(|(name, _)| name.starts_with("pods-health")).map(|(_, cpu)| cpu).sum())
}

/// The ids of a copy.
struct Copy {
    pod_id: String,
    uid: Uuid,
    instance: Uuid,
    k8s_uid: Uuid,
}

impl Copy {
    fn new(number: usize) -> Self {
        let pod_id = format!("steady{number:05}");
        Self { pod_id, uid: Uuid::now_v7(), instance: Uuid::now_v7(), k8s_uid: Uuid::new_v4() }
    }
}

/// The pod that is copied, with its objects as texts.
struct Seed {
    uid: Uuid,
    instance: Uuid,
    k8s_uid: String,
    k8_name: String,
    objects: Vec<String>,
}

impl Seed {
    async fn read(stage: &Stage) -> Result<Self> {
        let sql =
            "SELECT uid::text, instance_id::text, k8_name FROM pods WHERE pod_id = $1 AND deleted_at IS NULL";
        let row = stage.db.query_one(sql, &[&SEED]).await?;
        let text = |at: usize| row.get::<_, String>(at);
        let uid: Uuid = text(0).parse()?;
        let namespace = &stage.env.namespace;
        let mut objects = Vec::new();
        let mut k8s_uid = String::new();
        for (path, kind) in [
            ("api/v1", "pods"),
            ("api/v1", "services"),
            ("api/v1", "secrets"),
            ("apis/networking.k8s.io/v1", "networkpolicies"),
        ] {
            let path = format!("/{path}/namespaces/{namespace}/{kind}?labelSelector=tapis.io%2Fuid%3D{uid}");
            let list = stage.kube_get(&path).await?;
            for mut object in list["items"].as_array().cloned().unwrap_or_default() {
                if kind == "pods" {
                    k8s_uid = object["metadata"]["uid"].as_str().context("a Pod has a uid")?.to_owned();
                    object["status"] = json!({"phase": "Pending"});
                    object["spec"]["nodeName"] = Value::Null;
                } else {
                    object["metadata"]["uid"] = Value::Null;
                }
                objects.push(object.to_string());
            }
        }
        ensure!(!k8s_uid.is_empty(), "the seed has no Pod");
        Ok(Self { uid, instance: text(1).parse()?, k8s_uid, k8_name: text(2), objects })
    }

    fn objects_of(&self, copy: &Copy) -> Vec<String> {
        let short = |id: Uuid| pods_core::ids::instance_name("", id);
        let (old, new) = (short(self.instance), short(copy.instance));
        let made = self.objects.iter().map(|text| {
            text.replace(&self.k8s_uid, &copy.k8s_uid.to_string())
                .replace(&self.uid.to_string(), &copy.uid.to_string())
                .replace(&self.instance.to_string(), &copy.instance.to_string())
                .replace(SEED, &copy.pod_id)
                .replace(&old, &new)
        });
        made.collect()
    }

    /// Copies of the seed's rows. Whole rows, so that columns that are added later are copied too.
    async fn insert_rows(&self, stage: &Stage, copies: &[Copy]) -> Result<()> {
        let copies: Vec<Value> = copies
            .iter()
            .map(|copy| {
                json!({
                    "pod_id": copy.pod_id, "uid": copy.uid, "instance_id": copy.instance,
                    "k8_name": self.k8_name.replace(SEED, &copy.pod_id),
                })
            })
            .collect();
        let copies = Value::Array(copies).to_string();
        let seed = self.uid.to_string();
        let each = "FROM jsonb_array_elements($1::text::jsonb) AS copy, ";
        for sql in [
            format!(
                "INSERT INTO pods SELECT (jsonb_populate_record(NULL::pods, to_jsonb(seed) || copy)).* \
                 {each} pods AS seed WHERE seed.uid = $2::text::uuid"
            ),
            format!(
                "INSERT INTO pod_instances SELECT (jsonb_populate_record(NULL::pod_instances, to_jsonb(seed) || \
                 jsonb_build_object('pod_uid', copy->'uid', 'instance_id', copy->'instance_id'))).* \
                 {each} pod_instances AS seed WHERE seed.pod_uid = $2::text::uuid"
            ),
            format!(
                "INSERT INTO pod_permissions (pod_uid, username, level) SELECT (copy->>'uid')::uuid, username, level \
                 {each} pod_permissions AS seed WHERE seed.pod_uid = $2::text::uuid"
            ),
        ] {
            stage
                .db
                .execute(&sql, &[&copies, &seed])
                .await
                .with_context(|| format!("cannot copy rows: {sql}"))?;
        }
        Ok(())
    }
}
