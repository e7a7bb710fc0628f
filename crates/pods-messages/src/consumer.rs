//! Consuming wake-ups: a durable pull consumer that survives outages, deletions and shutdowns.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, Consumer as Handle, pull};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use pods_telemetry::beat::Beat;

use crate::delivery::{Delivery, Outcome, settle, work};
use crate::stream::Stream;

/// How long a request for messages stands before it is made anew. Only a request that the broker lost without a word
/// makes anybody wait for it.
const PULL_EXPIRES: Duration = Duration::from_secs(20);
const LARGEST_PULL: usize = 256;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
const LOST: &str = "there is no connection to NATS";
/// How long, at a shutdown, messages that are on their way are still received to be handed back.
const HAND_BACK: Duration = Duration::from_millis(200);

/// Settings of a consumer.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerConfig {
    /// The most messages that are being worked on or wait to be delivered again, over all replicas. Beyond it the
    /// broker delivers nothing new, so it lies far above the number of pods that can be stuck at the same time; what
    /// is worked on at once is limited by the concurrency of each replica.
    pub max_ack_pending: u32,
    /// How long the broker waits for a sign of life before it delivers a message again.
    pub ack_wait: Duration,
    /// How often a handler at work gives a sign of life; well below `ack_wait`.
    pub progress_every: Duration,
    /// When a message whose handler panicked is delivered again.
    pub panic_retry: Duration,
    /// How long, at a shutdown, handlers may go on; then their messages go to another replica at once.
    pub finish_within: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            max_ack_pending: 50_000,
            ack_wait: Duration::from_secs(15),
            progress_every: Duration::from_secs(5),
            panic_retry: Duration::from_secs(5),
            finish_within: Duration::from_secs(6),
        }
    }
}

/// What a consumer is doing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerState {
    /// It has not reached the broker yet.
    Connecting,
    /// It takes messages.
    Consuming,
    /// It waits for the broker, for the given reason.
    Waiting(String),
}

/// Consumes the wake-ups of one site. Replicas share the work through one durable consumer of the broker.
pub struct Consumer {
    stream: Stream,
    config: ConsumerConfig,
    state: watch::Sender<ConsumerState>,
    beat: Beat,
}

enum Stopped {
    Shutdown,
    /// The connection was made anew; what was asked for before is forgotten by the broker.
    Reconnected,
    Broken(String),
}

impl Consumer {
    pub(crate) fn new(stream: Stream, config: ConsumerConfig) -> Self {
        Self { stream, config, state: watch::Sender::new(ConsumerState::Connecting), beat: Beat::new() }
    }

    /// What the consumer is doing, for readiness.
    pub fn state(&self) -> watch::Receiver<ConsumerState> {
        self.state.subscribe()
    }

    /// Ticks whenever the consumer comes round, at least every twenty seconds or so, whether NATS is there or not.
    pub fn beat(&self) -> Beat {
        self.beat.clone()
    }

    /// Hands messages to `handler`, at most `concurrency` at a time, until `shutdown` is cancelled; then waits for the
    /// handlers at work, for as long as [`ConsumerConfig::finish_within`] says. Outages are waited out.
    pub async fn run<H, F>(self, shutdown: CancellationToken, concurrency: usize, handler: H)
    where
        H: Fn(Delivery) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let concurrency = concurrency.clamp(1, 4096);
        let slots = Arc::new(Semaphore::new(concurrency));
        let mut backoff = FIRST_BACKOFF;
        while !shutdown.is_cancelled() {
            self.beat.tick();
            let stopped = match self.open(&shutdown).await {
                Ok(handle) => {
                    self.report(ConsumerState::Consuming);
                    backoff = FIRST_BACKOFF;
                    self.take(&handle, &shutdown, &slots, &handler).await
                }
                Err(stopped) => stopped,
            };
            let Stopped::Broken(why) = stopped else { continue };
            self.report(ConsumerState::Waiting(why));
            self.stream.forget();
            let mut link = self.stream.broker.link.clone();
            link.mark_unchanged();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(backoff) => {}
                _ = link.changed() => {}
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
        let all = u32::try_from(concurrency).unwrap_or(u32::MAX);
        // Fails only for a closed semaphore, and nobody closes it.
        let _ = slots.acquire_many(all).await;
        self.stream.broker.flush().await;
    }

    /// Makes sure that stream and consumer exist.
    async fn open(&self, shutdown: &CancellationToken) -> Result<Handle<pull::Config>, Stopped> {
        let opening = async {
            // A request now would only wait for its time-out.
            if !self.stream.broker.is_connected() {
                return Err(LOST.to_owned());
            }
            self.stream.ensure().await.map_err(|error| describe(&error))?;
            let config = pull::Config {
                durable_name: Some(format!("spawner-{}", self.stream.site)),
                ack_policy: AckPolicy::Explicit,
                ack_wait: self.config.ack_wait,
                max_deliver: -1,
                max_ack_pending: self.config.max_ack_pending.into(),
                filter_subject: self.stream.subject.clone(),
                ..pull::Config::default()
            };
            let created =
                self.stream.broker.context.create_consumer_on_stream(config, &self.stream.name).await;
            created.map_err(|error| describe(&error))
        };
        tokio::select! {
            () = shutdown.cancelled() => Err(Stopped::Shutdown),
            opened = opening => opened.map_err(Stopped::Broken),
        }
    }

    /// Takes messages until something ends it.
    async fn take<H, F>(
        &self,
        handle: &Handle<pull::Config>,
        shutdown: &CancellationToken,
        slots: &Arc<Semaphore>,
        handler: &H,
    ) -> Stopped
    where
        H: Fn(Delivery) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut link = self.stream.broker.link.clone();
        let connection = link.borrow_and_update().connections;
        loop {
            self.beat.tick();
            // Only this loop takes slots, so those that are free now stay free: every message can start at once.
            let free = tokio::select! {
                () = shutdown.cancelled() => return Stopped::Shutdown,
                slot = slots.acquire() => 1 + slot.map_or(0, |_held| slots.available_permits()),
            };
            let pull = handle.batch().max_messages(free.min(LARGEST_PULL)).expires(PULL_EXPIRES);
            let mut batch = tokio::select! {
                () = shutdown.cancelled() => return Stopped::Shutdown,
                batch = pull.messages() => match batch {
                    Ok(batch) => batch,
                    Err(error) => return Stopped::Broken(describe(&error)),
                },
            };
            loop {
                let next = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => {
                        hand_back(&mut batch).await;
                        return Stopped::Shutdown;
                    }
                    next = batch.next() => next,
                    Ok(()) = link.changed() => {
                        let now = link.borrow_and_update().clone();
                        if now.connected && now.connections == connection {
                            continue;
                        }
                        // What arrived before the connection broke is worked on; the rest is asked for anew.
                        while let Some(Some(Ok(message))) = batch.next().now_or_never() {
                            self.start(message, shutdown, slots, handler).await;
                        }
                        return if now.connected { Stopped::Reconnected } else { Stopped::Broken(LOST.to_owned()) };
                    }
                };
                match next {
                    Some(Ok(message)) => self.start(message, shutdown, slots, handler).await,
                    Some(Err(error)) => return Stopped::Broken(error.to_string()),
                    None => break,
                }
            }
        }
    }

    async fn start<H, F>(
        &self,
        message: Message,
        shutdown: &CancellationToken,
        slots: &Arc<Semaphore>,
        handler: &H,
    ) where
        H: Fn(Delivery) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let slot = Arc::clone(slots).acquire_owned().await;
        let (config, handler, shutdown) = (self.config, handler.clone(), shutdown.clone());
        tokio::spawn(async move {
            let cut_off = async {
                shutdown.cancelled().await;
                sleep(config.finish_within).await;
            };
            work(message, config, handler, cut_off).await;
            drop(slot);
        });
    }

    /// Logs a change of state once.
    fn report(&self, state: ConsumerState) {
        self.state.send_if_modified(|current| {
            // The reasons of one outage differ from attempt to attempt; that is not a change.
            let waiting = |state: &ConsumerState| matches!(state, ConsumerState::Waiting(_));
            if *current == state || (waiting(current) && waiting(&state)) {
                return false;
            }
            match &state {
                ConsumerState::Waiting(why) => {
                    tracing::warn!(reason = why, subject = self.stream.subject, "wake-ups are not consumed");
                }
                _ => tracing::info!(subject = self.stream.subject, "wake-ups are consumed"),
            }
            *current = state;
            true
        });
    }
}

/// Gives messages that arrive during a shutdown back at once, so that another replica need not wait for `ack_wait`.
async fn hand_back(batch: &mut pull::Batch) {
    let _ = timeout(HAND_BACK, async {
        while let Some(Ok(message)) = batch.next().await {
            let sequence = message.info().map_or(0, |info| info.stream_sequence);
            let (_, acker) = message.split();
            settle(&acker, Outcome::RetryAfter(Duration::ZERO), sequence, "not read").await;
        }
    })
    .await;
}

/// An error with its causes on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
