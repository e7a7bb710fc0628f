//! The outbox and its relay.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use diesel_async::AsyncConnection;
use pods_db::{
    DbError, outbox, relay,
    testing::{TestDatabase, pod},
};
use pods_telemetry::beat::Beat;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_exists_exactly_when_its_transaction_does() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let rolled_back: Result<(), DbError> = conn
        .transaction(async |conn| {
            outbox::add(conn, Uuid::now_v7(), "never").await?;
            Err(DbError::RollbackTransaction)
        })
        .await;
    assert!(rolled_back.is_err());
    let relayed = outbox::relay_once(conn, 10, |_| async { true }).await.unwrap();
    assert_eq!(relayed.published, 0);
    let pod = pod(conn, "docpod", true).await;
    let relayed = outbox::relay_once(conn, 10, |row| {
        assert_eq!((row.pod_uid, row.reason.as_str()), (pod.uid, "create"));
        async { true }
    })
    .await
    .unwrap();
    assert_eq!(relayed, outbox::Relayed { published: 1, failed: 0, more: false });
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_publish_each_row_once_and_failures_stay() {
    let database = TestDatabase::new().await;
    for _ in 0..100 {
        outbox::add(&mut *database.conn().await, Uuid::now_v7(), "x").await.unwrap();
    }
    let published = Arc::new(Mutex::new(HashMap::<i64, u32>::new()));
    let refused = Arc::new(Mutex::new(Vec::<i64>::new()));
    let relay = async || {
        let conn = &mut database.conn().await;
        for _ in 0..8 {
            let publish = |row: outbox::OutboxRow| {
                let (published, refused) = (published.clone(), refused.clone());
                async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let mut refused = refused.lock().unwrap();
                    if row.id % 10 == 0 && !refused.contains(&row.id) {
                        refused.push(row.id);
                        return false;
                    }
                    *published.lock().unwrap().entry(row.id).or_default() += 1;
                    true
                }
            };
            outbox::relay_once(conn, 20, publish).await.unwrap();
        }
    };
    tokio::join!(relay(), relay());
    let published = published.lock().unwrap();
    assert_eq!(refused.lock().unwrap().len(), 10, "each tenth row was refused once");
    assert_eq!(published.len(), 100, "and published later");
    assert!(published.values().all(|times| *times == 1), "{published:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_is_woken_and_survives_an_outage() {
    let database = TestDatabase::new().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let publish = move |row: outbox::OutboxRow| {
        let sent = sender.send(row.reason).is_ok();
        async move { sent }
    };
    let relay = tokio::spawn(relay::run(database.db(), publish, Beat::new(), async {
        let _stopped = stopped.await;
    }));
    for reason in ["first", "second"] {
        // A connection of the pool may not know yet that it was ended.
        let pod = Uuid::now_v7();
        while outbox::add(&mut *database.conn().await, pod, reason).await.is_err() {}
        // What was acknowledged a moment before an outage is published again after it.
        while receiver.recv().await.expect("the relay runs") != reason {}
        database.go_away().await;
        database.come_back().await;
    }
    stop.send(()).unwrap();
    relay.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_published_rows_are_pruned() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    outbox::add(conn, Uuid::now_v7(), "published").await.unwrap();
    outbox::relay_once(conn, 10, |_| async { true }).await.unwrap();
    outbox::add(conn, Uuid::now_v7(), "waiting").await.unwrap();
    assert_eq!(outbox::prune(conn, Utc::now() - TimeDelta::hours(1)).await.unwrap(), 0);
    assert_eq!(outbox::prune(conn, Utc::now() + TimeDelta::hours(1)).await.unwrap(), 1);
    let relayed = outbox::relay_once(conn, 10, |_| async { true }).await.unwrap();
    assert_eq!(relayed.published, 1);
}
