//! Publishing and consuming against a real NATS server.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Running, connected, impatient, nats_url, patient, publish, until, wake_up, with_stream};
use pods_messages::{ConsumerConfig, Outcome, StreamError};
use tokio::sync::{Barrier, Semaphore};
use tokio::time::sleep;

fn name_of(stream: &pods_messages::Stream) -> String {
    stream.subject().split('.').next().unwrap().to_uppercase()
}

async fn raw() -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(nats_url()).await.unwrap())
}

async fn stored(context: &async_nats::jetstream::Context, name: &str) -> u64 {
    context.get_stream(name).await.unwrap().cached_info().state.messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_done_is_gone() {
    with_stream(async |stream| {
        let mut running = Running::start(stream.consumer(impatient()), 4, async |_| Outcome::Done);
        publish(&stream.publisher(), "create").await;
        assert_eq!(running.next().await, ("create".to_owned(), 1));
        let (context, name) = (raw().await, name_of(&stream));
        until("the stream is empty", async || stored(&context, &name).await == 0).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_again_after_its_delay() {
    with_stream(async |stream| {
        let mut running = Running::start(stream.consumer(patient()), 4, async |delivery| {
            if delivery.attempt < 3 { Outcome::RetryAfter(Duration::from_millis(300)) } else { Outcome::Done }
        });
        let begun = Instant::now();
        publish(&stream.publisher(), "busy").await;
        assert_eq!(running.next().await.1, 1);
        assert_eq!(running.next().await.1, 2);
        assert_eq!(running.next().await.1, 3);
        assert!(begun.elapsed() >= Duration::from_millis(550), "{:?}", begun.elapsed());
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_twice_is_stored_once() {
    with_stream(async |stream| {
        let (publisher, wake_up) = (stream.publisher(), wake_up("create"));
        let first = publisher.publish(&wake_up, "outbox-1").await.unwrap();
        let second = publisher.publish(&wake_up, "outbox-1").await.unwrap();
        let other = publisher.publish(&wake_up, "outbox-2").await.unwrap();
        assert!(!first.duplicate && second.duplicate && !other.duplicate);
        assert_eq!(second.sequence, first.sequence);
        assert_eq!(stored(&raw().await, &name_of(&stream)).await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_handler_hands_back_and_the_consumer_lives_on() {
    with_stream(async |stream| {
        let mut running = Running::start(stream.consumer(patient()), 1, async |delivery| {
            assert!(delivery.attempt > 1, "the first attempt panics on purpose");
            Outcome::Done
        });
        publish(&stream.publisher(), "panic").await;
        assert_eq!(running.next().await, ("panic".to_owned(), 1));
        assert_eq!(running.next().await, ("panic".to_owned(), 2));
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_hands_over_what_does_not_end_in_time() {
    with_stream(async |stream| {
        let config = ConsumerConfig { finish_within: Duration::from_millis(200), ..patient() };
        let mut hanging =
            Running::start(stream.consumer(config), 1, async |_| std::future::pending::<Outcome>().await);
        publish(&stream.publisher(), "slow").await;
        assert_eq!(hanging.next().await, ("slow".to_owned(), 1));
        hanging.stop().await;
        let mut other = Running::start(stream.consumer(config), 1, async |_| Outcome::Done);
        assert_eq!(other.next().await, ("slow".to_owned(), 2));
        other.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_shows_that_it_lives() {
    with_stream(async |stream| {
        let consumer = stream.consumer(impatient());
        let beat = consumer.beat();
        let mut running = Running::start(consumer, 1, async |_| Outcome::Done);
        publish(&stream.publisher(), "first").await;
        running.next().await;
        let before = Instant::now();
        publish(&stream.publisher(), "second").await;
        running.next().await;
        until("the consumer came round", async || beat.age() < before.elapsed()).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_settle_each_message_by_itself() {
    with_stream(async |stream| {
        let mut running = Running::start(stream.consumer(patient()), 1, async |delivery| {
            match (delivery.wake_up.reason.as_str(), delivery.attempt) {
                ("retry", 1) => Outcome::RetryAfter(Duration::from_millis(200)),
                ("reject", _) => Outcome::Reject("on purpose".to_owned()),
                _ => Outcome::Done,
            }
        });
        for reason in ["retry", "reject", "done"] {
            publish(&stream.publisher(), reason).await;
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(running.next().await);
        }
        // The delay is over at any time between the others.
        seen.sort();
        let expected = [("done", 1), ("reject", 1), ("retry", 1), ("retry", 2)];
        assert_eq!(seen, expected.map(|(reason, attempt)| (reason.to_owned(), attempt)));
        let (context, name) = (raw().await, name_of(&stream));
        until("the stream is empty", async || stored(&context, &name).await == 0).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_given_up() {
    with_stream(async |stream| {
        stream.ensure().await.unwrap();
        let (context, name) = (raw().await, name_of(&stream));
        context.publish(stream.subject().to_owned(), "not protobuf".into()).await.unwrap().await.unwrap();
        publish(&stream.publisher(), "good").await;
        let mut running = Running::start(stream.consumer(impatient()), 1, async |_| Outcome::Done);
        assert_eq!(running.next().await, ("good".to_owned(), 1));
        until("the stream is empty", async || stored(&context, &name).await == 0).await;
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_work_is_not_delivered_twice() {
    with_stream(async |stream| {
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        let config = ConsumerConfig { ack_wait: Duration::from_secs(4), ..impatient() };
        let mut running = Running::start(stream.consumer(config), 4, move |_| {
            let counted = counted.clone();
            async move {
                // More than twice ack_wait: this is the time that passes, not a condition to wait for.
                sleep(Duration::from_secs(9)).await;
                counted.fetch_add(1, Ordering::SeqCst);
                Outcome::Done
            }
        });
        publish(&stream.publisher(), "slow").await;
        running.next().await;
        let (context, name) = (raw().await, name_of(&stream));
        until("the stream is empty", async || stored(&context, &name).await == 0).await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(running.deliveries.try_recv().is_err(), "it was delivered a second time");
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_given_number_run_at_once() {
    with_stream(async |stream| {
        for _ in 0..20 {
            publish(&stream.publisher(), "many").await;
        }
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // The first three wait for each other: none of them ends if no more than two may run.
        let (first, together) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(3)));
        let (counted, peak) = (now, most.clone());
        let mut running = Running::start(stream.consumer(patient()), 3, move |_| {
            let (counted, peak) = (counted.clone(), peak.clone());
            let (first, together) = (first.clone(), together.clone());
            async move {
                peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                if first.fetch_add(1, Ordering::SeqCst) < 3 {
                    together.wait().await;
                }
                sleep(Duration::from_millis(20)).await;
                counted.fetch_sub(1, Ordering::SeqCst);
                Outcome::Done
            }
        });
        for _ in 0..20 {
            running.next().await;
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
        running.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_work_and_leaves_the_rest_to_others() {
    with_stream(async |stream| {
        let gate = Arc::new(Semaphore::new(0));
        let finished = Arc::new(AtomicUsize::new(0));
        let (closed, counted) = (gate.clone(), finished.clone());
        let mut first = Running::start(stream.consumer(patient()), 2, move |_| {
            let (closed, counted) = (closed.clone(), counted.clone());
            async move {
                closed.acquire().await.unwrap().forget();
                counted.fetch_add(1, Ordering::SeqCst);
                Outcome::Done
            }
        });
        for reason in ["a", "b", "c", "d"] {
            publish(&stream.publisher(), reason).await;
        }
        let mut started = [first.next().await.0, first.next().await.0];
        started.sort();
        assert_eq!(started, ["a", "b"]);
        first.shutdown.cancel();
        assert!(!first.task.is_finished());
        let mut second = Running::start(stream.consumer(patient()), 4, async |_| Outcome::Done);
        let mut rest = [second.next().await, second.next().await];
        rest.sort();
        assert_eq!(rest, [("c".to_owned(), 1), ("d".to_owned(), 1)]);
        gate.add_permits(2);
        first.stop().await;
        assert_eq!(finished.load(Ordering::SeqCst), 2);
        second.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_and_a_deleted_stream_come_back() {
    with_stream(async |stream| {
        let (context, name) = (raw().await, name_of(&stream));
        let mut running = Running::start(stream.consumer(impatient()), 2, async |_| Outcome::Done);
        publish(&stream.publisher(), "before").await;
        running.next().await;
        context.delete_consumer_from_stream("spawner-dev", &name).await.unwrap();
        publish(&stream.publisher(), "without consumer").await;
        until_told(&mut running, "without consumer").await;
        context.delete_stream(&name).await.unwrap();
        publish(&stream.publisher(), "without stream").await;
        until_told(&mut running, "without stream").await;
        running.stop().await;
    })
    .await;
}

/// Waits for a message. Others that come before it are repetitions: their acknowledgements were not in when what they
/// came from was deleted, and delivery is at least once.
async fn until_told(running: &mut Running, wanted: &str) {
    loop {
        let text = running.next().await.0;
        if text == wanted {
            return;
        }
        assert!(["before", "without consumer"].contains(&text.as_str()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_stream_is_updated_and_keeps_its_messages() {
    with_stream(async |stream| {
        let (context, name) = (raw().await, name_of(&stream));
        let old = async_nats::jetstream::stream::Config {
            name: name.clone(),
            subjects: vec![format!("{}.wake.*", name.to_lowercase())],
            retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
            max_messages: 5000,
            ..Default::default()
        };
        context.create_stream(old).await.unwrap();
        context.publish(stream.subject().to_owned(), "kept".into()).await.unwrap().await.unwrap();
        stream.ensure().await.unwrap();
        let info = context.get_stream(&name).await.unwrap().cached_info().clone();
        assert_eq!(info.config.max_age, Duration::from_secs(20 * 3600));
        assert_eq!(info.config.duplicate_window, Duration::from_secs(120));
        assert_eq!(info.config.max_messages, 5000, "what the operator chose stays");
        assert_eq!(info.state.messages, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_kind_is_not_touched() {
    with_stream(async |stream| {
        let (context, name) = (raw().await, name_of(&stream));
        context.create_stream(name.as_str()).await.unwrap();
        assert!(matches!(stream.ensure().await, Err(StreamError::Foreign(foreign)) if foreign == name));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sites_share_a_stream_and_not_their_wake_ups() {
    with_stream(async |stream| {
        let broker = connected(&nats_url()).await;
        let other = broker.stream(&name_of(&stream), "other").unwrap();
        let mut ours = Running::start(stream.consumer(impatient()), 2, async |_| Outcome::Done);
        let mut theirs = Running::start(other.consumer(impatient()), 2, async |_| Outcome::Done);
        publish(&stream.publisher(), "ours").await;
        publish(&other.publisher(), "theirs").await;
        assert_eq!(ours.next().await.0, "ours");
        assert_eq!(theirs.next().await.0, "theirs");
        ours.stop().await;
        theirs.stop().await;
    })
    .await;
}
