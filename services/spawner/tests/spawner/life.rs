//! Start, stop, restart, delete.

use pods_core::{Status, reason::Reason, transition::Event};
use pods_db::action_logs;
use pods_messages::Outcome;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Stage, waits};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_creates_the_secret_before_the_pod() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.status(row.uid).await, Status::Spawning);
    let written = stage.fake.written();
    let position = |what: &str| written.iter().position(|call| call == what).unwrap();
    assert!(position("POST secrets") < position("POST pods"));
    assert!(written.contains(&"POST services".to_owned()));
    let (pod, secret) = (&stage.fake.objects("pods")[0], &stage.fake.objects("secrets")[0]);
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], pod["metadata"]["uid"]);
    assert!(!pod.to_string().contains("\"value\":\"value\""));

    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.fake.written(), written, "a second look changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_container_first_and_deletes_it_once_its_log_is_stored() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let row = stage.event(row.uid, Event::Stop).await;
    assert!(waits(&stage.look(row.uid).await));
    assert_eq!(stage.fake.objects("pods")[0]["spec"]["activeDeadlineSeconds"], 1);
    assert_eq!(stage.objects(), 1, "the Pod alone is left");
    assert_eq!(stage.status(row.uid).await, Status::ShuttingDown);

    stage.log_stored(&row).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.objects(), 0);
    let row = stage.row(row.uid).await;
    assert_eq!((row.status, row.instance_id), (Status::Stopped, None));
    let lines = action_logs::list(&mut *stage.db.conn().await, row.uid).await.unwrap();
    let said = |text: &str| lines.iter().filter(|line| line.ends_with(text)).count();
    let steps = ["spawner set status to SPAWNING", "spawner set status to STOPPED"].map(said);
    assert_eq!(steps, [1, 1], "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_removes_the_old_start_and_goes_on_at_once() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let before = stage.fake.objects("pods")[0]["metadata"]["uid"].clone();
    let row = stage.event(row.uid, Event::Restart).await;
    assert!(waits(&stage.look(row.uid).await), "the log of the old start is not stored yet");
    stage.log_stored(&row).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let pods = stage.fake.objects("pods");
    assert_eq!(pods.len(), 1);
    assert_ne!(pods[0]["metadata"]["uid"], before);
    let after = stage.row(row.uid).await;
    assert_eq!(after.status, Status::Spawning);
    assert_eq!(pods[0]["metadata"]["labels"]["tapis.io/instance"], after.instance_id.unwrap().to_string());
    let selector = &stage.fake.objects("services")[0]["spec"]["selector"]["tapis.io/instance"];
    assert_eq!(*selector, after.instance_id.unwrap().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_waits_for_the_end_of_the_old_container() {
    let stage = Stage::new().await;
    stage.fake.keep_deleted_pods();
    let row = stage.running("shop").await;
    let row = stage.event(row.uid, Event::Restart).await;
    stage.log_stored(&row).await;
    assert!(waits(&stage.look(row.uid).await));
    assert_eq!(stage.status(row.uid).await, Status::Restarting);
    let old = stage.fake.pod_names()[0].clone();
    stage.fake.remove_pod(&old);
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.status(row.uid).await, Status::Spawning);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_deleted_pod_waits_for_its_objects() {
    let stage = Stage::new().await;
    stage.fake.keep_deleted_pods();
    let old = stage.running("shop").await;
    stage.event(old.uid, Event::Delete).await;
    let new = stage.pod("shop").await;
    assert!(waits(&stage.look(new.uid).await));
    assert!(waits(&stage.look(old.uid).await));
    assert!(waits(&stage.look(new.uid).await));
    assert_eq!(stage.status(new.uid).await, Status::Requested);
    assert!(waits(&stage.worker.look_at(new.uid, 2).await));
    let told = stage.row(new.uid).await;
    assert_eq!(told.status_container.code, Some(Reason::NameTaken));
    assert!(waits(&stage.worker.look_at(new.uid, 3).await));
    assert_eq!(stage.row(new.uid).await, told, "told once");
    let name = stage.fake.pod_names()[0].clone();
    stage.fake.remove_pod(&name);
    assert_eq!(stage.look(old.uid).await, Outcome::Done);
    assert!(stage.row(old.uid).await.objects_gone_ts.is_some());
    assert_eq!(stage.look(new.uid).await, Outcome::Done);
    assert_eq!(stage.row(new.uid).await.status_container.code, Some(Reason::Starting));
    assert_eq!(stage.fake.objects("pods")[0]["metadata"]["labels"]["tapis.io/uid"], new.uid.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pod_is_replaced_under_a_service_that_stays() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let service = stage.fake.objects("services")[0]["metadata"]["uid"].clone();
    let name = stage.fake.pod_names()[0].clone();
    stage.fake.fail_pod(&name, "Evicted", "The node was low on resource: memory.");
    let row = stage.event(row.uid, Event::Lost).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let (pods, services) = (stage.fake.objects("pods"), stage.fake.objects("services"));
    assert_eq!((pods.len(), services.len(), stage.fake.objects("secrets").len()), (1, 1, 1));
    assert_eq!(services[0]["metadata"]["uid"], service);
    let instance = row.instance_id.unwrap().to_string();
    assert_eq!(pods[0]["metadata"]["labels"]["tapis.io/instance"], instance);
    assert_eq!(services[0]["spec"]["selector"]["tapis.io/instance"], instance);
}

/// A Secret as a call makes it that Kubernetes carries out late.
fn late_secret(uid: Uuid, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "uid": Uuid::now_v7(), "labels": {
        "app.kubernetes.io/managed-by": "pods", "tapis.io/site": "dev", "tapis.io/uid": uid,
    }}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubernetes_creates_after_the_end_is_found_and_removed() {
    let stage = Stage::new().await;
    let running = stage.running("other").await;
    let uid = stage.pod("shop").await.uid;
    let tombstone = stage.pod("gone").await.uid;
    for (uid, end) in [(uid, Event::Stop), (tombstone, Event::Delete)] {
        stage.event(uid, end).await;
        assert_eq!(stage.look(uid).await, Outcome::Done);
    }
    assert!(stage.row(tombstone).await.objects_gone_ts.is_some());
    assert_eq!(stage.worker.remove_orphans(&stage.db.db()).await.unwrap(), 0);
    let before = stage.objects();

    stage.fake.put("secrets", late_secret(uid, "late"));
    stage.fake.put("secrets", late_secret(tombstone, "later"));
    stage.fake.put("secrets", late_secret(Uuid::now_v7(), "strange"));
    assert_eq!(stage.worker.remove_orphans(&stage.db.db()).await.unwrap(), 2);
    let names: Vec<Value> =
        stage.fake.objects("secrets").iter().map(|secret| secret["metadata"]["name"].clone()).collect();
    assert_eq!(stage.objects(), before + 1, "{names:?}");
    assert!(names.contains(&json!("strange")), "what no row names is nobody's to delete");
    assert_eq!(stage.status(running.uid).await, Status::Available);
    assert_eq!(stage.worker.remove_orphans(&stage.db.db()).await.unwrap(), 0);
}
