//! What the tests against a real broker share.

#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use pods_messages::{
    Broker, Consumer, ConsumerConfig, Delivery, Outcome, Publisher, Stream, WakeUp, connect,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn nats_url() -> String {
    std::env::var("PODS_TEST_NATS_URL").expect(
        "these tests need a NATS server with JetStream: set PODS_TEST_NATS_URL, or run them with `cargo xtask test`",
    )
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

pub async fn connected(url: &str) -> Broker {
    let broker = connect(url, "pods-messages test").await.unwrap();
    until("NATS is connected", async || broker.is_connected()).await;
    broker
}

/// Runs a test with a stream of its own, deleted afterwards whatever happens.
pub async fn with_stream<F: Future<Output = ()>>(test: impl FnOnce(Stream) -> F) {
    let broker = connected(&nats_url()).await;
    let stream = broker.stream(&format!("TEST-{:X}", Uuid::new_v4().simple()), "dev").unwrap();
    let result = AssertUnwindSafe(test(stream.clone())).catch_unwind().await;
    stream.delete().await.expect("the test's stream can be deleted");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A wake-up whose reason tells the tests which one it is.
pub fn wake_up(reason: &str) -> WakeUp {
    WakeUp::new(Uuid::new_v4(), reason, Uuid::new_v4(), SystemTime::now())
}

pub async fn publish(publisher: &Publisher, reason: &str) {
    let wake_up = wake_up(reason);
    publisher.publish(&wake_up, &wake_up.outbox_id).await.expect("the broker stores it");
}

/// A running consumer that reports every delivery.
pub struct Running {
    pub deliveries: mpsc::UnboundedReceiver<Delivery>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    /// Starts a consumer whose handler reports the delivery and then does what `decide` says.
    pub fn start<F>(
        consumer: Consumer,
        concurrency: usize,
        decide: impl Fn(Delivery) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let handler = move |delivery: Delivery| {
            let _ = sender.send(delivery.clone());
            decide(delivery)
        };
        let task = tokio::spawn(consumer.run(shutdown.clone(), concurrency, handler));
        Self { deliveries, shutdown, task }
    }

    /// The next delivery as (reason, attempt).
    pub async fn next(&mut self) -> (String, u64) {
        let delivery = timeout(PATIENCE, self.deliveries.recv()).await.expect("a delivery comes");
        let delivery = delivery.expect("the consumer runs");
        (delivery.wake_up.reason, delivery.attempt)
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.expect("the consumer stops").unwrap();
    }
}

/// Settings with which a lost acknowledgement is not made up for within a test: what comes again was handed back.
pub fn patient() -> ConsumerConfig {
    ConsumerConfig { ack_wait: Duration::from_secs(120), ..impatient() }
}

/// Settings with which a lost acknowledgement shows up within a test's patience.
pub fn impatient() -> ConsumerConfig {
    ConsumerConfig {
        ack_wait: Duration::from_secs(2),
        progress_every: Duration::from_millis(500),
        panic_retry: Duration::from_millis(50),
        ..ConsumerConfig::default()
    }
}
