//! Stored logs: the ring, the fence, the places to resume at.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use chrono::Utc;
use pods_core::action_log::{LINE_MAX, LINES_MAX};
use pods_core::transition::Event;
use pods_db::{
    action_logs, instances, leases,
    logs::{self, Append, CHUNKS_MAX, Fence, RING_BYTES},
    pods::PodRow,
    testing::{TestDatabase, done, now, pod},
    transitions::Change,
};

fn piece(pod: &PodRow, bytes: impl Into<Vec<u8>>, skip: i32) -> Append {
    Append {
        pod_uid: pod.uid,
        instance_id: pod.instance_id.expect("the pod was started"),
        bytes: bytes.into(),
        resume_ts: now(),
        resume_skip: skip,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_with_the_places_to_resume_at() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let (one, two) = (pod(conn, "one", true).await, pod(conn, "two", true).await);
    let batch = [piece(&one, "a\n", 1), piece(&two, "x\n", 2), piece(&one, "b\n", 3)];
    assert!(logs::append(conn, None, &batch).await.unwrap());
    assert_eq!(logs::read(conn, one.uid).await.unwrap(), b"a\nb\n");
    assert_eq!(logs::read(conn, two.uid).await.unwrap(), b"x\n");
    let instance = instances::get(conn, one.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!((instance.log_resume_ts, instance.log_resume_skip), (Some(batch[2].resume_ts), 3));
    // A batch that only moves a place stores no chunk.
    assert!(logs::append(conn, None, &[piece(&one, "", 4)]).await.unwrap());
    assert!(logs::append(conn, None, &[]).await.unwrap());
    assert_eq!(logs::read(conn, one.uid).await.unwrap(), b"a\nb\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_holder_writes_nothing() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let epoch = leases::acquire(conn, "logs-1", "a", Duration::ZERO).await.unwrap().unwrap();
    let fence = Fence { name: "logs-1".to_owned(), epoch };
    assert!(logs::append(conn, Some(&fence), &[piece(&row, "mine\n", 1)]).await.unwrap());
    leases::acquire(conn, "logs-1", "b", Duration::from_secs(60)).await.unwrap().unwrap();
    assert!(!logs::append(conn, Some(&fence), &[piece(&row, "late\n", 1)]).await.unwrap());
    let unknown = Fence { name: "nobody".to_owned(), epoch: 1 };
    assert!(!logs::append(conn, Some(&unknown), &[piece(&row, "late\n", 1)]).await.unwrap());
    assert_eq!(logs::read(conn, row.uid).await.unwrap(), b"mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ring_is_cut_at_a_line_and_small_chunks_are_merged() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let line = |n: usize| format!("{n:0>99}\n");
    let lines = RING_BYTES / 100 + 5000;
    let all: String = (0..lines).map(line).collect();
    for part in all.as_bytes().chunks(64 * 1024) {
        assert!(logs::append(conn, None, &[piece(&row, part, 1)]).await.unwrap());
    }
    let whole = logs::read(conn, row.uid).await.unwrap();
    assert_eq!(whole, &all.as_bytes()[all.len() - RING_BYTES / 100 * 100..]);
    logs::compact_and_trim(conn, row.instance_id.unwrap()).await.unwrap();
    assert_eq!(logs::read(conn, row.uid).await.unwrap(), whole, "the reader sees no difference");
    assert!(chunks(conn, &row).await < CHUNKS_MAX as i64 / 4);

    for n in 0..600 {
        assert!(logs::append(conn, None, &[piece(&row, line(n), 1)]).await.unwrap());
    }
    logs::compact_and_trim(conn, row.instance_id.unwrap()).await.unwrap();
    let after = logs::read(conn, row.uid).await.unwrap();
    assert_eq!(&after[after.len() - 100..], line(599).as_bytes(), "order survives");
    assert_eq!(&after[..after.len() - 60_000], &whole[whole.len() - (after.len() - 60_000)..]);
    assert!(chunks(conn, &row).await < CHUNKS_MAX as i64 / 4);
}

async fn chunks(conn: &mut pods_db::Connection, row: &PodRow) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let query = diesel::sql_query("SELECT count(*) AS n FROM pod_log_chunks WHERE pod_uid = $1")
        .bind::<diesel::sql_types::Uuid, _>(row.uid);
    diesel_async::RunQueryDsl::get_result::<Count>(query, conn).await.unwrap().n
}

/// A chunk that is stored while a merge is under way stays the newest.
#[tokio::test(flavor = "multi_thread")]
async fn merging_keeps_the_order_of_what_is_written_meanwhile() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    for n in 0..200 {
        assert!(logs::append(conn, None, &[piece(&row, format!("{n}\n"), 1)]).await.unwrap());
    }
    let merge = async {
        let conn = &mut database.conn().await;
        for _ in 0..20 {
            logs::compact_and_trim(conn, row.instance_id.unwrap()).await.unwrap();
        }
    };
    let write = async {
        for n in 200..400 {
            assert!(logs::append(conn, None, &[piece(&row, format!("{n}\n"), 1)]).await.unwrap());
        }
    };
    tokio::join!(merge, write);
    let expected: String = (0..400).map(|n| format!("{n}\n")).collect();
    let text = String::from_utf8(logs::read(&mut *database.conn().await, row.uid).await.unwrap()).unwrap();
    assert_eq!(text, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_kept_until_the_next_run_begins() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let row = done(conn, &row, Change::new(Event::Running, now())).await;
    logs::append(conn, None, &[piece(&row, "first run\n", 1)]).await.unwrap();
    let row = done(conn, &row, Change::new(Event::Stop, now())).await;
    let row = done(conn, &row, Change::new(Event::ObjectsGone, now())).await;
    assert_eq!(logs::read(conn, row.uid).await.unwrap(), b"first run\n");
    let row = done(conn, &row, Change::new(Event::Start, now())).await;
    assert_eq!(logs::read(conn, row.uid).await.unwrap(), b"first run\n");
    let row = done(conn, &row, Change::new(Event::Running, now())).await;
    assert_eq!(logs::read(conn, row.uid).await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn action_logs_are_capped() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", false).await;
    let other = pod(conn, "other", false).await;
    for n in 0..LINES_MAX + 50 {
        action_logs::add(conn, row.uid, Utc::now(), &format!("line {n}")).await.unwrap();
    }
    action_logs::add(conn, row.uid, Utc::now(), &format!("nul \0 {}", "ä".repeat(2 * LINE_MAX)))
        .await
        .unwrap();
    let lines = action_logs::list(conn, row.uid).await.unwrap();
    assert_eq!(lines.len(), usize::try_from(LINES_MAX).unwrap());
    assert!(lines[0].ends_with(": line 51"), "{}", lines[0]);
    assert!(!lines[999].contains('\0') && lines[999].chars().count() < LINE_MAX + 30);
    assert_eq!(action_logs::list(conn, other.uid).await.unwrap().len(), 1, "other pods are not touched");
}
