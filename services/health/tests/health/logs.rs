//! Logs: nothing twice, nothing lost, and bounded however a container writes.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use pods_core::{Status, transition::Event};
use pods_db::{
    logs::{self, CHUNKS_MAX, RING_BYTES, Wanted, runs},
    pods::PodRow,
};

use crate::world::{World, pod_name, until, world};

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
    world.until_unreached("/log", 1).await;
    world.cluster.set_reachable(true);
    let all = write(20);
    world.cluster.set_terminated(&name, 0, "Completed");
    world.until_status(row.uid, Status::Complete).await;
    assert_eq!(world.log(row.uid).await, all);
    replica.stop().await;
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
}

async fn followed(world: &World, pod_id: &str) -> PodRow {
    let row = world.spawning(pod_id).await;
    world.cluster.set_running(&pod_name(&row));
    world.until_status(row.uid, Status::Available).await
}

/// A line as the API server sends it.
fn line(at: DateTime<Utc>, text: &[u8]) -> Vec<u8> {
    let mut line = at.to_rfc3339_opts(SecondsFormat::Nanos, true).into_bytes();
    line.push(b' ');
    line.extend_from_slice(text);
    line
}

async fn bytes(world: &World, row: &PodRow) -> Vec<u8> {
    logs::of_latest(&mut *world.conn().await, row.uid).await.unwrap()
}

async fn chunks(world: &World, row: &PodRow) -> usize {
    runs::place(&mut *world.conn().await, row.instance_id.unwrap()).await.unwrap().unwrap().chunks
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_nul_and_bytes_that_are_no_text_are_stored_as_they_are() {
    let world = world().await;
    let replica = world.replica().await;
    let row = followed(&world, "a").await;
    let name = pod_name(&row);
    let now = Utc::now();
    // As an old kubelet sends a line of 40000 bytes: in pieces, each with its time.
    let (piece, rest) = (vec![b'x'; 16_384], vec![b'y'; 40_000 - 2 * 16_384]);
    let mut sent = line(now, &piece);
    sent.extend(line(now + TimeDelta::milliseconds(1), &piece));
    sent.extend(line(now + TimeDelta::milliseconds(2), &rest));
    sent.extend_from_slice(b"\n");
    sent.extend(line(now + TimeDelta::milliseconds(3), b"nul \0, latin \xe4 and a cut \xc3\n"));
    world.cluster.write_raw_log(&name, &sent);
    let expected = [&piece[..], &piece, &rest, b"\nnul \0, latin \xe4 and a cut \xc3\n"].concat();
    until("everything is stored", || async { bytes(&world, &row).await == expected }).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_never_ends_is_stored_while_it_grows_and_not_twice() {
    let world = world().await;
    let replica = world.replica().await;
    let row = followed(&world, "a").await;
    let name = pod_name(&row);
    let now = Utc::now();
    let mut expected = Vec::new();
    for (number, replica_ends) in [(0, false), (1, true), (2, false), (3, false)] {
        let piece = vec![b'a' + number; 16_384];
        world.cluster.write_raw_log(&name, &line(now + TimeDelta::milliseconds(number.into()), &piece));
        expected.extend(piece);
        until("the piece is stored", || async { bytes(&world, &row).await == expected }).await;
        if replica_ends {
            world.cluster.set_reachable(false);
            world.cluster.set_reachable(true);
        }
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_writer_has_few_rows_and_every_byte_keeps_its_place() {
    let world = world().await;
    let replica = world.replica().await;
    let row = followed(&world, "a").await;
    let (name, run) = (pod_name(&row), row.instance_id.unwrap());
    // As after hours of one line a second.
    let mut expected = String::new();
    {
        let conn = &mut *world.conn().await;
        for number in 0..CHUNKS_MAX - 5 {
            let text = format!("{number}\n");
            let at = Utc::now() - TimeDelta::hours(1);
            let append = logs::Append {
                pod_uid: row.uid,
                run_id: run,
                offset: expected.len() as i64,
                bytes: text.as_bytes(),
                marks: &[logs::Mark { offset: expected.len() as i64, at }],
                resume_ts: at,
                resume_skip: 1,
            };
            logs::append(conn, None, &[append]).await.unwrap();
            expected += &text;
        }
    }
    replica.stop().await;
    let replica = world.replica().await;
    for number in 0..8 {
        world.cluster.write_log(&name, &format!("new {number}"));
        expected += &format!("new {number}\n");
        until("the line is stored", || async { world.log(row.uid).await == expected }).await;
    }
    until("the chunks were merged", || async { chunks(&world, &row).await < 10 }).await;
    assert_eq!(world.log(row.uid).await, expected);
    let conn = &mut *world.conn().await;
    let piece = logs::next(conn, run, 2, 4).await.unwrap().unwrap();
    assert_eq!((piece.offset, piece.bytes.as_slice()), (2, b"1\n2\n".as_slice()));
    let since = Some(Utc::now() - TimeDelta::minutes(1));
    let new = logs::read(conn, run, Wanted { tail: None, since }).await.unwrap();
    let new = String::from_utf8(new).unwrap();
    // The last line before that time may come too.
    assert!(new.ends_with(&expected[expected.find("new 0").unwrap()..]) && new.lines().count() <= 9, "{new}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_flood_the_newest_lines_are_kept_cut_at_a_line() {
    let world = world().await;
    let replica = world.replica().await;
    let row = followed(&world, "a").await;
    let name = pod_name(&row);
    let text = |number: usize| format!("{number:0>199}\n");
    let lines = RING_BYTES / 200 * 3;
    for block in 0..lines / 1000 {
        let block: Vec<u8> = (block * 1000..(block + 1) * 1000)
            .flat_map(|number| line(Utc::now(), text(number).as_bytes()))
            .collect();
        world.cluster.write_raw_log(&name, &block);
    }
    world.cluster.write_log(&name, "the last line");
    world.cluster.set_terminated(&name, 1, "Error");
    world.until_status(row.uid, Status::Error).await;
    let log = bytes(&world, &row).await;
    assert!(log.len() <= RING_BYTES && log.len() > RING_BYTES / 4, "{}", log.len());
    let log = String::from_utf8(log).unwrap();
    assert!(log.ends_with("the last line\n"));
    // The scripted cluster forgets what is older, also in the middle of what is being read.
    let mut numbers = log.lines().rev().skip(1).take(30_000).map(|line| {
        assert_eq!(line.len(), 199, "whole lines only");
        line.parse::<usize>().unwrap()
    });
    let newest = numbers.next().unwrap();
    assert!(newest + 1000 >= lines / 1000 * 1000, "{newest} of {lines}");
    let contiguous = numbers.zip((0..newest).rev()).all(|(seen, expected)| seen == expected);
    assert!(contiguous, "nothing is missing at the end");
    until("the rows are few", || async { chunks(&world, &row).await <= CHUNKS_MAX }).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_containers_share_what_may_wait_while_postgres_is_away() {
    let world = world().await;
    let replica = world.replica().await;
    let mut rows = Vec::new();
    for number in 0..40 {
        rows.push(followed(&world, &format!("p{number}")).await);
    }
    // The table cannot be written: everything that is read has to wait.
    world.sql("ALTER TABLE pod_log_chunks RENAME TO hidden").await;
    let block: Vec<u8> =
        (0..2000).flat_map(|n| line(Utc::now(), format!("{n:0>499}\n").as_bytes())).collect();
    for row in &rows {
        world.cluster.write_raw_log(&pod_name(row), &block);
    }
    let waiting = pods_health::logs::waiting;
    until("much waits", || async { waiting() > 4 * 1024 * 1024 }).await;
    for _ in 0..20 {
        // 16 MiB, and one line of each container that was read before the limit was seen.
        assert!(waiting() < 17 * 1024 * 1024, "{}", waiting());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.sql("ALTER TABLE hidden RENAME TO pod_log_chunks").await;
    for row in &rows {
        until("everything is stored in the end", || async { bytes(&world, row).await.len() == 1_000_000 })
            .await;
    }
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_never_available_has_a_run_too_and_older_runs_are_archived() {
    let world = world().await;
    let replica = world.replica().await;
    let row = world.spawning("a").await;
    // The stop comes before anybody has seen the container running.
    world.event(row.uid, Event::Stop).await;
    world.cluster.write_log(&pod_name(&row), "unseen");
    world.cluster.set_running(&pod_name(&row));
    world.cluster.end_by_deadline(&pod_name(&row));
    until("the log is stored", || async { world.log(row.uid).await == "unseen\n" }).await;
    world.cluster.remove_pod(&pod_name(&row));
    world.event(row.uid, Event::ObjectsGone).await;
    for number in 2..=5 {
        world.event(row.uid, Event::Start).await;
        let row = world.event(row.uid, Event::SpawnBegun).await;
        world.create_pod(&row);
        world.cluster.set_running(&pod_name(&row));
        world.until_status(row.uid, Status::Available).await;
        world.cluster.write_log(&pod_name(&row), &format!("run {number}"));
        until("the log is stored", || async { world.log(row.uid).await == format!("run {number}\n") }).await;
        world.event(row.uid, Event::Stop).await;
        world.cluster.end_by_deadline(&pod_name(&row));
        world.cluster.remove_pod(&pod_name(&row));
        world.event(row.uid, Event::ObjectsGone).await;
    }
    let runs = || async { runs::list(&mut *world.conn().await, row.uid).await.unwrap() };
    until("the oldest runs are archived", || async {
        runs().await.iter().filter(|run| run.is_archived).count() == 2
    })
    .await;
    let shown: Vec<(i32, bool, bool)> =
        runs().await.iter().map(|run| (run.run_index, run.is_archived, run.stopped_at.is_some())).collect();
    assert_eq!(
        shown,
        [(5, false, true), (4, false, true), (3, false, true), (2, true, true), (1, true, true)]
    );
    replica.stop().await;
}
