//! What health must find by itself, because nothing of the Pod tells it again.

use chrono::{DateTime, SecondsFormat, Utc};
use pods_core::{Status, phases::Phase};
use pods_db::{instances, logs};
use pods_telemetry::metrics::Registry;
use serde_json::json;
use uuid::Uuid;

use crate::world::{pod_name, until, world};

/// The answer to a write was lost, so the same is written again and refused: the log is followed from its new end.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_place_is_another_than_believed_is_followed_on() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    let (name, run) = (pod_name(&row), row.instance_id.unwrap());
    world.cluster.set_running(&name);
    world.until_status(row.uid, Status::Available).await;
    world.cluster.write_log(&name, "one");
    until("the first line is stored", || async { world.log(row.uid).await == "one\n" }).await;

    // What was written and not acknowledged.
    let at = DateTime::from_timestamp_micros(Utc::now().timestamp_micros()).unwrap();
    let append = logs::Append {
        pod_uid: row.uid,
        run_id: run,
        offset: 4,
        bytes: b"two\n",
        marks: &[],
        resume_ts: at,
        resume_skip: 1,
    };
    let stored = logs::append(&mut *world.conn().await, None, &[append]).await.unwrap();
    assert_eq!(stored, logs::Stored::All { but: vec![] });
    let two = format!("{} two\n", at.to_rfc3339_opts(SecondsFormat::Nanos, true));
    world.cluster.write_raw_log(&name, two.as_bytes());
    world.cluster.write_log(&name, "three");
    until("the log goes on", || async { world.log(row.uid).await == "one\ntwo\nthree\n" }).await;
    replica.stop().await;
}

/// How often a phase of a start was measured in this process.
fn measured(phase: Phase) -> Option<String> {
    let mut registry = Registry::default();
    pods_db::metrics::register_starts(&mut registry, Phase::Started);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let of_it = format!("phase=\"{}\"", phase.as_str());
    let counts = |line: &&str| line.starts_with("pods_start_seconds_count") && line.contains(&of_it);
    Some(text.lines().find(counts)?.rsplit(' ').next()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_is_learned_late_is_stored_and_measured_once() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.begun("a").await;
    let name = pod_name(&row);
    let status = |ready: bool| {
        let now = Utc::now().to_rfc3339();
        json!({"phase": "Running",
            "conditions": [{"type": "ContainersReady", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": now}],
            "containerStatuses": [{"name": "container", "image": "", "imageID": "", "ready": ready,
                "restartCount": 0, "state": {"running": {"startedAt": row.creation_ts.to_rfc3339()}}}]})
    };
    world.create_pod(&row);
    let mut pod = world.cluster.objects("pods").remove(0);
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 5000}});
    pod["status"] = status(false);
    world.cluster.put("pods", pod);
    world.until_status(row.uid, Status::Available).await;
    let phases =
        async |instance: Uuid| instances::phases(&mut *world.conn().await, instance).await.unwrap().unwrap();
    let instance = row.instance_id.unwrap();
    until("the start was measured", || async { measured(Phase::Started).is_some_and(|times| times == "1") })
        .await;
    assert_eq!(phases(instance).await.get(Phase::Ready), None);

    world.cluster.set_status(&name, status(true));
    until("it is ready", || async { phases(instance).await.get(Phase::Ready).is_some() }).await;
    until("that was measured", || async { measured(Phase::Ready).is_some_and(|times| times == "1") }).await;
    // A replica that knows nothing of that measures nothing again.
    replica.stop().await;
    let replica = world.replica().await;
    world.cluster.set_status(&name, status(false));
    until("the row says so", || async { world.row(row.uid).await.status_container.ready == Some(false) })
        .await;
    assert_eq!((measured(Phase::Ready), measured(Phase::Started)), (Some("1".into()), Some("1".into())));
    replica.stop().await;
}
