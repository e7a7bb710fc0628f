//! What Postgres ends by itself, so that a request that was given up is not in the way of others.

use std::time::{Duration, Instant};

use diesel_async::{AsyncConnection, RunQueryDsl};
use pods_core::Level;
use pods_db::{
    Db, DbError,
    permissions::{self, Object},
    testing::{TestDatabase, pod, tenant},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_given_up_lets_go_of_its_rows() {
    let database = TestDatabase::new().await;
    let row = pod(&mut *database.conn().await, "docpod", false).await;
    let tenant = tenant();
    let object = Object::Pod(row.uid);
    let mut conn = database.conn().await;
    let forever = conn.transaction(async |conn| {
        permissions::lock(conn, object, &tenant, "alice").await?;
        std::future::pending::<Result<(), DbError>>().await
    });
    assert!(tokio::time::timeout(Duration::from_millis(300), forever).await.is_err());
    drop(conn);

    let begun = Instant::now();
    let other = &mut Db::connect(database.url(), 1).unwrap().get().await.unwrap();
    let lock = async |other: &mut pods_db::Connection| {
        other.transaction(async |conn| permissions::lock(conn, object, &tenant, "alice").await).await
    };
    let refused = lock(other).await.unwrap_err();
    assert!(refused.to_string().contains("canceling statement due to lock timeout"), "{refused}");
    loop {
        match lock(other).await {
            Ok(level) => break assert_eq!(level, Some(Level::Admin)),
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "the row is still locked"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_has_the_limits() {
    #[derive(diesel::QueryableByName)]
    struct Setting {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }
    let database = TestDatabase::new().await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(database.conn().await);
    }
    for conn in &mut connections {
        for (name, expected) in [
            ("lock_timeout", "5s"),
            ("statement_timeout", "25s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ] {
            let query = diesel::sql_query(format!("SELECT current_setting('{name}') AS value"));
            let setting: Setting = query.get_result(conn).await.unwrap();
            assert_eq!(setting.value, expected, "{name}");
        }
    }
}
