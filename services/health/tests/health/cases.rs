//! Statuses: what is seen in the cluster and what the row says then.

use std::time::Duration;

use chrono::Utc;
use pods_core::{Status, reason::Reason, transition::Event};

use crate::world::{pod_name, until, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_is_available_and_its_end_is_recorded() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    let name = pod_name(&row);

    world.cluster.set_running(&name);
    let row = world.until_status(row.uid, Status::Available).await;
    assert!(row.start_instance_ts.is_some() && row.time_to_stop_ts.is_some());
    assert_eq!(row.status_container.code, Some(Reason::Running));

    world.cluster.write_log(&name, "last words");
    world.cluster.set_terminated(&name, 3, "Error");
    let row = world.until_status(row.uid, Status::Error).await;
    assert_eq!(
        (row.status_container.code, row.status_container.exit_code),
        (Some(Reason::ExitCode), Some(3))
    );
    // The log was there before the status.
    assert_eq!(world.log(row.uid).await, "last words\n");
    // A sweep may have repeated a wake-up meanwhile.
    assert!(world.outbox(row.uid).await.contains(&"ended other".to_owned()));

    world.clear_outbox().await;
    world.cluster.remove_pod(&name);
    until("the spawner is woken", || async { world.outbox(row.uid).await.contains(&"pod gone".to_owned()) })
        .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_lived_unseen_is_complete_with_its_start_time() {
    let world = world().await;
    let row = world.spawning("a").await;
    world.cluster.write_log(&pod_name(&row), "hello");
    world.cluster.set_terminated(&pod_name(&row), 0, "Completed");
    let replica = world.replica().await;
    let row = world.until_status(row.uid, Status::Complete).await;
    assert!(row.start_instance_ts.is_some());
    assert_eq!(row.status_container.exit_code, Some(0));
    assert_eq!(world.log(row.uid).await, "hello\n");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_work_ends_in_error_with_the_reason() {
    let world = world().await;
    // It gives up after ten minutes: a definite no is not waited out.
    let replica = world.replica().await;
    let missing = world.spawning("missing").await;
    world.cluster.set_waiting(&pod_name(&missing), "ErrImagePull", "docker.io/library/nope: not found");
    let row = world.until_status(missing.uid, Status::Error).await;
    assert_eq!(row.status_container.code, Some(Reason::ImageNotFound));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_explained_and_waited_for_and_then_given_up() {
    let world = world().await;
    let replica = world.replica().await;
    let big = world.spawning("big").await;
    let text = "0/1 nodes are available: 1 Insufficient memory.";
    world.cluster.set_unschedulable(&pod_name(&big), text);
    world.until_code(big.uid, Reason::Unschedulable).await;
    world.until_seen().await;
    assert_eq!(world.row(big.uid).await.status, Status::Spawning);
    replica.stop().await;
    let replica = world.replica_that_gives_up_after(Duration::from_millis(300)).await;
    let row = world.until_status(big.uid, Status::Error).await;
    assert!(row.status_container.message.unwrap().contains(text));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_does_not_answer_may_come_back_in_time() {
    let world = world().await;
    let replica = world.replica().await;
    let slow = world.spawning("slow").await;
    let cause = "dial tcp: lookup registry: no such host";
    world.cluster.set_waiting(&pod_name(&slow), "ErrImagePull", cause);
    world.until_code(slow.uid, Reason::ImagePull).await;
    world.cluster.set_waiting(&pod_name(&slow), "ImagePullBackOff", "Back-off pulling image \"slow\"");
    world.until_seen().await;
    assert!(world.row(slow.uid).await.status_container.message.unwrap().contains(cause));
    world.cluster.set_running(&pod_name(&slow));
    world.until_status(slow.uid, Status::Available).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pod_starts_again_and_keeps_its_deadline() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    world.cluster.set_running(&pod_name(&row));
    let before = world.until_status(row.uid, Status::Available).await;

    world.cluster.remove_pod(&pod_name(&row));
    let lost = world.until_status(row.uid, Status::Requested).await;
    assert_ne!(lost.instance_id, before.instance_id);
    assert_eq!((lost.losses, lost.time_to_stop_ts), (1, before.time_to_stop_ts));
    assert_eq!(lost.status_container.code, Some(Reason::Vanished));

    world.event(row.uid, Event::SpawnBegun).await;
    world.create_pod(&lost);
    world.cluster.set_running(&pod_name(&lost));
    let again = world.until_status(row.uid, Status::Available).await;
    assert_eq!(again.time_to_stop_ts, before.time_to_stop_ts);

    world.cluster.fail_pod(&pod_name(&lost), "Evicted", "The node was low on resource: memory.");
    let lost = world.until_status(row.uid, Status::Requested).await;
    assert_eq!((lost.losses, lost.status_container.code), (2, Some(Reason::NodePressure)));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kubernetes_changes_no_status() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    world.cluster.set_running(&pod_name(&row));
    world.until_status(row.uid, Status::Available).await;

    world.cluster.set_reachable(false);
    world.until_unreached("/pods", 3).await;
    assert_eq!(world.row(row.uid).await.status, Status::Available);
    // Meanwhile it vanishes; nobody can know.
    world.cluster.remove_pod(&pod_name(&row));
    world.until_unreached("/pods", 2).await;
    assert_eq!(world.row(row.uid).await.status, Status::Available);
    world.cluster.set_reachable(true);
    world.until_status(row.uid, Status::Requested).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_nobody_watched_is_found_at_the_start() {
    let world = world().await;
    let replica = world.replica().await;
    let gone = world.spawning("gone").await;
    let stays = world.spawning("stays").await;
    for row in [&gone, &stays] {
        world.cluster.set_running(&pod_name(row));
        world.until_status(row.uid, Status::Available).await;
    }
    replica.stop().await;
    world.cluster.remove_pod(&pod_name(&gone));
    let before = world.row(stays.uid).await;
    let replica = world.replica().await;
    world.until_status(gone.uid, Status::Requested).await;
    assert_eq!(world.row(stays.uid).await, before);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_of_another_instance_changes_nothing_and_foreign_pods_stay() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    let other = pods_db::pods::PodRow { instance_id: Some(uuid::Uuid::now_v7()), ..row.clone() };
    world.create_pod(&other);
    world.cluster.set_running(&pod_name(&other));
    let stranger =
        pods_db::pods::PodRow { uid: uuid::Uuid::now_v7(), k8_name: "stranger".into(), ..other.clone() };
    world.create_pod(&stranger);
    world.cluster.set_running(&pod_name(&stranger));
    world.until_seen().await;
    assert_eq!(world.row(row.uid).await.status, Status::Spawning);
    assert!(world.cluster.written().is_empty(), "health writes nothing to Kubernetes");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_deadline_stops_the_pod_and_lost_wake_ups_are_repeated() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    world.cluster.set_running(&pod_name(&row));
    world.until_status(row.uid, Status::Available).await;
    world.clear_outbox().await;
    world
        .sql(&format!(
            "UPDATE pods SET time_to_stop_ts = '{}', revision = revision + 1",
            Utc::now().to_rfc3339()
        ))
        .await;
    let row = world.until_status(row.uid, Status::ShuttingDown).await;
    assert_eq!(row.status_container.code, Some(Reason::Expired));
    world.clear_outbox().await;
    until("the sweep repeats the wake-up", || async {
        world.outbox(row.uid).await.contains(&"sweep".to_owned())
    })
    .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_the_work_and_one_takes_over() {
    let world = world().await;
    let first = world.replica().await;
    let second = world.replica().await;
    let mut rows = Vec::new();
    for number in 0..12 {
        rows.push(world.begun(&format!("p{number}")).await);
    }
    for row in &rows {
        // At once, so that there is no time in which it would have to be said what is waited for.
        world.create_pod(row);
        world.cluster.set_running(&pod_name(row));
    }
    for row in &rows {
        let row = world.until_status(row.uid, Status::Available).await;
        assert_eq!(row.revision, 3, "created, spawning, available: written once each");
    }
    first.stop().await;
    for row in &rows {
        world.cluster.set_terminated(&pod_name(row), 0, "Completed");
    }
    for row in &rows {
        world.until_status(row.uid, Status::Complete).await;
    }
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shares_of_a_killed_replica_are_taken_over_within_fifteen_seconds() {
    let world = world().await;
    let first = world.replica().await;
    let row = world.spawning("a").await;
    world.cluster.set_running(&pod_name(&row));
    world.until_status(row.uid, Status::Available).await;
    first.kill().await;
    let killed = std::time::Instant::now();
    world.cluster.write_log(&pod_name(&row), "unseen");
    world.cluster.set_terminated(&pod_name(&row), 0, "Completed");
    let second = world.replica().await;
    world.until_status(row.uid, Status::Complete).await;
    assert!(killed.elapsed().as_secs() < 15);
    assert_eq!(world.log(row.uid).await, "unseen\n");
    second.stop().await;
}
