//! Answers to visitors, from a board that the test fills.

use std::time::Duration;

use actix_web::{
    http::{Method, StatusCode, header},
    test::TestRequest,
};
use pods_core::{Networking, Protocol, Status};
use serde_json::Value;

use super::{
    visitors::{ask, visit},
    *,
};
use crate::edge::page::Page;

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
    let tcp = RoutedPod {
        networking: BTreeMap::from([("default".to_owned(), tcp)]),
        ..pod("data", Status::Available)
    };
    let board = board(&[tcp]);
    let plain = |host: String| visit(&host).insert_header(("X-Forwarded-Proto", "http"));
    for (host, title) in [(host("nobody"), "There is no pod here"), (host("data"), "This is not a web page")]
    {
        let answer = ask(&board, plain(host)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.body.contains(title), "{}", answer.body);
    }
    assert_eq!(
        ask(&board, TestRequest::get().uri("/")).await.status,
        StatusCode::NOT_FOUND,
        "no host at all"
    );
}

#[actix_web::test]
async fn a_pod_that_is_not_ready_is_starting() {
    let waiting = RoutedPod { live: false, ..pod("shop", Status::Available) };
    let answer = ask(&board(&[waiting]), visit(&host("shop"))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(answer.body.contains("It is not ready for visitors yet"));
}

#[actix_web::test]
async fn a_deleted_pod_says_so_for_a_moment() {
    let (shop, other) = (pod("shop", Status::Available), pod("other", Status::Available));
    let board = board(&[shop.clone(), other]);
    board.apply(&[], &[shop.uid]);
    let answer = ask(&board, visit(&host("shop"))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "10"));
    assert!(answer.body.contains("This pod is being deleted"));
    let later = Instant::now() + Duration::from_secs(31);
    board.fed(later);
    assert_eq!(board.page(&host("shop"), later), Page::Unknown);
    // Made again under the same id.
    board.apply(&[pod("shop", Status::Requested)], &[]);
    assert_eq!(board.page(&host("shop"), Instant::now()), Page::Starting);
}

#[actix_web::test]
async fn a_domain_has_the_page_of_its_pod_once_it_is_verified() {
    let with = |custom_domain_verified| {
        let entry = Networking {
            url: host("shop"),
            custom_domain: "shop.example.org".to_owned(),
            custom_domain_verified,
            ..Networking::default()
        };
        let networking = BTreeMap::from([("default".to_owned(), entry)]);
        board(&[RoutedPod { networking, ..pod("shop", Status::Stopped) }])
    };
    let answer = ask(&with(true), visit("shop.example.org")).await;
    assert!(answer.body.contains("This pod is stopped"));
    let answer = ask(&with(false), visit("shop.example.org")).await;
    assert!(answer.body.contains("There is no pod here"));
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
