//! The feed against a real Postgres, a database of its own for each test.

use std::time::Duration;

use chrono::Utc;
use pods_core::{
    Level, PodDefinition, Protocol, Resources, TemplateDefinition, definition::EffectivePod, phases::Phase,
    transition::Event,
};
use pods_db::{
    Db, instances, permissions,
    pods::{NewPodRow, PodRow},
    testing::{self, TestDatabase},
    transitions::{self, Applied, Change},
};
use serde_json::Value;

use super::*;
use crate::edge::{
    arrivals,
    disk::Disk,
    document::{Document, NotServed},
    feed::{Feed, Found},
    page::Page,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Whatever was read since then will do.
fn an_hour_ago() -> Instant {
    Instant::now() - HOUR
}

/// What is waited for comes within this time.
const LIMIT: Duration = Duration::from_secs(60);

pub async fn create(db: &Db, site: &str, pod_id: &str) -> PodRow {
    let mut definition = PodDefinition::with_resources(Resources::default());
    definition.image = "busybox".to_owned();
    definition.networking = networking(pod_id);
    create_with(db, &Tenant::new(site, "dev"), pod_id, definition).await
}

async fn create_with(db: &Db, tenant: &Tenant, pod_id: &str, definition: PodDefinition) -> PodRow {
    let effective = EffectivePod { definition: definition.clone() };
    let new = NewPodRow {
        tenant_host: "dev.example.org",
        definition,
        effective,
        ..testing::new_pod(tenant, pod_id, true)
    };
    PodRow::create(&mut db.get().await.unwrap(), new).await.unwrap()
}

pub async fn event(db: &Db, row: &PodRow, event: Event) -> PodRow {
    let mut conn = db.get().await.unwrap();
    match transitions::apply(&mut conn, row, Change::new(event, Utc::now())).await.unwrap() {
        Applied::Done(row) => *row,
        other => panic!("{event}: {other:?}"),
    }
}

fn routers(board: &Board) -> Vec<String> {
    routers_of(&board.document(an_hour_ago()).unwrap())
}

/// The routers of pods in a document.
pub fn routers_of(document: &Document) -> Vec<String> {
    let document: Value = serde_json::from_slice(&document.pieces.concat()).unwrap();
    let routers = document["http"]["routers"].as_object().unwrap();
    routers.keys().filter(|name| name.starts_with("pods-")).cloned().collect()
}

/// The board of a process that starts with this copy, while Postgres is away.
fn restarted(saved: SavedRoutes) -> Board {
    let board = Board::new(table(), Some(saved));
    board.lost(Instant::now());
    board
}

/// One look has to be enough: what was committed before it counts.
async fn after_a_look(feed: &mut Feed, what: &str, condition: impl Fn() -> bool) {
    assert_eq!(feed.step().await, Found::All);
    assert!(condition(), "after a look: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_follows_the_pods_of_the_site() {
    let database = TestDatabase::new().await;
    let db = database.db();
    let folder = tempfile::tempdir().unwrap();
    let disk = || Disk::open(folder.path());
    let first = create(&db, "tacc", "first").await;
    create(&db, "other", "foreign").await;
    let first = event(&db, &first, Event::SpawnBegun).await;
    let first = event(&db, &first, Event::Running).await;

    let board = Arc::new(Board::new(table(), None));
    let mut feed = Feed::new(db.clone(), "tacc".to_owned(), Arc::clone(&board), disk());
    feed.step().await;
    assert_eq!(routers(&board), ["pods-tacc-dev-first"]);
    assert_eq!(board.page(&host("foreign"), Instant::now()), Page::Unknown);
    let loaded = disk().load(HOUR).unwrap();
    assert!(loaded.is_recent);
    assert_eq!(routers(&restarted(loaded.clone())), ["pods-tacc-dev-first"]);

    let second = create(&db, "tacc", "second").await;
    after_a_look(&mut feed, "the new pod's page", || {
        board.page(&host("second"), Instant::now()) == Page::Starting
    })
    .await;
    let second = event(&db, &second, Event::SpawnBegun).await;
    event(&db, &second, Event::Running).await;
    after_a_look(&mut feed, "the new pod's route", || routers(&board).len() == 2).await;
    let first = event(&db, &first, Event::Stop).await;
    after_a_look(&mut feed, "the end of the route", || routers(&board) == ["pods-tacc-dev-second"]).await;
    assert_eq!(board.page(&host("first"), Instant::now()), Page::Stopping);
    event(&db, &first, Event::Delete).await;
    after_a_look(&mut feed, "the deletion", || board.page(&host("first"), Instant::now()) == Page::Deleting)
        .await;
    let saved = disk().load(HOUR).unwrap();
    assert!(saved.extent.cursor >= loaded.extent.cursor && saved.extent.below > loaded.extent.below);
    let restarted = restarted(saved).document(an_hour_ago()).unwrap();
    let running = board.document(an_hour_ago()).unwrap();
    assert_eq!(restarted.pieces.concat(), running.pieces.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_come_from_templates_too() {
    let database = TestDatabase::new().await;
    let db = database.db();
    let folder = tempfile::tempdir().unwrap();
    let tenant = testing::tenant();
    let conn = &mut db.get().await.unwrap();
    let template = testing::template(conn, "shop").await;
    let entries = ["default", "web"].map(|name| (name.to_owned(), Networking::default()));
    let definition = TemplateDefinition { networking: entries.into(), ..TemplateDefinition::default() };
    let tag = testing::tag(conn, &template, "latest", definition).await;
    for pod_id in ["first", "second"] {
        let definition = PodDefinition {
            template: tag.reference.clone(),
            networking: networking(pod_id),
            ..testing::definition()
        };
        let row = create_with(&db, &tenant, pod_id, definition).await;
        let row = event(&db, &row, Event::SpawnBegun).await;
        event(&db, &row, Event::Running).await;
    }
    let board = Arc::new(Board::new(table(), None));
    let mut feed =
        Feed::new(db.clone(), tenant.site_id.clone(), Arc::clone(&board), Disk::open(folder.path()));
    let before = db.statements();
    feed.step().await;
    let loaded = db.statements() - before;
    assert_eq!(routers(&board).len(), 4, "{:?}", routers(&board));
    assert_eq!(board.page(&host("first-web"), Instant::now()), Page::Opening);
    create_with(
        &db,
        &tenant,
        "third",
        PodDefinition { template: tag.reference.clone(), ..testing::definition() },
    )
    .await;

    testing::forget_tag(conn, &tag.reference).await;
    let board = Arc::new(Board::new(table(), None));
    let mut feed =
        Feed::new(db.clone(), tenant.site_id.clone(), Arc::clone(&board), Disk::open(folder.path()));
    let before = db.statements();
    feed.step().await;
    assert_eq!(db.statements() - before, loaded, "one statement derives any number of pods");
    assert_eq!(
        routers(&board),
        Vec::<String>::new(),
        "what does not derive routes nothing, the feed goes on"
    );
    assert_eq!(board.page(&host("first"), Instant::now()), Page::Unroutable, "its own host is known");
    assert_eq!(board.page(&host("third"), Instant::now()), Page::Starting, "as long as that is all there is");
    let saved = Disk::open(folder.path()).load(HOUR).unwrap();
    assert_eq!(routers(&restarted(saved)), Vec::<String>::new(), "neither after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_reach_the_gate() {
    let database = TestDatabase::new().await;
    let db = database.db();
    let folder = tempfile::tempdir().unwrap();
    let row = create(&db, "tacc", "shop").await;
    let board = Arc::new(Board::new(table(), None));
    let mut feed = Feed::new(db.clone(), "tacc".to_owned(), Arc::clone(&board), Disk::open(folder.path()));
    feed.step().await;
    let level = |board: &Board, username: &str| {
        let tenant = Tenant::new("tacc", "dev");
        let visitor = pods_core::visitor::Visitor { tenant, username: username.to_owned() };
        board.gate(row.uid, "default").unwrap().personal_level(&visitor)
    };
    assert_eq!(level(&board, "bob"), Level::None);
    let creator = row.created_by.clone();
    assert_eq!(level(&board, &creator), Level::Admin);
    let mut conn = db.get().await.unwrap();
    let tenant = row.tenant();
    let request = permissions::Request {
        object: permissions::Object::Pod(row.uid),
        tenant: &tenant,
        actor: &creator,
        log: None,
        now: Utc::now(),
    };
    permissions::set(&mut conn, &request, "bob", Level::Read, |_| Ok(())).await.unwrap();
    after_a_look(&mut feed, "the permission", || level(&board, "bob") == Level::Read).await;
    let copy = Disk::open(folder.path()).load(HOUR).unwrap();
    assert_eq!(level(&Board::new(table(), Some(copy)), "bob"), Level::Read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_behind_the_disk_copy_is_not_believed() {
    let database = TestDatabase::new().await;
    let folder = tempfile::tempdir().unwrap();
    let disk = || Disk::open(folder.path());
    create(&database.db(), "tacc", "shop").await;
    let board = Arc::new(Board::new(table(), None));
    Feed::new(database.db(), "tacc".to_owned(), Arc::clone(&board), disk()).step().await;
    let mut copy = disk().load(HOUR).unwrap();
    copy.extent.cursor.xid += 1_000_000;

    let board = Arc::new(Board::new(table(), Some(copy.clone())));
    assert_eq!(board.document(an_hour_ago()).unwrap_err(), NotServed::BeingRead, "it may be there");
    board.lost(Instant::now());
    assert!(board.document(Instant::now()).is_ok(), "Postgres was not reached yet");
    let mut feed = Feed::new(database.db(), "tacc".to_owned(), Arc::clone(&board), disk());
    for _ in 0..2 {
        assert_eq!(feed.step().await, Found::All);
        assert_eq!(board.document(an_hour_ago()).unwrap_err(), NotServed::Behind);
        assert!(board.gate_of_host(&host("shop")).is_some(), "what was known stays known");
    }
    let kept = disk().load(HOUR).unwrap();
    assert!(kept.extent.cursor < copy.extent.cursor, "nothing was written");

    copy.database.push('x');
    let board = Arc::new(Board::new(table(), Some(copy)));
    Feed::new(database.db(), "tacc".to_owned(), Arc::clone(&board), disk()).step().await;
    assert!(board.document(an_hour_ago()).is_ok(), "the copy is of another database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_go_back_in_time() {
    let database = TestDatabase::new().await;
    let db = database.db();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let shutdown = pods_runtime::shutdown::CancellationToken::new();
    let boards = [0, 1].map(|_| Arc::new(Board::new(table(), None)));
    let feeds: Vec<_> = boards
        .iter()
        .zip(&folders)
        .map(|(board, folder)| {
            let feed =
                Feed::new(database.db(), "tacc".to_owned(), Arc::clone(board), Disk::open(folder.path()));
            tokio::spawn(feed.run(shutdown.clone()))
        })
        .collect();
    let writer = tokio::spawn(async move {
        for n in 0..40 {
            let row = create(&db, "tacc", &format!("pod{n:02}")).await;
            let row = event(&db, &row, Event::SpawnBegun).await;
            event(&db, &row, Event::Running).await;
        }
    });
    // As Traefik behind a Service: whichever replica answers.
    let mut most = 0;
    let limit = Instant::now() + LIMIT;
    for turn in 0.. {
        let board = &boards[turn % 2];
        if let Ok(document) = board.answer().await {
            let text = document.pieces.concat();
            let document: Value = serde_json::from_slice(&text).unwrap();
            let pods = document["http"]["routers"].as_object().unwrap().len();
            assert!(pods >= most, "a document with {pods} routers came after one with {most}");
            most = pods;
        }
        if most == 44 {
            break;
        }
        assert!(Instant::now() < limit, "only {most} routers within a minute");
    }
    writer.await.unwrap();
    shutdown.cancel();
    for feed in feeds {
        feed.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_the_feed_waits() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::connect("postgres://nobody@127.0.0.1:1/none", 1).unwrap();
    let board = Arc::new(Board::new(table(), Some(saved(7))));
    let mut feed = Feed::new(db, "tacc".to_owned(), Arc::clone(&board), Disk::open(folder.path()));
    assert_eq!(feed.step().await, Found::Nothing);
    assert_eq!(feed.step().await, Found::Nothing);
    assert_eq!(board.document(Instant::now()).unwrap().extent.cursor.xid, 7);
    assert!(Disk::open(folder.path()).load(HOUR).is_none(), "nothing was overwritten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_routed_when_the_proxy_was_led_to_it_and_not_when_nothing_leads_there() {
    let database = TestDatabase::new().await;
    let db = database.db();
    let folder = tempfile::tempdir().unwrap();
    let board = Arc::new(Board::new(table(), None));
    let mut feed = Feed::new(db.clone(), "tacc".to_owned(), Arc::clone(&board), Disk::open(folder.path()));
    feed.step().await;
    let mut starts = Vec::new();
    for (pod_id, protocol, port) in
        [("hidden", Protocol::LocalOnly, 5000), ("wrong", Protocol::Http, 0), ("shop", Protocol::Http, 5000)]
    {
        let entry = Networking { url: host(pod_id), protocol, port, ..Networking::default() };
        let definition =
            PodDefinition { networking: [("default".to_owned(), entry)].into(), ..testing::definition() };
        let row = create_with(&db, &Tenant::new("tacc", "dev"), pod_id, definition).await;
        let row = event(&db, &row, Event::SpawnBegun).await;
        starts.push(event(&db, &row, Event::Running).await.instance_id.unwrap());
    }
    feed.step().await;
    board.given(&board.document(an_hour_ago()).unwrap());
    let shutdown = pods_runtime::shutdown::CancellationToken::new();
    let recorder = tokio::spawn(arrivals::record(Arc::clone(&board), db.clone(), shutdown.clone()));
    let routed = async |start| {
        let mut conn = db.get().await.unwrap();
        instances::phases(&mut conn, start).await.unwrap().unwrap().get(Phase::Routed).is_some()
    };
    let begun = Instant::now();
    while !routed(starts[2]).await {
        assert!(begun.elapsed() < LIMIT, "no phase within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    // All arrivals of a fetch are written together.
    assert!(!routed(starts[0]).await && !routed(starts[1]).await);
    shutdown.cancel();
    recorder.await.unwrap().unwrap();
}
