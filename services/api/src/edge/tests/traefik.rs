//! The real Traefik reads the document of a real edge and sends visitors where it says.

mod acme;
mod answers;
mod pebble;
mod program;
mod retry;
mod rules;
mod stage;

use std::{net::TcpListener, time::Duration};

use actix_web::{App, HttpServer};
use pods_core::Protocol;
use serde_json::Value;

use super::*;
use program::{Traefik, get};

/// A table that sends visitors and questions to an edge at this port.
fn table_for(edge: u16) -> RoutingTable {
    RoutingTable::new(RoutingSettings { edge_url: format!("http://127.0.0.1:{edge}"), ..settings() }).unwrap()
}

/// Serves a board as the edge does.
fn serve(board: &Arc<Board>, listener: TcpListener) {
    let logins = Arc::new(visitors::logins().after_a_look());
    let sources = visitors::sources(board, visitors::strangers(), logins);
    let server = HttpServer::new(move || {
        let sources = sources.clone();
        App::new().configure(|app| sources.configure(app))
    });
    tokio::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_accepts_every_router() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let edge = listener.local_addr().unwrap().port();
    let entry = |url: &str, protocol| Networking {
        url: host(url),
        protocol,
        ip_allow_list: vec!["10.0.0.0/8".to_owned(), "::1".to_owned()],
        cors_allow_origins: if protocol == Protocol::Http { vec!["*".to_owned()] } else { Vec::new() },
        cors_allow_headers: vec!["bad header".to_owned(), "content-type".to_owned()],
        proxy_compression_excluded_content_types: vec!["nonsense".to_owned()],
        proxy_compression_min_response_body_bytes: 0,
        tapis_auth: protocol == Protocol::Http,
        tapis_auth_response_headers: [("X-Tapis-Username".to_owned(), String::new())].into(),
        tapis_auth_excluded_paths: vec!["/open".to_owned()],
        tapis_auth_excluded_path_regex: vec![r"(?i)^/[[:alpha:]_-]+\.(js|css)$".to_owned()],
        custom_domain: "shop.example.com".to_owned(),
        custom_domain_verified: true,
        ..Networking::default()
    };
    let pods: Vec<RoutedPod> =
        [("shop", Protocol::Http), ("reed", Protocol::Tcp), ("moss", Protocol::Postgres)]
            .into_iter()
            .map(|(id, protocol)| RoutedPod {
                networking: BTreeMap::from([("default".to_owned(), entry(id, protocol))]),
                ..pod(id, Status::Available)
            })
            .collect();
    let board = Arc::new(Board::new(table_for(edge), None));
    board.replace(&pods);
    board.publish(Extent::at(1)).unwrap();
    serve(&board, listener);
    let traefik = Traefik::start(&format!("http://127.0.0.1:{edge}/traefik-config"));
    let (mut http, mut tcp) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        // No feed runs here: the test speaks for it.
        board.fed(Instant::now());
        (http, tcp) = (traefik.routers("http").await, traefik.routers("tcp").await);
        if http.len() == 12 && tcp.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let names: Vec<&str> = http.iter().chain(&tcp).map(|(name, _)| name.trim_end_matches("@http")).collect();
    let expected = [
        "api",
        "api-tls",
        "catch-all",
        "catch-all-tls",
        "pods-tacc-dev-shop",
        "pods-tacc-dev-shop--domain--noauth",
        "pods-tacc-dev-shop--domain--page-tls",
        "pods-tacc-dev-moss",
    ];
    assert!(
        names.len() == 14 && expected.iter().all(|name| names.contains(name)),
        "within 20 s Traefik had {names:?}"
    );
    for (name, router) in http.iter().chain(&tcp) {
        assert_eq!(
            (&router["status"], &router["error"]),
            (&"enabled".into(), &Value::Null),
            "{name}: {router}"
        );
    }

    let answer = get(traefik.web, &host("shop"), "/a?b=c").await.unwrap();
    assert!(
        answer.contains(" 308 ") && answer.contains("https://shop.pods.dev.example.org:8443/a?b=c"),
        "{answer}"
    );
    let answer = get(traefik.web, &host("nobody"), "/traefik-config").await.unwrap();
    assert!(answer.contains(" 404 ") && answer.contains("There is no pod here"), "{answer}");
}
