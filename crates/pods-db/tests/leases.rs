//! Leases and advisory locks.

use std::time::Duration;

use diesel_async::RunQueryDsl;
use pods_core::{
    phases::Phases,
    reason::{Reason, StatusContainer},
    transition::Event,
};
use pods_db::{
    leases,
    listen::Notice,
    locks::Locks,
    logs::Fence,
    pods::PodRow,
    testing::{TestDatabase, done, now, pod},
    transitions::{Applied, Change, apply, set_status_container_with},
};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn one_holder_at_a_time_and_a_new_epoch_for_each() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    assert_eq!(leases::acquire(conn, "logs-1", "a", LONG).await.unwrap(), Some(1));
    assert_eq!(leases::acquire(conn, "logs-1", "a", LONG).await.unwrap(), Some(1), "a renewal");
    assert_eq!(leases::acquire(conn, "logs-1", "b", LONG).await.unwrap(), None);
    leases::release(conn, "logs-1", "b").await.unwrap();
    assert_eq!(
        leases::acquire(conn, "logs-1", "b", LONG).await.unwrap(),
        None,
        "only the holder can give it up"
    );
    leases::release(conn, "logs-1", "a").await.unwrap();
    assert_eq!(leases::acquire(conn, "logs-1", "b", LONG).await.unwrap(), Some(2));
    assert_eq!(leases::acquire(conn, "logs-1", "a", LONG).await.unwrap(), None);
    leases::acquire(conn, "other", "a", LONG).await.unwrap();
    let held = leases::list(conn, "logs-").await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].holder.as_str(), held[0].epoch), ("b", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_is_taken_over_and_its_holder_fenced() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let epoch = leases::acquire(conn, "logs-1", "a", Duration::ZERO).await.unwrap();
    assert_eq!(leases::acquire(conn, "logs-1", "b", Duration::ZERO).await.unwrap(), Some(2));
    let again = leases::acquire(conn, "logs-1", "a", LONG).await.unwrap();
    assert_eq!((epoch, again), (Some(1), Some(3)), "coming back is a new epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_taken_renewed_and_given_up_together_and_the_others_are_told() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let names = ["c", "a", "b"].map(str::to_owned);
    let mut told = pods_db::listen::messages(database.url(), leases::CHANNEL);
    assert_eq!(told.recv().await, Some(Notice::Connected));
    leases::acquire(conn, "b", "other", LONG).await.unwrap();
    let taken = leases::acquire_all(conn, &names, "me", LONG).await.unwrap();
    let mut taken: Vec<&str> = taken.iter().map(|taken| taken.name.as_str()).collect();
    taken.sort_unstable();
    assert_eq!(taken, ["a", "c"], "what another holds is left out");
    let marker = diesel::sql_query("SELECT pg_notify($1, 'marker')");
    marker.bind::<diesel::sql_types::Text, _>(leases::CHANNEL).execute(conn).await.unwrap();
    let marker = Some(Notice::Message("marker".to_owned()));
    assert_eq!(told.recv().await, marker, "nobody is told of what was taken");
    let held = leases::list(conn, "").await.unwrap();
    assert!(held.iter().all(|lease| lease.is_held() && lease.remaining <= LONG.as_secs_f64()), "{held:?}");

    leases::release_all(conn, &names, "me").await.unwrap();
    let released = tokio::time::timeout(LONG, told.recv()).await.expect("the others are told");
    assert_eq!(released, Some(Notice::Message(String::new())));
    let held: Vec<String> = leases::list(conn, "")
        .await
        .unwrap()
        .into_iter()
        .filter_map(|lease| lease.is_held().then_some(lease.name))
        .collect();
    assert_eq!(held, ["b"], "another's lease cannot be given up");
    assert_eq!(leases::acquire_all(conn, &[], "me", LONG).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_not_written_with_a_share_that_another_has_taken() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let row = done(conn, &row, Change::new(Event::SpawnBegun, now())).await;
    let epoch = leases::acquire(conn, "share", "paused", Duration::ZERO).await.unwrap().unwrap();
    let old = Fence { name: "share".to_owned(), epoch };
    let epoch = leases::acquire(conn, "share", "successor", LONG).await.unwrap().unwrap();
    let new = Fence { epoch, ..old.clone() };

    let running = Change::new(Event::Running, now());
    let late = apply(conn, &row, running.clone().under(old.clone())).await.unwrap();
    assert_eq!(late, Applied::Moved);
    let because = StatusContainer::because(Reason::Unschedulable, "no room");
    assert!(!set_status_container_with(conn, &row, &because, &Phases::default(), Some(&old)).await.unwrap());
    assert_eq!(PodRow::by_uid(conn, row.uid).await.unwrap(), Some(row.clone()), "nothing was written");

    assert!(set_status_container_with(conn, &row, &because, &Phases::default(), Some(&new)).await.unwrap());
    let row = PodRow::by_uid(conn, row.uid).await.unwrap().unwrap();
    assert!(matches!(apply(conn, &row, running.under(new)).await.unwrap(), Applied::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_race_for_a_lease_one_gets_it() {
    let database = TestDatabase::new().await;
    let holders: Vec<String> = (0..8).map(|n| format!("replica-{n}")).collect();
    let attempts = holders.iter().map(async |holder| {
        leases::acquire(&mut *database.conn().await, "logs-1", holder, LONG).await.unwrap()
    });
    let taken = futures::future::join_all(attempts).await;
    assert_eq!(taken.into_iter().flatten().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_lock_of_a_pod_is_refused_until_the_first_is_free() {
    let database = TestDatabase::new().await;
    let locks = Locks::new(&database.db(), 4).unwrap();
    let (uid, other) = (Uuid::now_v7(), Uuid::now_v7());
    let mut first = locks.try_acquire(uid).await.unwrap().expect("free");
    assert!(first.is_held());
    assert!(locks.try_acquire(uid).await.unwrap().is_none());
    let second = locks.try_acquire(other).await.unwrap().expect("another pod is free");
    first.release().await;
    let again = locks.try_acquire(uid).await.unwrap().expect("free again");
    drop(again);
    drop(second);
    // Dropping closes the connection; Postgres frees the lock when it notices.
    for _ in 0..1000 {
        if locks.try_acquire(uid).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a dropped lock stayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_connection_is_killed_is_no_longer_held() {
    #[derive(diesel::QueryableByName)]
    struct Backend {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        pid: i32,
    }
    let database = TestDatabase::new().await;
    let locks = Locks::new(&database.db(), 2).unwrap();
    let uid = Uuid::now_v7();
    let mut lock = locks.try_acquire(uid).await.unwrap().expect("free");
    let Backend { pid } =
        diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result(lock.connection()).await.unwrap();
    diesel::sql_query("SELECT pg_terminate_backend($1)")
        .bind::<diesel::sql_types::Integer, _>(pid)
        .execute(&mut *database.conn().await)
        .await
        .unwrap();
    for _ in 0..1000 {
        if !lock.is_held() {
            let other = locks.try_acquire(uid).await.unwrap();
            assert!(other.is_some(), "somebody else can have it");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the holder never noticed that its connection is gone");
}
