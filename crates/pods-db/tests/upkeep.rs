//! What keeps a database healthy that never rests: removal in small steps, renewals that wait for nobody, connections
//! that notice a vanished host, and a relay that holds nobody back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use diesel_async::{AsyncConnection, RunQueryDsl};
use pods_core::transition::Event;
use pods_db::{
    Connection, DbError, changes, leases,
    outbox::{self, Relayed},
    pods::PodRow,
    testing::{TestDatabase, done, now, pod},
    transitions::{Change, mark_objects_gone},
};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

#[derive(diesel::QueryableByName)]
struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

async fn number(conn: &mut Connection, expression: &str) -> i64 {
    let found: Result<Number, DbError> =
        diesel::sql_query(format!("SELECT ({expression})::bigint AS number")).get_result(conn).await;
    found.expect("an expression has a value").number
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_go_in_small_steps() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    for n in 0..25 {
        let row = pod(conn, &format!("pod{n}"), false).await;
        let tombstone = done(conn, &row, Change::new(Event::Delete, now())).await;
        assert!(mark_objects_gone(conn, &tombstone, now()).await.unwrap());
    }
    let later = Utc::now() + TimeDelta::hours(1);
    let mut steps = Vec::new();
    while steps.last() != Some(&0) {
        steps.push(PodRow::purge_tombstones(conn, later).await.unwrap());
    }
    assert_eq!(steps, [10, 10, 5, 0]);

    diesel::sql_query(
        "INSERT INTO changes (pod_uid) SELECT gen_random_uuid() FROM generate_series(1, 12000)",
    )
    .execute(conn)
    .await
    .unwrap();
    let mut left = vec![i64::MAX];
    while changes::prune(conn, later).await.unwrap() > 0 {
        left.push(number(conn, "SELECT count(*) FROM changes").await);
    }
    assert!(left.len() > 3 && left.is_sorted_by(|a, b| a > b) && left.ends_with(&[0]), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_for_long_hide_nobody() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let first = pod(conn, "first", true).await;
    let copies = "INSERT INTO pods SELECT (jsonb_populate_record(p, jsonb_build_object('uid', gen_random_uuid(), \
        'pod_id', 'pod' || n, 'k8_name', 'pods-' || n, 'status_changed_ts', p.status_changed_ts - interval '1 hour', \
        'time_to_stop_ts', now() - interval '1 hour'))).* FROM pods AS p, generate_series(1, 1500) AS n";
    diesel::sql_query(copies).execute(conn).await.unwrap();
    let later = Utc::now() + TimeDelta::seconds(1);
    let waiting = PodRow::unsettled(conn, "dev", later).await.unwrap();
    assert_eq!((waiting.len(), waiting.last().map(|row| row.uid)), (1501, Some(first.uid)));
    diesel::sql_query("UPDATE pods SET status = 'AVAILABLE'").execute(conn).await.unwrap();
    assert_eq!(PodRow::expired(conn, "dev", later).await.unwrap().len(), 1500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_writer_puts_off_the_renewal_of_its_own_lease_alone() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let names = ["a", "b", "c", "d"].map(str::to_owned);
    leases::acquire_all(conn, &names[..3], "me", LONG).await.unwrap();
    leases::acquire(conn, "d", "other", LONG).await.unwrap();
    let renewed: Result<Vec<String>, DbError> = database
        .conn()
        .await
        .transaction(async |writer| {
            diesel::sql_query("SELECT FROM leases WHERE name = 'b' FOR SHARE").execute(writer).await?;
            let taken = leases::renew_all(conn, &names, "me", 2 * LONG).await?;
            Ok(taken.into_iter().map(|lease| lease.name).collect())
        })
        .await;
    let mut renewed = renewed.unwrap();
    renewed.sort_unstable();
    assert_eq!(renewed, ["a", "c"]);
    let all = leases::renew_all(conn, &names, "me", 2 * LONG).await.unwrap();
    assert!(all.len() == 3 && all.iter().all(|lease| lease.epoch == 1), "{all:?}");
    leases::release_all(conn, &names, "me").await.unwrap();
    assert_eq!(leases::renew_all(conn, &names, "me", LONG).await.unwrap(), [], "what ended is not renewed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_holds_nobody_back() {
    let database = TestDatabase::new().await;
    for _ in 0..5 {
        outbox::add(&mut *database.conn().await, Uuid::now_v7(), "x").await.unwrap();
    }
    // One after the other, as requests to a broker without an answer; the first one alone is answered.
    let turn = Arc::new(tokio::sync::Semaphore::new(1));
    let at_work = Arc::new(AtomicUsize::new(0));
    let publish = |_| {
        let (turn, at_work, db) = (turn.clone(), at_work.clone(), database.db());
        async move {
            let slot = turn.acquire().await;
            if at_work.fetch_add(1, Ordering::SeqCst) == 0 {
                return true;
            }
            let conn = &mut db.get().await.unwrap();
            let writers = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND backend_xid IS NOT NULL";
            assert_eq!(number(conn, writers).await, 0, "nobody's transaction has a number meanwhile");
            std::future::pending::<()>().await;
            drop(slot);
            false
        }
    };
    let conn = &mut database.conn().await;
    let relayed = tokio::time::timeout(LONG, outbox::relay_once(conn, 10, publish)).await;
    let relayed = relayed.expect("one limit holds for the whole batch").unwrap();
    assert_eq!(relayed, Relayed { published: 1, failed: 4, more: false });
    assert_eq!(AtomicUsize::load(&at_work, Ordering::SeqCst), 2);
    assert_eq!(outbox::relay_once(conn, 10, |_| async { true }).await.unwrap().published, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wake_ups_are_added_at_once() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let uids: Vec<Uuid> = (0..2500).map(|_| Uuid::now_v7()).collect();
    outbox::add_all(conn, &uids, "sweep").await.unwrap();
    assert_eq!(number(conn, "SELECT count(DISTINCT pod_uid) FROM outbox WHERE reason = 'sweep'").await, 2500);
    outbox::add_all(conn, &[], "sweep").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_asks_whether_a_silent_host_still_lives() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    // Over a local socket there is no host that could vanish, and nothing to set.
    if number(conn, "SELECT (inet_client_addr() IS NOT NULL)::int").await == 0 {
        return;
    }
    let settings = [
        ("keepalives_idle", 5),
        ("keepalives_interval", 3),
        ("keepalives_count", 3),
        ("user_timeout", 15_000),
    ];
    for (name, expected) in settings {
        let set: Text = diesel::sql_query(format!("SELECT current_setting('tcp_{name}') AS text"))
            .get_result(conn)
            .await
            .unwrap();
        let digits: String = set.text.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(digits.parse(), Ok(expected), "{name}: {}", set.text);
    }
}
