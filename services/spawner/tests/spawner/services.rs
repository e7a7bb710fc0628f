//! Services: they follow the networking entries of a running pod.

use std::collections::BTreeMap;

use pods_core::{Networking, PodDefinition, Status, transition::Event};
use pods_db::testing;
use pods_kube::testing::Fault;
use pods_messages::Outcome;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Stage, credentials, waits};

impl Stage {
    /// What a user writes, without the wake-up that goes with it.
    async fn set_entries(&self, uid: Uuid, ports: &[(&str, i32)]) {
        let entry = |(name, port): &(&str, i32)| {
            ((*name).to_owned(), Networking { port: *port, ..Networking::default() })
        };
        let entries: BTreeMap<String, Networking> = ports.iter().map(entry).collect();
        let networking = serde_json::to_string(&entries).expect("entries are JSON");
        self.sql(&format!("UPDATE pods SET networking = '{networking}' WHERE uid = '{uid}'")).await;
    }

    fn services(&self) -> Vec<Value> {
        self.fake.objects("services")
    }

    /// The ports of the one Service.
    fn ports(&self) -> Vec<i64> {
        let services = self.services();
        assert_eq!(services.len(), 1, "{services:?}");
        let ports = services[0]["spec"]["ports"].as_array().expect("a Service has ports").iter();
        ports
            .map(|port| {
                assert_eq!(port["port"], port["targetPort"], "{port}");
                port["port"].as_i64().expect("a port is a number")
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_changed_or_added_while_the_pod_runs_is_reached() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let before = stage.services()[0].clone();
    assert_eq!(stage.ports(), [5000]);
    for ports in [&[("default", 9000)][..], &[("admin", 7000), ("default", 9000)], &[("default", 7000)]] {
        stage.set_entries(row.uid, ports).await;
        assert_eq!(stage.look(row.uid).await, Outcome::Done);
        let expected: Vec<i64> = ports.iter().map(|(_, port)| i64::from(*port)).collect();
        assert_eq!(stage.ports(), expected);
        let names = stage.services()[0]["metadata"]["annotations"]["tapis.io/ports"].to_string();
        assert!(ports.iter().all(|(name, _)| names.contains(name)), "{names}");
    }
    assert_eq!(stage.services()[0]["metadata"]["uid"], before["metadata"]["uid"], "its address stays");
    assert_eq!(stage.services()[0]["spec"]["selector"], before["spec"]["selector"]);
    assert_eq!(stage.fake.written().iter().filter(|call| *call == "POST pods").count(), 1);
    let written = stage.fake.written();
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.fake.written(), written, "a second look changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_comes_with_the_first_entry_and_goes_with_the_last() {
    let stage = Stage::new().await;
    stage.fake.autopilot();
    let definition = PodDefinition { networking: BTreeMap::new(), ..testing::definition() };
    let row = stage.pod_of("shop", definition, &credentials("shop")).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let row = stage.event(row.uid, Event::Running).await;
    assert_eq!(stage.services(), Vec::<Value>::new());
    stage.set_entries(row.uid, &[("default", 8080)]).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.ports(), [8080]);
    let instance = row.instance_id.unwrap().to_string();
    assert_eq!(stage.services()[0]["spec"]["selector"]["tapis.io/instance"], instance);
    stage.set_entries(row.uid, &[]).await;
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.services(), Vec::<Value>::new());
    assert_eq!(stage.status(row.uid).await, Status::Available);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_before_takes_over_what_a_start_says_about_readiness() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    let mut old = stage.services()[0].clone();
    old["spec"]["publishNotReadyAddresses"] = json!(true);
    stage.fake.put("services", old);
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    let spec = stage.services()[0]["spec"].clone();
    assert!(spec["publishNotReadyAddresses"] != true, "{spec}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_kubernetes_refuses_leaves_the_pod_running() {
    let stage = Stage::new().await;
    let row = stage.running("shop").await;
    stage.set_entries(row.uid, &[("default", 9000)]).await;
    let refused = Fault::Status { code: 422, reason: "Invalid", message: "no such port".to_owned() };
    stage.fake.fail("PATCH", "services", 1, refused);
    assert!(waits(&stage.look(row.uid).await));
    assert_eq!((stage.status(row.uid).await, stage.ports()), (Status::Available, vec![5000]));
    assert_eq!(stage.look(row.uid).await, Outcome::Done);
    assert_eq!(stage.ports(), [9000]);
}
