//! `GET /pods/{pod_id}/explain` and `GET /pods/{pod_id}/events`.

use std::time::Duration;

use chrono::TimeDelta;
use pods_core::{
    ids::instance_name,
    phases::{Phase, Phases},
    reason::{Reason, StatusContainer},
    transition::Event,
};
use pods_db::{
    instances, leases,
    pods::PodRow,
    testing::{done, now},
    transitions::Change,
};
use pods_kube::testing::FakeCluster;
use serde_json::{Value, json};

use crate::app::{Setup, TestApp};

async fn sql(app: &TestApp, statement: &str) {
    diesel_async::RunQueryDsl::execute(diesel::sql_query(statement), &mut *app.conn().await).await.unwrap();
}

/// A replica of health lives.
async fn observe(app: &TestApp) {
    let ttl = Duration::from_secs(600);
    leases::acquire(&mut *app.conn().await, "health/dev/shard-00", "test", ttl).await.unwrap();
}

async fn happens(app: &TestApp, event: Event, code: Reason, message: &str) -> PodRow {
    let row = app.row("web").await;
    let because = StatusContainer::because(code, message);
    done(&mut *app.conn().await, &row, Change::new(event, now()).because(because)).await
}

async fn explain(app: &TestApp) -> Value {
    app.alice().get("/v3/pods/web/explain").await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_routed_says_why() {
    let app = TestApp::start().await;
    observe(&app).await;
    let networking = json!({"default": {"port": 8080}, "admin": {"port": 8081}});
    app.alice().create("web", json!({"networking": networking, "status_requested": "ON"})).await;
    app.happens("web", Event::SpawnBegun).await;
    app.happens("web", Event::Running).await;
    let live = async |app: &TestApp| app.alice().get("/v3/pods/web").await.ok()["networking_live"].clone();
    assert_eq!(live(&app).await, true);
    // As an older version of the service might have stored it.
    let spoil = |entry: &str| {
        format!(
            "UPDATE pods SET networking = jsonb_set(networking, '{{{entry},ip_allow_list}}', '[\"everybody\"]')"
        )
    };
    sql(&app, &spoil("admin")).await;
    let explained = explain(&app).await;
    let [admin, default] = [&explained["networking"][0], &explained["networking"][1]];
    assert_eq!((&admin["live"], &default["live"]), (&json!(false), &json!(true)), "{explained}");
    assert_eq!(admin["message"], "It cannot be reached: ip_allow_list: \"everybody\" is no network.");
    assert!(explained["hints"].to_string().contains("is no network"), "{explained}");
    assert_eq!(live(&app).await, true, "the other entry is reached");
    sql(&app, &spoil("default")).await;
    assert_eq!(live(&app).await, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_explained_step_by_step() {
    let app = TestApp::start().await;
    observe(&app).await;
    app.alice().create("web", json!({"status_requested": "ON"})).await;
    let queued = explain(&app).await;
    assert_eq!((&queued["code"], &queued["who_can_act"]), (&json!("queued"), &json!("nobody")), "{queued}");
    assert_eq!(queued["phases"][0]["name"], "accepted");
    assert_eq!(queued["next_call"], Value::Null);

    // The wake-up stays where it is: the broker is away.
    sql(&app, "UPDATE outbox SET created_ts = now() - interval '5 seconds'").await;
    let unsent = explain(&app).await;
    assert_eq!((&unsent["code"], &unsent["who_can_act"]), (&json!("broker_unreachable"), &json!("operator")));
    app.wake_ups().await;
    sql(&app, "UPDATE pods SET status_changed_ts = now() - interval '5 seconds'").await;
    sql(&app, "UPDATE pod_instances SET created_ts = now() - interval '5 seconds'").await;
    assert_eq!(explain(&app).await["code"], "no_spawner");

    happens(&app, Event::SpawnBegun, Reason::Starting, "Kubernetes is asked to run the container").await;
    let starting = explain(&app).await;
    assert_eq!((&starting["code"], &starting["phases"][1]["name"]), (&json!("starting"), &json!("taken")));
    assert!(starting["phases"][1]["seconds_since_previous"].as_f64().unwrap() > 4.0);
    sql(&app, "DELETE FROM leases").await;
    assert_eq!(explain(&app).await["code"], "no_observer");
    observe(&app).await;

    let row = happens(&app, Event::Running, Reason::Running, "The container runs.").await;
    let instance = row.instance_id.unwrap();
    let mut phases = Phases::at(Phase::Started, now());
    phases.note(Phase::Ready, Some(now() + TimeDelta::milliseconds(250)));
    let conn = &mut *app.conn().await;
    assert!(instances::note_phases(conn, instance, &phases).await.unwrap());
    assert!(!instances::note_phases(conn, instance, &phases).await.unwrap(), "nothing new, nothing written");
    let later = Phases::at(Phase::Started, now() + TimeDelta::seconds(9));
    assert!(!instances::note_phases(conn, instance, &later).await.unwrap(), "the first time stays");
    assert_eq!(instances::note_routed(conn, &[row.uid], now()).await.unwrap().len(), 1);
    assert_eq!(instances::note_routed(conn, &[row.uid], now()).await.unwrap(), []);
    let running = explain(&app).await;
    assert_eq!((&running["code"], &running["who_can_act"]), (&json!("running"), &json!("nobody")));
    assert_eq!(running["waiting_for"], Value::Null);
    assert!(running["deadline"].is_string());
    let names: Vec<&str> =
        running["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["accepted", "taken", "started", "ready", "routed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_remembered_after_the_stop_and_losses_after_the_new_start() {
    let app = TestApp::start().await;
    observe(&app).await;
    app.alice().create("web", json!({})).await;
    assert_eq!(explain(&app).await["message"], "The pod has not been started.");
    app.happens("web", Event::Start).await;
    app.happens("web", Event::SpawnBegun).await;
    app.happens("web", Event::Running).await;
    happens(&app, Event::Lost, Reason::NodeLost, "The node n stopped answering.").await;
    let lost = explain(&app).await;
    assert_eq!((&lost["code"], &lost["last_loss"]["code"]), (&json!("node_lost"), &json!("node_lost")));
    app.happens("web", Event::SpawnBegun).await;
    happens(&app, Event::Running, Reason::Running, "The container runs.").await;
    let running = explain(&app).await;
    assert_eq!((&running["code"], &running["last_loss"]["code"]), (&json!("running"), &json!("node_lost")));

    happens(&app, Event::Failed, Reason::OutOfMemory, "The container used more memory than its limit.").await;
    let failed = explain(&app).await;
    assert_eq!((&failed["code"], &failed["who_can_act"]), (&json!("out_of_memory"), &json!("you")));
    assert_eq!(
        (&failed["next_call"]["method"], &failed["next_call"]["path"]),
        (&json!("PUT"), &json!("/v3/pods/web"))
    );
    app.alice().get("/v3/pods/web/stop").await.ok();
    let stopping = explain(&app).await;
    assert_eq!((&stopping["code"], &stopping["who_can_act"]), (&json!("stopping"), &json!("nobody")));
    app.happens("web", Event::ObjectsGone).await;
    let stopped = explain(&app).await;
    assert_eq!(stopped["code"], "stopped");
    assert!(stopped["message"].as_str().unwrap().contains("more memory than its limit"), "{stopped}");
    assert_eq!(stopped["next_call"]["path"], "/v3/pods/web/start");

    app.happens("web", Event::Start).await;
    app.happens("web", Event::SpawnBegun).await;
    app.happens("web", Event::Running).await;
    happens(&app, Event::Expired, Reason::Expired, "The time to stop of this pod has passed.").await;
    app.happens("web", Event::ObjectsGone).await;
    let expired = explain(&app).await;
    assert_eq!((&expired["code"], &expired["status"]), (&json!("expired"), &json!("STOPPED")));
    assert_eq!(expired["phases"].as_array().unwrap().len(), 2, "those of the last start: {expired}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_may_ask_and_learns_who_can_act() {
    let app = TestApp::start().await;
    app.alice().create("web", json!({"status_requested": "ON"})).await;
    app.happens("web", Event::SpawnBegun).await;
    let no = "The registry has no such image.";
    happens(&app, Event::GaveUp, Reason::ImageNotFound, no).await;
    let mine = explain(&app).await;
    assert_eq!(mine["who_can_act"], "you");
    assert!(mine["message"].as_str().unwrap().contains("\"busybox\""), "the image is named: {mine}");
    for path in ["/v3/pods/web/explain", "/v3/pods/web/events", "/pods/web/explain"] {
        app.bob().get(path).await.is(403, "READ");
        app.other_alice().get(path).await.is(404, "web");
        app.anonymous().get(path).await.is(401, "");
    }
    app.alice().grant("web", "bob", "READ").await;
    let read = app.bob().get("/v3/pods/web/explain").await.ok();
    assert_eq!((&read["who_can_act"], &read["next_call"]), (&json!("owner"), &Value::Null));
    app.bob().get("/v3/pods/web/events").await.ok();
    assert_eq!(app.admin_mode().get("/v3/pods/web/explain").await.ok()["who_can_act"], "you");
    app.alice().delete("/v3/pods/web").await.ok();
    app.alice().get("/v3/pods/web/explain").await.is(404, "web");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_kubernetes_are_shown_while_it_answers() {
    let cluster = FakeCluster::new("pods");
    let setup = Setup { cluster: Some(cluster.client()), ..Setup::default() };
    let app = TestApp::start_with(setup).await;
    let file = json!({"type": "ephemeral", "config_content": "x=1"});
    app.alice().create("web", json!({"volume_mounts": {"/etc/app.ini": file}})).await;
    let events = async |query: &str| app.alice().get(&format!("/v3/pods/web/events{query}")).await;
    let none = events("").await.ok();
    assert_eq!(
        (&none["events"], &none["pod_id"], &none["status"]),
        (&json!([]), &json!("web"), &json!("STOPPED"))
    );
    assert_eq!(none["ephemeral_configmaps"][0]["exists_in_k8s"], false);

    let row = app.happens("web", Event::Start).await;
    let name = instance_name(&row.k8_name, row.instance_id.unwrap());
    let event = |number: i64, pod: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{pod}.{number}"), "namespace": "pods"},
            "involvedObject": {"kind": "Pod", "name": pod, "namespace": "pods"}, "type": "Warning",
            "reason": "FailedMount", "message": format!("attempt {number}"), "count": number + 1,
            "firstTimestamp": "2026-11-21T04:00:00Z", "lastTimestamp": format!("2026-11-21T04:00:{number:02}Z"),
            "source": {"component": "kubelet"},
        })
    };
    for number in 0..3 {
        cluster.put("events", event(number, &name));
    }
    cluster.put("events", event(9, "pods-dev-dev-other-00000000"));
    cluster.put(
        "pods",
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "pods"}}),
    );
    let found = events("?limit=2").await.ok();
    let messages: Vec<&Value> =
        found["events"].as_array().unwrap().iter().map(|event| &event["message"]).collect();
    assert_eq!(messages, ["attempt 2", "attempt 1"], "the newest, and none of another pod");
    assert_eq!(
        found["events"][0],
        json!({
            "type": "Warning", "reason": "FailedMount", "message": "attempt 2", "count": 3, "source": "kubelet",
            "first_time": "2026-11-21T04:00:00.000000Z", "last_time": "2026-11-21T04:00:02.000000Z",
        })
    );
    assert_eq!(
        found["ephemeral_configmaps"],
        json!([{
            "mount_path": "/etc/app.ini", "configmap_name": name, "exists_in_k8s": true, "config_content_bytes": 3,
        }])
    );
    for bad in ["?limit=0", "?limit=501", "?limit=many"] {
        events(bad).await.is(400, "1 to 500");
    }
    cluster.set_reachable(false);
    // An answer is good for a moment.
    let mut away = events("").await.ok();
    while away["events"] != json!([]) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        away = events("").await.ok();
    }
    assert_eq!(away["ephemeral_configmaps"][0]["exists_in_k8s"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_earlier_start_does_not_tell_its_command_either() {
    let cluster = FakeCluster::new("pods");
    let app = TestApp::start_with(Setup { cluster: Some(cluster.client()), ..Setup::default() }).await;
    app.alice().create("web", json!({"command": ["/opt/<<tapissecret_user_password>>/run"]})).await;
    let first = app.happens("web", Event::Start).await;
    app.happens("web", Event::Stop).await;
    app.happens("web", Event::ObjectsGone).await;
    app.alice().put("/v3/pods/web", json!({"command": ["run"]})).await.ok();
    app.happens("web", Event::Start).await;
    let name = instance_name(&first.k8_name, first.instance_id.unwrap());
    let said = r#"Error: exec: "/opt/hunter2/run": stat /opt/hunter2/run: no such file or directory"#;
    cluster.put(
        "events",
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.1"), "namespace": "pods"},
            "involvedObject": {"kind": "Pod", "name": name, "namespace": "pods"}, "type": "Warning",
            "reason": "Failed", "message": said, "lastTimestamp": "2026-11-21T04:00:00Z",
        }),
    );
    let told = app.alice().get("/v3/pods/web/events").await.ok();
    let message = told["events"][0]["message"].as_str().unwrap();
    assert!(message.contains("no such file") && !message.contains("hunter2"), "{message}");
}
