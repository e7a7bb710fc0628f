//! Logs: nothing twice, nothing lost.

use pods_core::{Status, transition::Event};

use crate::world::{pod_name, until, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_survives_a_restart_and_broken_streams_without_a_line_lost_or_repeated() {
    let world = world().await;
    let row = world.spawning("a").await;
    let name = pod_name(&row);
    let mut expected = String::new();
    let mut write = |count: usize| {
        for _ in 0..count {
            let number = expected.lines().count();
            world.cluster.write_log(&name, &format!("line {number}"));
            expected += &format!("line {number}\n");
        }
        expected.clone()
    };
    let replica = world.replica().await;
    world.cluster.set_running(&name);
    write(50);
    world.until_status(row.uid, Status::Available).await;
    let so_far = write(50);
    until("the log is there", || async { world.log(row.uid).await == so_far }).await;
    replica.stop().await;

    write(50);
    let replica = world.replica().await;
    let so_far = write(50);
    until("the log went on", || async { world.log(row.uid).await == so_far }).await;

    world.cluster.set_reachable(false);
    write(20);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    world.cluster.set_reachable(true);
    let all = write(20);
    world.cluster.set_terminated(&name, 0, "Completed");
    world.until_status(row.uid, Status::Complete).await;
    assert_eq!(world.log(row.uid).await, all);
    replica.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_a_stopped_pod_are_stored_before_the_spawner_is_told() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    let name = pod_name(&row);
    world.cluster.set_running(&name);
    world.until_status(row.uid, Status::Available).await;
    world.event(row.uid, Event::Stop).await;
    world.clear_outbox().await;
    world.cluster.write_log(&name, "closing");
    world.cluster.write_log(&name, "closed");
    world.cluster.end_by_deadline(&name);
    until("the spawner is told", || async { world.outbox(row.uid).await.contains(&"log stored".to_owned()) })
        .await;
    assert_eq!(world.log(row.uid).await, "closing\nclosed\n");
    let mut conn = world.conn().await;
    let instance = pods_db::instances::get(&mut conn, row.instance_id.unwrap()).await.unwrap().unwrap();
    assert!(instance.log_complete);
    assert_eq!(world.row(row.uid).await.status, Status::ShuttingDown);
    drop(conn);
    replica.stop().await;
    world.end().await;
}
