//! Answers to visitors and to Traefik, from a board that the test fills.

use std::time::{Duration, Instant};

use actix_web::{
    App,
    body::to_bytes,
    http::{Method, StatusCode, header},
    test::{TestRequest, call_service, init_service},
    web,
};
use pods_core::{Networking, Protocol, Status};
use pods_db::changes::Cursor;
use pods_runtime::{internal_http::Health, metrics::Metrics};
use serde_json::Value;

use super::*;
use crate::edge::{
    board::NotServed,
    disk::Disk,
    http::{CURSOR_HEADER, Site, internal, visitor},
    page::Page,
};

struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(board: &Arc<Board>, request: TestRequest) -> Answer {
    let site = Site { https_port: 8443, version: "test".to_owned() };
    let app = App::new()
        .app_data(web::Data::from(Arc::clone(board)))
        .app_data(web::Data::new(site))
        .app_data(web::Data::new(Health::new()))
        .app_data(web::Data::new(Metrics::new("edge")))
        .service(internal())
        .default_service(web::to(visitor));
    let service = init_service(app).await;
    let response = call_service(&service, request.to_request()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = String::from_utf8(to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap();
    Answer { status, headers, body }
}

fn visit(host: &str) -> TestRequest {
    TestRequest::get()
        .uri("/visitor/some/path?x=1")
        .insert_header(("X-Forwarded-Proto", "https"))
        .insert_header((header::HOST, host.to_owned()))
}

#[actix_web::test]
async fn each_status_has_its_page() {
    let cases = [
        (Status::Requested, "starting", "5"),
        (Status::Spawning, "starting", "5"),
        (Status::Restarting, "starting", "5"),
        (Status::Available, "starting", "1"),
        (Status::ShuttingDown, "stopping", "10"),
        (Status::Stopped, "stopped", ""),
        (Status::Complete, "finished", ""),
        (Status::Error, "error", ""),
    ];
    for (status, state, retry_after) in cases {
        let board = board(&[pod("shop", status)]);
        let answer = ask(&board, visit("Shop.Pods.dev.example.org.:8443")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{status}");
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(answer.body.contains("http-equiv=\"refresh\""), !retry_after.is_empty());
        assert!(answer.body.contains(&format!("class=\"{state}\"")), "{status}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("x-robots-tag").contains("noindex"));
        assert!(!answer.body.contains("shop"), "the page names the pod");

        let json = visit(&host("shop")).insert_header((header::ACCEPT, "text/html;q=0.5, application/json"));
        let answer = ask(&board, json).await;
        assert_eq!(answer.header("content-type"), "application/json");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&body["metadata"]["state"], &body["status"]), (&state.into(), &"error".into()));
        assert_eq!(body["version"], "test");
    }
}

#[actix_web::test]
async fn unknown_hosts_and_other_protocols_are_not_found() {
    let tcp = Networking { protocol: Protocol::Tcp, url: host("data"), ..Networking::default() };
    let login = Networking { tapis_auth: true, url: host("login"), ..Networking::default() };
    let with = |pod_id: &str, entry: Networking| RoutedPod {
        networking: BTreeMap::from([("default".to_owned(), entry)]),
        ..pod(pod_id, Status::Available)
    };
    let board = board(&[with("data", tcp), with("login", login)]);
    let plain = |host: String| visit(&host).insert_header(("X-Forwarded-Proto", "http"));
    for (host, title) in [(host("nobody"), "There is no pod here"), (host("data"), "This is not a web page")]
    {
        let answer = ask(&board, plain(host)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.body.contains(title), "{}", answer.body);
    }
    let answer = ask(&board, visit(&host("login"))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("Login is not available yet"));
    assert_eq!(
        ask(&board, TestRequest::get().uri("/")).await.status,
        StatusCode::NOT_FOUND,
        "no host at all"
    );
}

#[actix_web::test]
async fn plain_http_is_sent_to_https() {
    let board = board(&[pod("shop", Status::Stopped)]);
    for proto in ["http", "ws"] {
        let request = visit(&host("shop")).insert_header(("X-Forwarded-Proto", proto)).method(Method::POST);
        let answer = ask(&board, request).await;
        assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.header("location"), "https://shop.pods.dev.example.org:8443/some/path?x=1");
    }
}

#[actix_web::test]
async fn visitors_cannot_reach_what_is_for_traefik() {
    let board = board(&[pod("shop", Status::Stopped)]);
    for path in [
        "/visitor/traefik-config",
        "/visitor/metrics",
        "/visitor/healthz",
        "/visitor//traefik-config",
        "/visitor/readyz",
    ] {
        let answer = ask(&board, visit(&host("shop")).uri(path)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.body.contains("This pod is stopped"), "{path}");
    }
    for method in [Method::POST, Method::OPTIONS, Method::DELETE, Method::PATCH] {
        let upgrade =
            visit(&host("shop")).method(method.clone()).insert_header((header::UPGRADE, "websocket"));
        assert_eq!(ask(&board, upgrade).await.status, StatusCode::SERVICE_UNAVAILABLE, "{method}");
    }
}

#[actix_web::test]
async fn the_document_is_served_while_the_feed_is_alive() {
    let board = board(&[pod("shop", Status::Available)]);
    let answer = ask(&board, TestRequest::get().uri("/traefik-config")).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(answer.header(CURSOR_HEADER), "10-1");
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    assert!(document["http"]["routers"]["pods-tacc-dev-shop"].is_object());

    let later = Instant::now() + Duration::from_secs(6);
    assert_eq!(board.document(later).unwrap_err(), NotServed::FeedLost);
    assert_eq!(board.page(&host("shop"), later), Page::Opening, "known pods keep their page");
    assert_eq!(board.page(&host("nobody"), later), Page::Unavailable, "it may exist by now");
    board.publish(Cursor { xid: 9, id: 1 }, true).unwrap();
    let answer = ask(&board, TestRequest::get().uri("/traefik-config")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&board, TestRequest::get().uri("/readyz")).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn without_postgres_the_disk_copy_is_served() {
    let empty = Arc::new(Board::new(table(), None));
    for path in ["/traefik-config", "/readyz"] {
        assert_eq!(ask(&empty, TestRequest::get().uri(path)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(ask(&empty, TestRequest::get().uri("/healthz")).await.status, StatusCode::OK);
    let board = Arc::new(Board::new(table(), Some(copy(7))));
    let answer = ask(&board, TestRequest::get().uri("/traefik-config")).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "{\"from\":\"disk\"}"));
    assert_eq!(ask(&board, visit(&host("shop"))).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(board.page(&host("shop"), Instant::now()), Page::Unavailable);
}

#[test]
fn the_disk_copy_is_whole_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(&folder.path().join("edge"));
    assert!(disk.load().is_none());
    let saved = copy(7);
    disk.save(&saved.database, &saved.document).unwrap();
    let loaded = disk.load().unwrap();
    assert_eq!((loaded.database, loaded.document.bytes), (saved.database, saved.document.bytes));
    assert_eq!(loaded.document.cursor, saved.document.cursor);
    for damage in
        ["", "{}", "{}\n{}", "{\"format\":1,\"database\":\"db\",\"cursor\":{\"xid\":1,\"id\":1}}\n{\"a\""]
    {
        std::fs::write(disk.path(), damage).unwrap();
        assert!(disk.load().is_none(), "{damage}");
    }
}

/// The pages as files, to be looked at: set `PODS_PAGES_DIR`.
#[actix_web::test]
async fn pages_are_complete_documents() {
    let folder = std::env::var_os("PODS_PAGES_DIR");
    for page in Page::ALL {
        let response = page.respond(false, "test");
        let body = to_bytes(response.into_body()).await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.starts_with("<!doctype html>") && text.contains("<h1>"), "{page:?}");
        for external in ["http://", "https://", "src=", "{state}", "{title}", "{text}", "<!--"] {
            assert!(!text.contains(external), "{page:?} contains {external}");
        }
        if let Some(folder) = &folder {
            std::fs::write(std::path::Path::new(folder).join(format!("{page:?}.html")), text).unwrap();
        }
    }
}
