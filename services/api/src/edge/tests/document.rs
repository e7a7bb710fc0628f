//! What Traefik is given, from a board that the test fills.

use std::{io::Read, time::Duration};

use actix_web::{
    App,
    body::to_bytes,
    http::{StatusCode, header},
    test::{TestRequest, call_service, init_service},
    web,
};
use flate2::read::GzDecoder;
use pods_runtime::{internal_http::Health, metrics::Metrics, shutdown::Supervisor};
use serde_json::Value;

use super::*;
use crate::edge::{document::NotServed, http::internal, page::Page};

const CURSOR: &str = "x-pods-cursor";

/// A feed that looks whenever it is wanted, and finds what `answers` says.
struct Feed(tokio::task::JoinHandle<()>);

impl Feed {
    fn of(board: &Arc<Board>, answers: bool) -> Self {
        let board = Arc::clone(board);
        Self(tokio::spawn(async move {
            loop {
                board.wanted().await;
                let begun = Instant::now();
                if answers { board.fed(begun) } else { board.lost(begun) }
            }
        }))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Headers that matter, `-` where there is none.
type Headers = std::collections::HashMap<&'static str, String>;

async fn get(board: &Arc<Board>, path: &str, coding: &str) -> (StatusCode, Headers, Vec<u8>) {
    let app = App::new()
        .app_data(web::Data::from(Arc::clone(board)))
        .app_data(web::Data::new(visitors::logins().after_a_look()))
        .app_data(web::Data::new(Health::new()))
        .app_data(web::Data::new(Metrics::new("edge")))
        .service(internal());
    let service = init_service(app).await;
    let request = TestRequest::get().uri(path).insert_header((header::ACCEPT_ENCODING, coding));
    let response = call_service(&service, request.to_request()).await;
    let status = response.status();
    let header = |name| {
        let value = response.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        (name, value.to_owned())
    };
    let headers = ["content-type", "content-encoding", "vary", CURSOR].map(header).into();
    (status, headers, to_bytes(response.into_body()).await.unwrap().to_vec())
}

async fn poll(board: &Arc<Board>) -> StatusCode {
    get(board, "/traefik-config", "gzip").await.0
}

#[actix_web::test]
async fn the_document_is_given_compressed_or_as_it_is() {
    let board = board(&[pod("shop", Status::Available)]);
    let _feed = Feed::of(&board, true);
    let (status, headers, plain) = get(&board, "/traefik-config", "identity").await;
    assert_eq!((status, headers["content-type"].as_str()), (StatusCode::OK, "application/json"));
    assert_eq!(headers[CURSOR], "10-0");
    assert_eq!(headers["content-encoding"], "-");
    let document: Value = serde_json::from_slice(&plain).unwrap();
    assert!(document["http"]["routers"]["pods-tacc-dev-shop"].is_object());

    let (_, headers, packed) = get(&board, "/traefik-config", "deflate, gzip").await;
    assert_eq!((headers["content-encoding"].as_str(), headers["vary"].as_str()), ("gzip", "Accept-Encoding"));
    let mut unpacked = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

#[actix_web::test]
async fn nothing_is_given_that_another_replica_may_know_better() {
    let board = board(&[pod("shop", Status::Available)]);
    let feed = Feed::of(&board, true);
    assert_eq!(poll(&board).await, StatusCode::OK);
    drop(feed);
    let feed = Feed::of(&board, false);
    assert_eq!(poll(&board).await, StatusCode::SERVICE_UNAVAILABLE, "the database did not answer this time");
    assert_eq!(board.trouble(Instant::now()), None, "visitors see no difference yet");
    let later = Instant::now() + Duration::from_secs(6);
    assert_eq!(board.trouble(later), Some(NotServed::FeedLost));
    assert_eq!(board.page(&host("shop"), later), Page::Opening, "known pods keep their page");
    assert_eq!(board.page(&host("nobody"), later), Page::Unavailable, "it may exist by now");
    assert!(board.gate_of_host(&host("shop")).is_some(), "and their gate");
    drop(feed);
    let _feed = Feed::of(&board, true);
    assert_eq!(poll(&board).await, StatusCode::OK);

    board.is_behind("db".to_owned(), Extent::at(11));
    assert_eq!(poll(&board).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(board.trouble(Instant::now()), Some(NotServed::Behind));
    assert_eq!(get(&board, "/readyz", "").await.0, StatusCode::OK);
    board.publish(Extent::at(12)).unwrap();
    assert_eq!(poll(&board).await, StatusCode::OK);
}

#[test]
fn the_guide_has_every_refusal() {
    let guide = include_str!("../../../../../docs/networking.md");
    let reasons = [
        NotServed::NotLoaded,
        NotServed::BeingRead,
        NotServed::FeedLost,
        NotServed::Behind,
        NotServed::PeerAhead,
        NotServed::PeerSilent,
        NotServed::CopyTooOld,
    ];
    for reason in reasons {
        assert!(guide.contains(&format!("| {reason} |")), "{reason}");
    }
}

#[actix_web::test]
async fn what_is_on_disk_is_given_only_while_the_database_is_away() {
    let empty = Arc::new(Board::new(table(), None));
    let _feed = Feed::of(&empty, false);
    for path in ["/traefik-config", "/readyz"] {
        assert_eq!(get(&empty, path, "").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(get(&empty, "/healthz", "").await.0, StatusCode::OK);

    let board = Arc::new(Board::new(table(), Some(saved(7))));
    assert_eq!(
        poll(&board).await,
        StatusCode::SERVICE_UNAVAILABLE,
        "whether the database is away is not known before it was asked"
    );
    let feed = Feed::of(&board, false);
    let (status, headers, body) = get(&board, "/traefik-config", "").await;
    assert_eq!((status, headers[CURSOR].as_str()), (StatusCode::OK, "7-0"));
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert!(document["http"]["routers"]["pods-tacc-dev-ondisk"].is_object());
    assert!(board.gate_of_host(&host("ondisk")).is_some(), "its visitors stay logged in");
    assert_eq!(board.page(&host("ondisk"), Instant::now()), Page::Opening);
    assert_eq!(board.page(&host("nobody"), Instant::now()), Page::Unavailable);
    drop(feed);

    board.reached();
    assert_eq!(board.document(Instant::now()).unwrap_err(), NotServed::BeingRead);
    board.lost(Instant::now());
    assert!(board.document(Instant::now()).is_ok());

    let long_ago = SavedRoutes { is_confirmed: false, ..saved(7) };
    let board = Arc::new(Board::new(table(), Some(long_ago)));
    let feed = Feed::of(&board, false);
    let (status, _, body) = get(&board, "/traefik-config", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, format!("{}\n", NotServed::CopyTooOld).into_bytes());
    assert!(board.gate_of_host(&host("ondisk")).is_some(), "its visitors stay logged in");
    assert_eq!(get(&board, "/readyz", "").await.0, StatusCode::OK);
    drop(feed);

    let old = SavedRoutes { is_recent: false, ..saved(7) };
    let board = Arc::new(Board::new(table(), Some(old)));
    let _feed = Feed::of(&board, false);
    assert_eq!(
        poll(&board).await,
        StatusCode::SERVICE_UNAVAILABLE,
        "another replica may have said more since"
    );
    assert_eq!(board.owed().unwrap().1.cursor.xid, 7, "but the database must not be older than it");
}

#[actix_web::test]
async fn nobody_is_led_here_before_sessions_count() {
    let board = board(&[pod("shop", Status::Available)]);
    let logins = Arc::new(visitors::logins());
    let ready = async || {
        let request = TestRequest::get().uri("/readyz");
        let answer = visitors::ask_at(&board, visitors::strangers(), Arc::clone(&logins), request).await;
        answer.status == StatusCode::OK
    };
    assert!(!ready().await, "what is revoked was not looked at");
    let mut supervisor = Supervisor::new();
    logins.start(&mut supervisor);
    // Postgres is away; that nothing can be learned is known then.
    let limit = Instant::now() + Duration::from_secs(30);
    while !ready().await {
        assert!(Instant::now() < limit, "the first look is over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[actix_web::test]
async fn a_poll_sees_what_was_committed_before_it() {
    let board = board(&[pod("shop", Status::Available)]);
    let feed = Arc::clone(&board);
    let asked = Instant::now();
    let poll = tokio::spawn({
        let board = Arc::clone(&board);
        async move {
            board.look_after(asked).await;
            board.document(asked).unwrap().extent.cursor
        }
    });
    feed.wanted().await;
    feed.publish(Extent::at(20)).unwrap();
    feed.fed(asked - Duration::from_millis(1));
    tokio::task::yield_now().await;
    assert!(!poll.is_finished(), "a look that began before the question does not count");
    feed.fed(Instant::now());
    assert_eq!(poll.await.unwrap().xid, 20);
}
