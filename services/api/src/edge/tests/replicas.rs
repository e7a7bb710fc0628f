//! Replicas of the edge beside each other, with a real Postgres: whatever becomes of them, Traefik never goes back in
//! time.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, SystemTime},
};

use actix_web::{App, HttpServer, web};
use pods_db::{
    Connection, Db,
    pods::PodRow,
    testing::{self, TestDatabase},
    transitions::Change,
};
use tempfile::TempDir;

use super::{
    database::{create, event, routers_of},
    *,
};
use crate::edge::{
    disk::Disk,
    document::{Document, NotServed},
    feed::{Feed, Found},
    page::Page,
    peers::{self, Peers},
};
use pods_core::transition::Event;

const HOUR: Duration = Duration::from_secs(3600);
/// Nobody's transaction lasts so long.
const LIMIT: Duration = Duration::from_secs(60);

/// Where one replica keeps what it knows, and where the others ask it.
struct Place {
    folder: TempDir,
    listener: TcpListener,
}

/// One process of the edge.
struct Replica {
    board: Arc<Board>,
    feed: Feed,
    server: actix_web::dev::ServerHandle,
}

impl Place {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { folder: tempfile::tempdir().unwrap(), listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn disk(&self) -> Disk {
        Disk::open(self.folder.path())
    }

    /// A process that starts here, and knows of these others. It has looked for Postgres once.
    async fn start(&self, db: Db, others: &[&Place]) -> Replica {
        let names: Vec<String> = others.iter().map(|place| place.address().to_string()).collect();
        let peers = Peers::new(&names).unwrap();
        let board = Arc::new(Board::new(table(), self.disk().load(HOUR)).with_peers(peers));
        let mut feed = Feed::new(db, "tacc".to_owned(), Arc::clone(&board), self.disk());
        feed.step().await;
        let data = web::Data::from(Arc::clone(&board));
        let server = HttpServer::new(move || {
            App::new().app_data(data.clone()).service(web::resource(peers::PATH).get(peers::served))
        });
        let listener = self.listener.try_clone().unwrap();
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Replica { board, feed, server: handle }
    }

    /// The database confirmed what is here two hours ago for the last time.
    fn was_confirmed_long_ago(&self) {
        self.disk().mark_answered(SystemTime::now() - 2 * HOUR).unwrap();
    }
}

impl Replica {
    /// Traefik asks this one.
    async fn poll(&mut self) -> Result<Document, NotServed> {
        let look = async {
            self.board.wanted().await;
            self.feed.step().await
        };
        let (document, _) = tokio::join!(self.board.answer(), look);
        if let Ok(document) = &document {
            self.board.given(document);
        }
        document
    }

    async fn routers(&mut self) -> Result<Vec<String>, NotServed> {
        Ok(routers_of(&self.poll().await?))
    }

    async fn end(self) {
        self.server.stop(false).await;
    }
}

async fn running(db: &Db, pod_id: &str) -> PodRow {
    let row = create(db, "tacc", pod_id).await;
    let row = event(db, &row, Event::SpawnBegun).await;
    event(db, &row, Event::Running).await
}

async fn run(conn: &mut Connection, sql: &str) {
    diesel_async::RunQueryDsl::execute(diesel::sql_query(sql), conn).await.unwrap();
}

fn away() -> Db {
    Db::connect("postgres://nobody@127.0.0.1:1/none", 1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_not_served_over_a_newer_document_of_another_replica() {
    let database = TestDatabase::new().await;
    let (one, two) = (Place::new(), Place::new());
    let shop = running(&database.db(), "shop").await;
    let mut first = one.start(database.db(), &[&two]).await;
    let mut second = two.start(database.db(), &[&one]).await;
    assert_eq!(first.routers().await.unwrap(), ["pods-tacc-dev-shop"]);
    assert_eq!(second.routers().await.unwrap(), ["pods-tacc-dev-shop"]);

    // The first one is away for a moment, in which the pod stops; then Postgres goes away.
    first.end().await;
    event(&database.db(), &shop, Event::Stop).await;
    assert_eq!(second.routers().await.unwrap(), Vec::<String>::new());
    database.go_away().await;
    assert_eq!(second.poll().await.unwrap_err(), NotServed::FeedLost);
    let mut first = one.start(database.db(), &[&two]).await;
    assert_eq!(first.poll().await.unwrap_err(), NotServed::PeerAhead);
    assert_eq!(
        first.board.page(&host("shop"), Instant::now()),
        Page::Opening,
        "visitors are served all the same"
    );
    assert!(first.board.gate_of_host(&host("shop")).is_some());

    // Nobody knows what somebody served who does not answer.
    second.end().await;
    assert_eq!(first.poll().await.unwrap_err(), NotServed::PeerSilent);

    database.come_back().await;
    assert_eq!(first.routers().await.unwrap(), Vec::<String>::new(), "from the database");
    first.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_that_knows_most_serves_its_copy() {
    let database = TestDatabase::new().await;
    let db = database.db();
    let (one, two) = (Place::new(), Place::new());
    let shop = running(&db, "shop").await;
    let mut first = one.start(db.clone(), &[&two]).await;
    let mut second = two.start(db.clone(), &[&one]).await;
    let before = first.poll().await.unwrap();
    // The place in the feed goes on at one of them alone; the routes are the same.
    testing::pod(&mut db.get().await.unwrap(), "elsewhere", false).await;
    let same = second.poll().await.unwrap();
    assert_eq!(before.pieces.concat(), same.pieces.concat());
    first.end().await;
    database.go_away().await;
    let mut first = one.start(db.clone(), &[&two]).await;
    let copy = first.poll().await.unwrap();
    assert_eq!(copy.pieces.concat(), before.pieces.concat(), "what the other one serves is the same");
    assert!(copy.from_disk);

    // Both restart, and one of them has seen more.
    database.come_back().await;
    let served = first.poll().await.unwrap().extent;
    first.end().await;
    event(&db, &shop, Event::Stop).await;
    let begun = Instant::now();
    loop {
        second.poll().await.unwrap();
        // Until no transaction is open any more that the first one may have known of.
        if two.disk().load(HOUR).unwrap().extent.covers(&served) {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "a transaction was open for {LIMIT:?}");
        run(&mut db.get().await.unwrap(), "UPDATE pods SET description = description || '.'").await;
    }
    second.end().await;
    database.go_away().await;
    let mut first = one.start(db.clone(), &[&two]).await;
    let mut second = two.start(db.clone(), &[&one]).await;
    assert_eq!(first.poll().await.unwrap_err(), NotServed::PeerAhead);
    assert_eq!(second.routers().await.unwrap(), Vec::<String>::new());
    database.come_back().await;
    first.end().await;
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_cut_off_does_not_believe_that_its_copy_is_new() {
    let database = TestDatabase::new().await;
    let (one, two) = (Place::new(), Place::new());
    let shop = running(&database.db(), "shop").await;
    let mut first = one.start(database.db(), &[&two]).await;
    assert_eq!(first.routers().await.unwrap(), ["pods-tacc-dev-shop"]);
    first.end().await;
    assert!(one.disk().load(HOUR).unwrap().is_confirmed);

    // From now on it cannot reach Postgres, for hours, in which it lives and looks.
    one.was_confirmed_long_ago();
    let mut first = one.start(away(), &[]).await;
    let mut second = two.start(database.db(), &[&one]).await;
    event(&database.db(), &shop, Event::Stop).await;
    assert_eq!(second.routers().await.unwrap(), Vec::<String>::new());
    for _ in 0..2 {
        assert_eq!(first.poll().await.unwrap_err(), NotServed::CopyTooOld);
    }
    let saved = one.disk().load(HOUR).unwrap();
    assert!(saved.is_recent && !saved.is_confirmed, "it lived, and heard nothing");
    assert!(first.board.gate_of_host(&host("shop")).is_some(), "its visitors stay");
    first.end().await;

    for (others, reason) in [(vec![&two], NotServed::PeerAhead), (vec![], NotServed::CopyTooOld)] {
        let mut first = one.start(away(), &others).await;
        assert_eq!(first.poll().await.unwrap_err(), reason);
        assert_eq!(second.routers().await.unwrap(), Vec::<String>::new(), "which has the word");
        first.end().await;
    }
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_know_the_same_while_an_older_transaction_is_open() {
    let database = TestDatabase::new().await;
    let (one, two) = (Place::new(), Place::new());
    let mut first = one.start(database.db(), &[]).await;
    assert_eq!(first.routers().await.unwrap(), Vec::<String>::new());
    let slow = &mut database.conn().await;
    run(slow, "BEGIN").await;
    run(slow, "INSERT INTO leases VALUES ('slow', '', 1, now())").await;

    let shop = running(&database.db(), "shop").await;
    let mut second = two.start(database.db(), &[]).await;
    for _ in 0..2 {
        assert_eq!(second.routers().await.unwrap(), ["pods-tacc-dev-shop"]);
        assert_eq!(first.routers().await.unwrap(), ["pods-tacc-dev-shop"], "at once");
    }
    let change = Change::new(Event::Stop, testing::now());
    testing::done(&mut *database.conn().await, &shop, change).await;
    run(slow, "COMMIT").await;
    assert_eq!(first.routers().await.unwrap(), Vec::<String>::new());
    assert_eq!(second.routers().await.unwrap(), Vec::<String>::new());
    assert_eq!(first.feed.step().await, Found::All);
    first.end().await;
    second.end().await;
}
