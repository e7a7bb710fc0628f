//! The change feed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use diesel_async::RunQueryDsl;
use pods_core::transition::Event;
use pods_db::{
    changes::{self, ChangesError, Cursor, committed},
    listen,
    testing::{TestDatabase, done, now, pod},
    transitions::Change,
};
use uuid::Uuid;

/// Reads until `count` pods were seen, and answers each of them once: transactions of other databases on the server hold
/// the feed back as well, so that it comes in any number of pieces.
async fn read(conn: &mut pods_db::Connection, mut cursor: Cursor, count: usize) -> (Vec<Uuid>, Cursor) {
    let mut seen = Vec::new();
    for _ in 0..600 {
        let (uids, next) = changes::since(conn, cursor, 100).await.unwrap();
        for uid in uids {
            if !seen.contains(&uid) {
                seen.push(uid);
            }
        }
        cursor = next;
        if seen.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (seen, cursor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_began_early_and_commits_late_is_not_skipped() {
    let database = TestDatabase::new().await;
    let (conn, slow) = (&mut database.conn().await, &mut database.conn().await);
    let first = pod(conn, "first", false).await;
    let head = changes::head(conn).await.unwrap();

    diesel::sql_query("BEGIN").execute(slow).await.unwrap();
    diesel::sql_query("UPDATE pods SET description = 'slow' WHERE pod_id = 'first'")
        .execute(slow)
        .await
        .unwrap();
    let second = pod(conn, "second", false).await;
    let (uids, cursor) = changes::since(conn, head, 100).await.unwrap();
    assert!(!uids.contains(&second.uid), "what came after the open transaction waits for it");
    diesel::sql_query("COMMIT").execute(slow).await.unwrap();

    let (uids, cursor) = read(conn, cursor, 2).await;
    assert_eq!(uids, [first.uid, second.uid]);
    let third = pod(conn, "third", false).await;
    let (uids, _) = read(conn, cursor, 1).await;
    assert_eq!(uids, [third.uid], "nothing is read twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_read_and_the_feed_from_its_head_miss_nothing() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let row = pod(conn, "docpod", true).await;
    let head = changes::head(conn).await.unwrap();
    let row = done(conn, &row, Change::new(Event::SpawnBegun, now())).await;
    done(conn, &row, Change::new(Event::Running, now())).await;
    let (uids, cursor) = read(conn, head, 1).await;
    assert_eq!(uids, [row.uid], "each pod once per read");
    let (uids, same) = changes::since(conn, cursor, 100).await.unwrap();
    assert!(uids.is_empty() || uids == [row.uid]);
    assert!(same >= cursor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_below_what_was_pruned_is_too_old() {
    let database = TestDatabase::new().await;
    let conn = &mut database.conn().await;
    let head = changes::head(conn).await.unwrap();
    pod(conn, "first", false).await;
    pod(conn, "second", false).await;
    let (_, end) = read(conn, head, 2).await;
    assert_eq!(changes::prune(conn, Utc::now() - TimeDelta::hours(1)).await.unwrap(), 0);
    assert!(changes::since(conn, head, 100).await.is_ok(), "nothing was pruned");
    changes::prune(conn, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert!(matches!(changes::since(conn, head, 100).await, Err(ChangesError::TooOld)));
    let third = pod(conn, "third", false).await;
    let (uids, _) = read(conn, end, 1).await;
    assert_eq!(uids, [third.uid], "a reader at the end misses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_wakes_listeners_also_after_an_outage() {
    let database = TestDatabase::new().await;
    let mut woken = listen::notifications(database.url(), changes::CHANNEL);
    woken.recv().await.expect("the first connection wakes");
    pod(&mut *database.conn().await, "first", false).await;
    woken.recv().await.expect("a change wakes");
    database.go_away().await;
    database.come_back().await;
    woken.recv().await.expect("the new connection wakes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_found_whatever_else_is_open() {
    let database = TestDatabase::new().await;
    let (conn, slow) = (&mut database.conn().await, &mut database.conn().await);
    let first = pod(conn, "first", false).await;
    let seen = committed::now(conn).await.unwrap();
    let same = committed::since(conn, &seen).await.unwrap();
    assert!(same.pods.is_empty(), "{same:?}");
    assert!(same.seen.cursor() >= seen.cursor() && same.seen.below() >= seen.below());

    diesel::sql_query("BEGIN").execute(slow).await.unwrap();
    diesel::sql_query("UPDATE pods SET description = 'slow' WHERE pod_id = 'first'")
        .execute(slow)
        .await
        .unwrap();
    let second = pod(conn, "second", true).await;
    done(conn, &second, Change::new(Event::SpawnBegun, now())).await;
    let news = committed::since(conn, &same.seen).await.unwrap();
    assert_eq!(news.pods, [second.uid], "once, and it waits for nobody");
    let again = committed::since(conn, &news.seen).await.unwrap();
    assert!(again.pods.is_empty(), "{again:?}");

    diesel::sql_query("COMMIT").execute(slow).await.unwrap();
    let late = committed::since(conn, &news.seen).await.unwrap();
    assert_eq!(late.pods, [first.uid], "what began early and committed late");
    let mut all = committed::since(conn, &seen).await.unwrap().pods;
    all.sort();
    let mut both = [first.uid, second.uid];
    both.sort();
    assert_eq!(all, both, "from an old snapshot as well");

    changes::prune(conn, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert!(matches!(committed::since(conn, &seen).await, Err(ChangesError::TooOld)));
}
