//! The listener for probes.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use pods_runtime::internal_http::{Health, serve};
use pods_runtime::shutdown::CancellationToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_at_once_and_ready_when_every_condition_is_met() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (health, token) = (Health::new(), CancellationToken::new());
    let flag = health.flag("database");
    health.check("broker", || Ok(()));
    let server = tokio::spawn(serve(address, health.clone(), token.clone()));
    let alive = async {
        loop {
            if let Some(answer) = get(address, "/healthz").await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), alive).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = get(address, "/readyz").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("database: starting\n"), "{answer}");
    flag.ready();
    assert!(get(address, "/readyz").await.unwrap().starts_with("HTTP/1.1 200"));
    flag.not_ready("away");
    assert_eq!(health.not_ready(), [("database", "away".to_owned())]);
    token.cancel();
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    assert!(get(address, "/healthz").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(address, Health::new(), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
