//! The listener for probes.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use pods_runtime::internal_http::{Beat, Health, serve, serve_on};
use pods_runtime::metrics::Metrics;
use pods_runtime::shutdown::CancellationToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is waited for comes within this time.
const LIMIT: Duration = Duration::from_secs(20);

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// The first answer of a listener that is being opened.
async fn first(address: SocketAddr, path: &str) -> String {
    let answer = async {
        loop {
            if let Some(answer) = get(address, path).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, answer).await.expect("the listener answers")
}

/// Asks whether the process is alive until the answer begins as expected.
async fn until(address: SocketAddr, begin: &str) -> String {
    let answer = async {
        loop {
            let answer = first(address, "/healthz").await;
            if answer.starts_with(begin) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| panic!("{begin} does not come"))
}

fn socket() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_at_once_and_ready_when_every_condition_is_met() {
    let (listener, address) = socket();
    let (health, token) = (Health::new(), CancellationToken::new());
    let flag = health.flag("database");
    health.check("broker", || Ok(()));
    let server = tokio::spawn(serve_on(listener, health.clone(), Metrics::new("test"), token.clone()));
    let answer = first(address, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = get(address, "/readyz").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("database: starting\n"), "{answer}");
    flag.ready();
    assert!(get(address, "/readyz").await.unwrap().starts_with("HTTP/1.1 200"));
    flag.not_ready("away");
    assert_eq!(health.not_ready(), [("database", "away".to_owned())]);
    token.cancel();
    tokio::time::timeout(LIMIT, server).await.unwrap().unwrap().unwrap();
    assert!(get(address, "/healthz").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error =
        serve(address, Health::new(), Metrics::new("test"), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// The runtime's threads are all held by something that never ends; the listener's own answers.
#[test]
fn a_process_whose_runtime_stands_still_is_dead() {
    let (listener, address) = socket();
    let (health, token) = (Health::new(), CancellationToken::new());
    let (release, held) = channel::<()>();
    let (alive, seen) = channel();
    let (watched, stop) = (health.clone(), token.clone());
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let beat = Beat::new();
            watched.watch_within("loop", &beat, Duration::from_millis(200));
            let server = tokio::spawn(serve_on(listener, watched, Metrics::new("test"), stop));
            // It lives until it was seen alive, however long that takes.
            while seen.try_recv() == Err(TryRecvError::Empty) {
                beat.tick();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _released = held.recv();
            server.await.unwrap().unwrap();
        });
    });
    let observer = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    observer.block_on(async {
        // On a busy machine a beat may come late.
        until(address, "HTTP/1.1 200").await;
        alive.send(()).unwrap();
        let answer = until(address, "HTTP/1.1 503").await;
        assert!(answer.contains("loop: has stood still"), "{answer}");
    });
    token.cancel();
    drop(release);
    process.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_text_for_prometheus() {
    let (listener, address) = socket();
    let token = CancellationToken::new();
    let server = tokio::spawn(serve_on(listener, Health::new(), Metrics::new("test"), token.clone()));
    let answer = first(address, "/metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("process_resident_memory_bytes ") && answer.ends_with("# EOF\n"), "{answer}");
    token.cancel();
    server.await.unwrap().unwrap();
}
