//! Publishing wake-ups: done only when the broker has stored them.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;

use pods_telemetry::trace;

use crate::stream::{Stream, StreamError};
use crate::wakeup::WakeUp;

/// Publishes to one stream. Clones share the connection.
#[derive(Clone)]
pub struct Publisher {
    stream: Stream,
}

/// The broker has stored a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the stream.
    pub sequence: u64,
    /// The same id was published within the last two minutes, so this one was dropped.
    pub duplicate: bool,
}

/// It is not known that the broker stored the wake-up. Publishing it again with the same id is right in every case.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection; nothing was sent.
    #[error("NATS is not connected")]
    Disconnected,
    /// No acknowledgement came in time. The broker may or may not have it.
    #[error("NATS did not acknowledge the message in time")]
    Timeout,
    /// The stream is missing and could not be created.
    #[error("the NATS stream is not usable")]
    Stream(#[from] StreamError),
    /// The broker, or the client on its behalf, refused.
    #[error("NATS refused the message")]
    Refused(#[source] async_nats::jetstream::context::PublishError),
}

impl Publisher {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream }
    }

    /// Publishes a wake-up and waits, at most five seconds, until the broker has stored it. `msg_id` makes publishing
    /// it again within two minutes harmless. The trace of the current span travels in a header.
    pub async fn publish(&self, wake_up: &WakeUp, msg_id: &str) -> Result<Published, PublishError> {
        // The client would keep the message in memory and send it whenever the broker returns, after the caller has
        // long decided what to do.
        if !self.stream.broker.is_connected() {
            return Err(PublishError::Disconnected);
        }
        self.stream.ensure().await?;
        match self.try_publish(wake_up, msg_id).await {
            Err(PublishError::Refused(error)) if error.kind() == PublishErrorKind::StreamNotFound => {
                self.stream.forget();
                self.stream.ensure().await?;
                self.try_publish(wake_up, msg_id).await
            }
            result => result,
        }
    }

    async fn try_publish(&self, wake_up: &WakeUp, msg_id: &str) -> Result<Published, PublishError> {
        let mut message = PublishMessage::build().payload(wake_up.to_bytes()).message_id(msg_id);
        if let Some(traceparent) = trace::current() {
            message = message.header(trace::HEADER, traceparent);
        }
        let sent = self.stream.broker.context.send_publish(self.stream.subject.clone(), message).await;
        let ack = sent.map_err(classify)?.await.map_err(classify)?;
        Ok(Published { sequence: ack.sequence, duplicate: ack.duplicate })
    }
}

fn classify(error: async_nats::jetstream::context::PublishError) -> PublishError {
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => PublishError::Timeout,
        _ => PublishError::Refused(error),
    }
}
