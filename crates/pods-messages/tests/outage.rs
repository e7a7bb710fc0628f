//! What happens while the broker is away. These tests start and kill a server of their own.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Running, connected, impatient, nats_url, publish, until, wake_up};
use pods_messages::{ConsumerState, Outcome, PublishError, connect};

/// A server of this test, killed at the end.
struct Server {
    child: Child,
}

impl Server {
    fn start(port: u16, store: &Path) -> Self {
        let program = std::env::var("PODS_TEST_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
        let child = Command::new(&program)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string(), "--store_dir"])
            .arg(store)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("`{program}` does not start ({error}): put nats-server on PATH or name it in PODS_TEST_NATS_SERVER")
            });
        Self { child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_restarted_broker_loses_nothing() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let server = Server::start(port, store.path());
    let broker = connected(&format!("nats://127.0.0.1:{port}")).await;
    let stream = broker.stream("RESTART", "dev").unwrap();
    let publisher = stream.publisher();
    publish(&publisher, "stored before").await;

    drop(server);
    until("the loss is noticed", async || !broker.is_connected()).await;
    let lost = wake_up("during");
    // That it waited for an acknowledgement in vain would be a time-out.
    assert!(matches!(publisher.publish(&lost, "1").await, Err(PublishError::Disconnected)));
    let consumer = stream.consumer(impatient());
    let state = consumer.state();
    let mut running = Running::start(consumer, 2, async |_| Outcome::Done);
    until("the consumer waits", async || matches!(*state.borrow(), ConsumerState::Waiting(_))).await;

    let server = Server::start(port, store.path());
    assert_eq!(running.next().await.0, "stored before");
    publish(&publisher, "after").await;
    while running.next().await.0 != "after" {}

    // The same with a consumer at rest: its request is lost with the server.
    drop(server);
    until("the consumer waits", async || matches!(*state.borrow(), ConsumerState::Waiting(_))).await;
    let _server = Server::start(port, store.path());
    until("the consumer is back", async || *state.borrow() == ConsumerState::Consuming).await;
    let started = Instant::now();
    publish(&publisher, "again").await;
    // A killed broker may have forgotten an acknowledgement and deliver a message once more.
    while running.next().await.0 != "again" {}
    assert!(started.elapsed().as_secs() < 15, "and not with the next request: {:?}", started.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_late_is_waited_for() {
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let broker = connect(&format!("nats://127.0.0.1:{port}"), "late").await.expect("no broker is no error");
    let stream = broker.stream("LATE", "dev").unwrap();
    let mut running = Running::start(stream.consumer(impatient()), 2, async |_| Outcome::Done);
    until("the reason is known", async || broker.problem().is_some()).await;
    let _server = Server::start(port, store.path());
    until("NATS is connected", async || broker.is_connected()).await;
    publish(&stream.publisher(), "late").await;
    assert_eq!(running.next().await.0, "late");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_broker_that_is_away() {
    let broker = connect(&format!("nats://127.0.0.1:{}", free_port()), "away").await.unwrap();
    let stream = broker.stream("AWAY", "dev").unwrap();
    let running = Running::start(stream.consumer(impatient()), 2, async |_| Outcome::Done);
    // It fails when that takes longer than anything that is waited for here.
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password_of_the_address_are_used() {
    assert!(!nats_url().is_empty());
    let (port, store) = (free_port(), tempfile::tempdir().unwrap());
    let config = store.path().join("nats.conf");
    std::fs::write(&config, "authorization { user: pods, password: \"p@ss:1\" }\n").unwrap();
    let program = std::env::var("PODS_TEST_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let child = Command::new(program)
        .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--config"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is on PATH or named in PODS_TEST_NATS_SERVER");
    let _server = Server { child };
    connected(&format!("nats://pods:p%40ss%3A1@127.0.0.1:{port}")).await;
}
