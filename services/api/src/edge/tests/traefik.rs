//! The real Traefik reads the document of a real edge and sends visitors back to it.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pods_core::Protocol;
use pods_runtime::{internal_http::Health, metrics::Metrics, shutdown::CancellationToken};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::edge::{Config, http};

/// Ends with the test, however that ends.
struct Traefik(Child);

impl Drop for Traefik {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn binary() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache =
        || variable("PODS_CACHE_DIR").or_else(|| variable("HOME").map(|home| home.join(".cache/pods-dev")));
    let path = variable("PODS_TEST_TRAEFIK").or_else(|| Some(cache()?.join("venv/tools/bin/traefik")));
    path.filter(|path| path.exists()).expect(
        "set PODS_TEST_TRAEFIK to a traefik 3 binary, or run `cargo xtask up` once, which installs one",
    )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The whole answer to one request, or nothing while nobody listens.
async fn get(port: u16, host: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

fn config(edge: u16) -> Config {
    let text = format!(
        r#"{{"service": {{"site_id": "tacc"}}, "database": {{"url": "postgres://unused"}},
            "kubernetes": {{"namespace": "pods"}},
            "edge": {{"bind": "127.0.0.1:{edge}", "api_url": "http://127.0.0.1:1", "https_port": 8443,
                      "self_url": "http://127.0.0.1:{edge}", "state_dir": "unused"}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// Routers as Traefik sees them, with what it thinks of them.
async fn routers(port: u16, section: &str) -> Vec<(String, Value)> {
    let answer =
        get(port, "localhost", &format!("/api/{section}/routers?per_page=1000")).await.unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("[]", |(_, body)| body);
    let list: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
    let name = |router: &Value| router["name"].as_str().unwrap_or_default().to_owned();
    list.into_iter()
        .map(|router| (name(&router), router))
        .filter(|(name, _)| name.ends_with("@http"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_accepts_every_router() {
    let (edge, web, websecure, api) = (free_port(), free_port(), free_port(), free_port());
    let config = config(edge);
    let entry = |url: &str, protocol| Networking {
        url: host(url),
        protocol,
        ip_allow_list: vec!["10.0.0.0/8".to_owned(), "::1".to_owned()],
        cors_allow_origins: if protocol == Protocol::Http { vec!["*".to_owned()] } else { Vec::new() },
        cors_allow_headers: vec!["bad header".to_owned(), "content-type".to_owned()],
        proxy_compression_excluded_content_types: vec!["nonsense".to_owned()],
        proxy_compression_min_response_body_bytes: 0,
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
    let board = Arc::new(Board::new(RoutingTable::new(config.routing_settings()).unwrap(), None));
    board.replace(&pods);
    board.publish(Cursor { xid: 1, id: 1 }, false).unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(http::serve(
        config,
        Arc::clone(&board),
        Health::new(),
        Metrics::new("edge"),
        shutdown.clone(),
    ));

    let child = Command::new(binary())
        .arg(format!("--entryPoints.web.address=127.0.0.1:{web}"))
        .arg(format!("--entryPoints.websecure.address=127.0.0.1:{websecure}"))
        .arg(format!("--entryPoints.traefik.address=127.0.0.1:{api}"))
        .arg(format!("--providers.http.endpoint=http://127.0.0.1:{edge}/traefik-config"))
        .args(["--providers.http.pollInterval=1s", "--api.insecure=true", "--global.checkNewVersion=false"])
        .args(["--global.sendAnonymousUsage=false", "--log.level=ERROR"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _traefik = Traefik(child);

    let (mut http, mut tcp) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        // No feed runs here: the test speaks for it.
        board.fed(Instant::now());
        (http, tcp) = (routers(api, "http").await, routers(api, "tcp").await);
        if http.len() == 5 && tcp.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let names: Vec<&str> = http.iter().chain(&tcp).map(|(name, _)| name.trim_end_matches("@http")).collect();
    let expected =
        ["api", "api-tls", "catch-all", "catch-all-tls", "pods-tacc-dev-shop", "pods-tacc-dev-moss"];
    assert!(expected.iter().all(|name| names.contains(name)), "within 20 s Traefik had {names:?}");
    for (name, router) in http.iter().chain(&tcp) {
        assert_eq!(
            (&router["status"], &router["error"]),
            (&"enabled".into(), &Value::Null),
            "{name}: {router}"
        );
    }

    let answer = get(web, &host("shop"), "/a?b=c").await.unwrap();
    assert!(
        answer.contains(" 308 ") && answer.contains("https://shop.pods.dev.example.org:8443/a?b=c"),
        "{answer}"
    );
    let answer = get(web, &host("nobody"), "/traefik-config").await.unwrap();
    assert!(answer.contains(" 404 ") && answer.contains("There is no pod here"), "{answer}");
    shutdown.cancel();
    server.await.unwrap().unwrap();
}
