//! What somebody who is logged in sees of a pod in place of which there is a page, and that nobody else does.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, http::StatusCode, http::header, test::TestRequest};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use pods_core::{
    Level, Tenant,
    reason::{Reason, StatusContainer},
    transition::Event,
    visitor::{Gate, Visitor},
};
use pods_db::{
    Connection,
    pods::PodRow,
    routes,
    testing::{self, TestDatabase},
    transitions::Change,
};
use serde_json::Value;

use super::{
    visitors::{Answer, ask_with, visit},
    *,
};
use crate::edge::page::reader::Readers;

const REASON: &str = "The registry has no such image (secret-reason).";

/// A site with one pod that could not be started.
struct Site {
    database: TestDatabase,
    board: Arc<Board>,
    row: PodRow,
    readers: Readers,
}

/// Whom the test says: `X-Test-User: user@tenant`.
fn who(request: &HttpRequest, _gate: &Gate) -> Option<Visitor> {
    let user = request.headers().get("X-Test-User")?.to_str().unwrap();
    let (username, tenant) = user.split_once('@').unwrap();
    Some(Visitor { tenant: Tenant::new("dev", tenant), username: username.to_owned() })
}

async fn site() -> Site {
    let database = TestDatabase::new().await;
    let conn = &mut *database.conn().await;
    let row = testing::pod(conn, "secretpod", true).await;
    let row = testing::done(conn, &row, Change::new(Event::SpawnBegun, testing::now())).await;
    let because = StatusContainer::because(Reason::ImageNotFound, REASON);
    let refused = Change::new(Event::Refused, testing::now()).because(because);
    let row = testing::done(conn, &row, refused).await;
    let route = routes::all(conn, "dev").await.unwrap().remove(0);
    let permissions =
        [("alice", Level::Admin), ("bob", Level::Read), ("carol", Level::None), ("tenant.two", Level::User)];
    let pod = RoutedPod {
        tenant: route.tenant,
        uid: route.uid,
        k8_name: route.k8_name,
        status: route.status,
        permissions: permissions.map(|(user, level)| (user.to_owned(), level)).into(),
        ..pod("secretpod", route.status)
    };
    let board = Board::new(table(), None);
    board.replace(&[pod]);
    board.publish(Extent::at(10)).unwrap();
    board.fed(Instant::now());
    let readers = Readers::new(database.db(), Some(Arc::new(who)));
    Site { database, board: Arc::new(board), row, readers }
}

impl Site {
    async fn ask(&self, user: Option<&str>, accept: &'static str) -> Answer {
        let mut request: TestRequest = visit(&host("secretpod")).insert_header((header::ACCEPT, accept));
        if let Some(user) = user {
            request = request.insert_header(("X-Test-User", user));
        }
        ask_with(&self.board, self.readers.clone(), request).await
    }
}

#[actix_web::test]
async fn whoever_may_read_the_pod_sees_why() {
    let site = site().await;
    let alice = site.ask(Some("alice@dev"), "text/html").await;
    assert_eq!(alice.status, StatusCode::SERVICE_UNAVAILABLE);
    for part in [REASON, "<code>image_not_found</code>", "<dd>You</dd>", "PUT /v3/pods/secretpod", "Log out"]
    {
        assert!(alice.body.contains(part), "{part}: {}", alice.body);
    }
    let bob = site.ask(Some("bob@dev"), "application/json").await;
    let bob: Value = serde_json::from_str(&bob.body).unwrap();
    let message = bob["result"]["message"].as_str().unwrap();
    assert!(message.starts_with(REASON), "{message}");
    assert_eq!(bob["result"]["who_can_act"], "owner");
    assert_eq!(bob["result"]["next_call"], Value::Null, "READ changes nothing");
}

#[actix_web::test]
async fn nobody_else_learns_anything() {
    let site = site().await;
    let secrets = [
        "secret-reason",
        "image_not_found",
        &site.row.uid.to_string(),
        &site.row.k8_name,
        "alice",
        "busybox",
    ];
    for accept in ["text/html", "application/json"] {
        // carol holds NONE, dave nothing; the others are of other tenants, whatever those were granted.
        for user in [None, Some("carol@dev"), Some("dave@dev"), Some("alice@two"), Some("tenant.two@dev")] {
            let answer = site.ask(user, accept).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            let body =
                answer.body.replace(user.and_then(|user| user.split('@').next()).unwrap_or("\0"), "(me)");
            for secret in secrets {
                assert!(!body.contains(secret), "{user:?} sees {secret}: {body}");
            }
            assert!(!body.contains("secretpod"), "{user:?}: {body}");
            for (name, value) in &answer.headers {
                let value = value.to_str().unwrap();
                assert!(secrets.iter().all(|secret| !value.contains(secret)), "{name}: {value}");
            }
        }
    }
    let stranger = site.ask(None, "text/html").await;
    let link = "href=\"/.well-known/tapis-pods/login?return=%2Fsome%2Fpath%3Fx%3D1\"";
    assert!(stranger.body.contains(link), "{}", stranger.body);
    let guest = site.ask(Some("dave@dev"), "text/html").await;
    assert!(guest.body.contains("You are logged in as <strong>dave</strong>"), "{}", guest.body);
}

#[actix_web::test]
async fn without_postgres_the_page_says_that_more_is_to_be_known() {
    let site = site().await;
    site.database.go_away().await;
    let asked = Instant::now();
    let answer = site.ask(Some("alice@dev"), "text/html").await;
    assert!(asked.elapsed().as_secs() < 5, "the page waits for nobody");
    assert!(answer.body.contains("This pod is not running"));
    assert!(answer.body.contains("it cannot be read at the moment"), "{}", answer.body);
    site.database.come_back().await;
}

/// Statements that wait for a lock.
async fn waiting(conn: &mut Connection) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    diesel::sql_query(sql).get_result::<Row>(conn).await.unwrap().count
}

#[actix_web::test]
async fn what_a_page_no_longer_waits_for_ends_in_the_database_too() {
    let site = site().await;
    let conn = &mut *site.database.conn().await;
    conn.batch_execute("BEGIN; LOCK TABLE pods").await.unwrap();
    let answer = site.ask(Some("alice@dev"), "text/html").await;
    assert!(answer.body.contains("it cannot be read at the moment"), "{}", answer.body);
    let answered = Instant::now();
    while waiting(conn).await > 0 {
        assert!(answered.elapsed().as_secs() < 2, "the connection is of no use meanwhile");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    conn.batch_execute("ROLLBACK").await.unwrap();
    assert!(site.ask(Some("alice@dev"), "text/html").await.body.contains(REASON));
}
