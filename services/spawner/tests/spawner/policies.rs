//! NetworkPolicies: there before the Pod, true to the entries, gone with the last container.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Api, api::DeleteParams};
use pods_core::{Networking, PodDefinition, Status, transition::Event};
use pods_db::testing;
use pods_messages::Outcome;
use serde_json::{Value, json};

use crate::stage::{Stage, credentials, waits, worker_with};

impl Stage {
    fn policies(&self) -> Vec<Value> {
        self.fake.objects("networkpolicies")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_comes_before_the_pod_and_belongs_to_it() {
    let stage = Stage::new().await;
    let row = stage.pod("shop").await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let written = stage.fake.written();
    let position = |what: &str| written.iter().position(|call| call == what).unwrap();
    assert!(position("POST networkpolicies") < position("POST pods"), "{written:?}");
    let (pod, policy) = (&stage.fake.objects("pods")[0], &stage.policies()[0]);
    assert_eq!(policy["metadata"]["name"], pod["metadata"]["name"]);
    assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], pod["metadata"]["uid"]);
    let selected = &policy["spec"]["podSelector"]["matchLabels"]["tapis.io/instance"];
    assert_eq!(*selected, pod["metadata"]["labels"]["tapis.io/instance"]);

    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.fake.written(), written, "a second look changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_deleted_by_hand_comes_back() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let name = stage.policies()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let api: Api<NetworkPolicy> = Api::namespaced(stage.fake.client(), "pods-test");
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.policies().len(), 1);
    assert!(stage.policies()[0]["metadata"]["ownerReferences"].is_array());
    assert_eq!(stage.fake.objects("pods").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_added_to_a_running_pod_closes_its_port_without_a_restart() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let before = stage.policies()[0].clone();
    let rules = |policy: &Value| policy["spec"]["ingress"].as_array().map_or(0, Vec::len);
    assert_eq!(rules(&before), 2, "Traefik and the tenant: {before}");
    let guarded = Networking { tapis_auth: true, ..Networking::default() };
    let networking = json!({"default": guarded});
    stage.sql(&format!("UPDATE pods SET networking = '{networking}' WHERE uid = '{}'", row.uid)).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let after = stage.policies()[0].clone();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(rules(&after), 1, "Traefik alone: {after}");
    assert_eq!(stage.fake.written().iter().filter(|call| *call == "POST pods").count(), 1);
    let written = stage.fake.written();
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.fake.written(), written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_ending_keeps_its_policy() {
    let stage = Stage::new().await;
    stage.fake.keep_deleted_pods();
    let row = stage.running("shop").await;
    stage.event(row.uid, Event::Delete).await;
    assert!(waits(&stage.look(row.uid).await));
    assert_eq!((stage.policies().len(), stage.fake.objects("secrets").len()), (1, 0));
    let name = stage.fake.pod_names()[0].clone();
    stage.fake.remove_pod(&name);
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.objects(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_has_a_policy_of_its_own() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let name = stage.fake.pod_names()[0].clone();
    stage.fake.fail_pod(&name, "Evicted", "The node was low on resource: memory.");
    let row = stage.event(row.uid, Event::Lost).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let instance = row.instance_id.unwrap().to_string();
    let policies = stage.policies();
    assert_eq!(policies.len(), 1);
    assert_eq!(policies[0]["metadata"]["labels"]["tapis.io/instance"], instance);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_without_policies_asks_for_none() {
    let stage = Stage::new().await;
    let worker = worker_with(&stage.db, &stage.fake, |settings| settings.network_policy.enabled = false);
    let denied = pods_kube::testing::Fault::Status {
        code: 403,
        reason: "Forbidden",
        message: "networkpolicies is forbidden: User \"x\" cannot list resource".to_owned(),
    };
    stage.fake.fail("GET", "networkpolicies", 100, denied);
    let row = stage.pod("shop").await;
    assert_eq!(worker.look_at(row.uid, 1).await, Outcome::Done);
    assert!(stage.policies().is_empty());
    assert_eq!(stage.fake.objects("pods").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_entries_lets_nobody_in() {
    let stage = Stage::new().await;
    let definition = PodDefinition { networking: BTreeMap::new(), ..testing::definition() };
    let row = stage.pod_of("shop", definition, &credentials("shop")).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.policies()[0]["spec"]["ingress"], json!([]));
    assert_eq!(stage.status(row.uid).await, Status::Spawning);
}
