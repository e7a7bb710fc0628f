//! The stream that wake-ups wait in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, DeleteStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use tokio::sync::Mutex;

use crate::broker::Broker;
use crate::consumer::{Consumer, ConsumerConfig};
use crate::publisher::Publisher;

/// A wake-up older than this is worthless: the sweep has long sent another. Shorter than the life of a tombstone, so
/// that a wake-up never outlives the row that it names.
const MAX_AGE: Duration = Duration::from_secs(20 * 60 * 60);
/// Publishing the same id again within this time is dropped by the broker.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(2 * 60);

/// The stream cannot be brought into the wanted state.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A name that cannot be part of a subject.
    #[error("`{0}` cannot name a NATS stream or subject; use letters, digits, `-` and `_`")]
    Name(String),
    /// There is no connection to the broker now.
    #[error("NATS is not connected")]
    Disconnected,
    /// A stream of this name exists and is not a work queue in files.
    #[error(
        "the NATS stream {0} exists but is no file-backed work queue; choose another name in `nats.stream` or delete it"
    )]
    Foreign(String),
    /// The broker did not answer or refused.
    #[error("NATS did not {action} the stream")]
    Broker {
        /// What was asked for.
        action: &'static str,
        /// What came back.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The stream of one installation, as seen by one site. Clones share what is known of it.
#[derive(Clone)]
pub struct Stream {
    pub(crate) broker: Broker,
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) subject: String,
    subjects: String,
    known: Arc<AtomicBool>,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Stream {
    pub(crate) fn new(broker: Broker, name: &str, site: &str) -> Result<Self, StreamError> {
        for part in [name, site] {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if part.is_empty() || !part.chars().all(plain) {
                return Err(StreamError::Name(part.to_owned()));
            }
        }
        let prefix = name.to_lowercase();
        Ok(Self {
            broker,
            name: name.to_owned(),
            site: site.to_owned(),
            subject: format!("{prefix}.wake.{site}"),
            subjects: format!("{prefix}.wake.*"),
            known: Arc::default(),
            one_at_a_time: Arc::default(),
        })
    }

    /// The subject of this site's wake-ups.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What publishes to this stream.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.clone())
    }

    /// What consumes this site's wake-ups.
    pub fn consumer(&self, config: ConsumerConfig) -> Consumer {
        Consumer::new(self.clone(), config)
    }

    /// Creates the stream, or brings an existing one to the settings that matter here; other settings, such as the
    /// number of replicas, stay as the operator chose them. Publishing and consuming call it when needed.
    pub async fn ensure(&self) -> Result<(), StreamError> {
        let _turn = self.one_at_a_time.lock().await;
        if self.known.load(Ordering::Acquire) {
            return Ok(());
        }
        if !self.broker.is_connected() {
            return Err(StreamError::Disconnected);
        }
        match self.broker.context.get_stream(&self.name).await {
            Ok(stream) => self.update(&stream.cached_info().config).await?,
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(e) if e.code() == 404 => self.create().await?,
                _ => return Err(failed("read", error)),
            },
        }
        self.known.store(true, Ordering::Release);
        Ok(())
    }

    /// Deletes the stream with everything in it. For tests and for taking an environment down.
    pub async fn delete(&self) -> Result<(), StreamError> {
        self.forget();
        match self.broker.context.delete_stream(&self.name).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                DeleteStreamErrorKind::JetStream(e) if e.code() == 404 => Ok(()),
                _ => Err(failed("delete", error)),
            },
        }
    }

    /// The stream turned out to be missing: the next [`Stream::ensure`] looks again.
    pub(crate) fn forget(&self) {
        self.known.store(false, Ordering::Release);
    }

    fn wanted(&self, current: Config) -> Config {
        Config {
            name: self.name.clone(),
            description: Some("Wake-ups of Pods".to_owned()),
            subjects: vec![self.subjects.clone()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            max_age: MAX_AGE,
            duplicate_window: DUPLICATE_WINDOW,
            ..current
        }
    }

    async fn create(&self) -> Result<(), StreamError> {
        let config = self.wanted(Config { num_replicas: 1, ..Config::default() });
        self.broker.context.create_stream(config).await.map_err(|error| failed("create", error))?;
        tracing::info!(stream = self.name, "created the NATS stream");
        Ok(())
    }

    async fn update(&self, current: &Config) -> Result<(), StreamError> {
        if current.retention != RetentionPolicy::WorkQueue || current.storage != StorageType::File {
            return Err(StreamError::Foreign(self.name.clone()));
        }
        let wanted = self.wanted(current.clone());
        if wanted != *current {
            let updated: Result<_, CreateStreamError> = self.broker.context.update_stream(wanted).await;
            updated.map_err(|error| failed("update", error))?;
            tracing::info!(stream = self.name, "updated the NATS stream");
        }
        Ok(())
    }
}

fn failed(action: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> StreamError {
    StreamError::Broker { action, source: Box::new(error) }
}
