//! One delivery: from the broker's message to a settled outcome.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message, message::Acker};
use futures::FutureExt;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use pods_telemetry::trace;

use crate::consumer::ConsumerConfig;
use crate::metrics;
use crate::wakeup::WakeUp;

/// A wake-up as a handler gets it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What was sent.
    pub wake_up: WakeUp,
    /// How often the broker has delivered it; 1 is the first time. Not a count of failures: a nak with delay because
    /// the pod was busy counts too.
    pub attempt: u64,
    /// Its place in the stream.
    pub sequence: u64,
    /// The W3C trace context of what made it necessary.
    pub traceparent: Option<String>,
}

/// What a handler decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pod was looked at; the wake-up is used up.
    Done,
    /// Deliver it again, not before this time has passed.
    RetryAfter(Duration),
    /// It can never be worked on; never deliver it again. The reason is logged.
    Reject(String),
}

impl Outcome {
    /// A word for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::RetryAfter(_) => "retry",
            Outcome::Reject(_) => "reject",
        }
    }
}

/// Works on one message: decode, run the handler (with progress acks while it runs), settle. Once `cut_off` completes
/// a handler that is still at work is dropped and the message given back.
pub(crate) async fn work<H, F>(
    message: Message,
    config: ConsumerConfig,
    handler: H,
    cut_off: impl Future<Output = ()>,
) where
    H: Fn(Delivery) -> F,
    F: Future<Output = Outcome>,
{
    let (attempt, sequence) = match message.info() {
        Ok(info) => (u64::try_from(info.delivered).unwrap_or(1), info.stream_sequence),
        Err(_) => (1, 0),
    };
    metrics::delivered(attempt);
    let (message, acker) = message.split();
    let wake_up = match WakeUp::from_bytes(&message.payload) {
        Ok(wake_up) => wake_up,
        Err(error) => {
            let reason = format!("it cannot be decoded: {error}");
            return settle(&acker, Outcome::Reject(reason), sequence, "unknown").await;
        }
    };
    let traceparent = message.headers.as_ref().and_then(|headers| headers.get(trace::HEADER));
    let traceparent = traceparent.map(ToString::to_string);
    drop(message);
    let pod_uid = wake_up.pod_uid.clone();
    let delivery = Delivery { wake_up, attempt, sequence, traceparent };
    // Called inside the future, so that a panic before its first await is caught as well.
    let handled = AssertUnwindSafe(async move { handler(delivery).await }).catch_unwind();
    let handled = with_progress(&acker, config.progress_every, handled);
    let handled = tokio::select! {
        handled = handled => Some(handled),
        () = cut_off => None,
    };
    let outcome = match handled {
        Some(Ok(outcome)) => outcome,
        None => {
            tracing::info!(pod.uid = pod_uid, "the process stops; a wake-up in work goes to another one");
            Outcome::RetryAfter(Duration::ZERO)
        }
        Some(Err(panic)) => {
            tracing::error!(
                pod.uid = pod_uid,
                message.sequence = sequence,
                error = panic_text(&*panic),
                "the handler of a wake-up panicked; it is delivered again"
            );
            Outcome::RetryAfter(config.panic_retry)
        }
    };
    settle(&acker, outcome, sequence, &pod_uid).await;
}

/// Tells the broker at intervals that the message is being worked on.
async fn with_progress<T>(acker: &Acker, every: Duration, work: impl Future<Output = T>) -> T {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            // A lost one is harmless: the next comes before the broker's patience ends.
            _ = ticks.tick() => drop(acker.ack_with(AckKind::Progress).await),
        }
    }
}

/// The only place where an outcome becomes an acknowledgement. Where the broker cannot be told, it delivers the
/// message again after `ack_wait`, which is harmless because a wake-up only says "look again".
pub(crate) async fn settle(acker: &Acker, outcome: Outcome, sequence: u64, pod_uid: &str) {
    metrics::settled(&outcome);
    let told = match outcome {
        Outcome::Done => acker.double_ack().await,
        Outcome::RetryAfter(delay) => acker.ack_with(AckKind::Nak((!delay.is_zero()).then_some(delay))).await,
        Outcome::Reject(reason) => {
            tracing::error!(pod.uid = pod_uid, message.sequence = sequence, reason, "a wake-up is given up");
            acker.double_ack_with(AckKind::Term).await
        }
    };
    if let Err(error) = told {
        tracing::warn!(
            pod.uid = pod_uid,
            message.sequence = sequence,
            error = error.to_string(),
            "NATS did not take the acknowledgement; the wake-up will come again"
        );
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
