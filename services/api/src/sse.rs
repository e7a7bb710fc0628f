//! Streams of server-sent events (`text/event-stream`), for every operation that has one.
//!
//! An operation opens a [`Slot`] and gives it a producer: plain asynchronous code that sends events and returns why it
//! has nothing more to say. Everything else is here: limits, heartbeats, the end at shutdown, when the token expires or
//! when the client leaves, and what happens to a client that does not read.
//!
//! The producer runs inside of the body, on the worker that serves the connection. The body is asked for more only while
//! the connection takes it, so a slow client slows its own producer and costs the memory of a few events; a client that
//! takes nothing at all loses its connection after [`StreamLimits::unread`]. Either can go on after the last id that it
//! saw.

mod body;
pub mod peer;

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
};
use pods_runtime::shutdown::CancellationToken;
use pods_telemetry::metrics::Present;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{caller::Caller, error::ApiError, metrics};

/// Events that may wait between a producer and its connection.
const WAITING: usize = 8;

/// How many streams there may be, and how long one lasts.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Open streams of one user of a tenant, in this process.
    pub per_user: usize,
    /// Open streams of all users, in this process.
    pub total: usize,
    /// Longest silence: something is written at least as often.
    pub heartbeat: Duration,
    /// A stream ends after this time, so that who may read is asked again.
    pub lifetime: Duration,
    /// How long a client may leave unread what was sent to it.
    pub unread: Duration,
    /// How often a stream that does not hear of it otherwise asks whether its caller may still read.
    pub recheck: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            per_user: 20,
            total: 1000,
            heartbeat: Duration::from_secs(15),
            lifetime: Duration::from_secs(3600),
            unread: Duration::from_secs(30),
            recheck: Duration::from_secs(15),
        }
    }
}

/// The open streams of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: StreamLimits,
    shutdown: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    users: HashMap<(String, String), usize>,
    /// How many were opened so far.
    number: u64,
}

impl Streams {
    /// No streams yet; all end when `shutdown` is cancelled.
    pub fn new(limits: StreamLimits, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Shared { limits, shutdown, open: Mutex::default() }))
    }

    /// A place for one more stream of the caller.
    ///
    /// # Errors
    /// 429 when the user has too many, 503 when the process has, or stops.
    pub fn open(&self, caller: &Caller) -> Result<Slot, ApiError> {
        let key = (caller.tenant.tenant_id.clone(), caller.username.clone());
        let slot = self.take(key, caller.expires_at())?;
        if self.0.shutdown.is_cancelled() {
            return Err(ApiError::Unavailable("The service restarts; open the stream again."));
        }
        Ok(slot)
    }

    fn take(&self, key: (String, String), expires_at: SystemTime) -> Result<Slot, ApiError> {
        let limits = self.0.limits;
        let mut open = self.0.open();
        let of_user = open.users.get(&key).copied().unwrap_or(0);
        if of_user >= limits.per_user {
            return Err(ApiError::TooManyStreams { open: of_user });
        }
        if open.total >= limits.total {
            return Err(ApiError::Unavailable(
                "The service carries as many streams as it may; try again later, or ask without a stream.",
            ));
        }
        open.users.insert(key.clone(), of_user + 1);
        open.total += 1;
        open.number += 1;
        let (shared, number) = (Arc::clone(&self.0), open.number);
        Ok(Slot { shared, key, expires_at, number, _counted: metrics::stream() })
    }

    /// What holds for them.
    pub fn limits(&self) -> StreamLimits {
        self.0.limits
    }

    /// How many streams are open.
    pub fn count(&self) -> usize {
        self.0.open().total
    }
}

impl Shared {
    /// Counting cannot stop half way.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one open stream; it ends with the stream.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    key: (String, String),
    expires_at: SystemTime,
    number: u64,
    _counted: Present,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.total = open.total.saturating_sub(1);
        match open.users.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.users.remove(&self.key)),
        }
    }
}

impl Slot {
    /// The answer: a stream of what the producer sends. HEAD gets its headers, and no producer runs.
    pub fn stream<P, F>(self, request: &HttpRequest, produce: P) -> HttpResponse
    where
        P: FnOnce(Output) -> F,
        F: Future<Output = End> + 'static,
    {
        let mut answer = HttpResponse::Ok();
        answer
            .insert_header((CONTENT_TYPE, "text/event-stream"))
            .insert_header((CACHE_CONTROL, "no-store, no-transform"))
            // Asks nginx and what is like it not to collect the answer first.
            .insert_header(("X-Accel-Buffering", "no"));
        if request.method() == Method::HEAD {
            return answer.finish();
        }
        let (sender, events) = mpsc::channel(WAITING);
        let position = Rc::new(RefCell::new(None));
        let output = Output { sender, position: Rc::clone(&position) };
        let peer = request.conn_data::<peer::Peer>().cloned();
        answer.streaming(body::Body::new(self, Box::pin(produce(output)), events, position, peer))
    }

    /// How long the stream may last, and why not longer.
    fn end(&self) -> (Duration, End) {
        let left = self.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        let lifetime = self.shared.limits.lifetime;
        if left <= lifetime { (left, End::TOKEN_EXPIRED) } else { (lifetime, End::LIFETIME) }
    }

    /// Milliseconds after which a client comes back when the stream breaks: not all at the same moment.
    fn retry_ms(&self) -> u64 {
        1000 + self.number * 617 % 2000
    }
}

/// Where a producer sends its events.
#[derive(Debug)]
pub struct Output {
    sender: mpsc::Sender<Event>,
    position: Rc<RefCell<Option<String>>>,
}

impl Output {
    /// Sends an event; waits while the client is slower than the events come.
    pub async fn send(&self, event: Event) {
        // The receiver and this future are parts of one body and are dropped together.
        let _gone = self.sender.send(event).await;
    }

    /// Notes that everything up to `id` was looked at, although nothing of it was to be sent. The next heartbeat tells
    /// the client, so that it need not begin where the last event was.
    pub fn position(&self, id: String) {
        *self.position.borrow_mut() = Some(id);
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    name: &'static str,
    id: Option<String>,
    data: String,
}

impl Event {
    /// An event of this name without data.
    pub fn new(name: &'static str) -> Self {
        Self { name, id: None, data: String::new() }
    }

    /// The id that a client names to go on after this event: one line.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Text; every kind of line end in it arrives as a line feed.
    #[must_use]
    pub fn data(self, data: impl Into<String>) -> Self {
        Self { data: data.into(), ..self }
    }

    /// A value as JSON.
    #[must_use]
    pub fn json(self, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(data) => self.data(data),
            Err(error) => {
                tracing::error!(event = self.name, %error, "an event could not be written as JSON");
                self.data("null")
            }
        }
    }

    fn write(&self, text: &mut String) {
        if let Some(id) = &self.id {
            write_id(id, text);
        }
        for part in ["event: ", self.name, "\n"] {
            text.push_str(part);
        }
        for line in self.data.replace("\r\n", "\n").split(['\n', '\r']) {
            for part in ["data: ", line, "\n"] {
                text.push_str(part);
            }
        }
        text.push('\n');
    }
}

/// The line that sets the id; what would break the line, or what clients ignore, is left out.
fn write_id(id: &str, text: &mut String) {
    text.push_str("id: ");
    text.extend(id.chars().filter(|c| !matches!(c, '\n' | '\r' | '\0')));
    text.push('\n');
}

/// Why a stream ends: the last event, `end`, whose data is this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct End {
    reason: &'static str,
    message: &'static str,
}

impl End {
    /// There will be nothing more; coming back is of no use.
    pub const FINISHED: End = End::new("finished", "There is nothing more to come.");
    /// The process stops; another one goes on.
    pub const SHUTDOWN: End =
        End::new("shutdown", "The service restarts; come back with the last id as Last-Event-ID.");
    /// The token's time is over.
    pub const TOKEN_EXPIRED: End = End::new(
        "token_expired",
        "Your token has expired; come back with a new one and the last id as Last-Event-ID.",
    );
    /// The stream's time is over.
    pub const LIFETIME: End =
        End::new("lifetime", "A stream lasts a limited time; come back with the last id as Last-Event-ID.");
    /// What the stream is made from cannot be read.
    pub const UNAVAILABLE: End =
        End::new("unavailable", "The database cannot be read; come back with the last id as Last-Event-ID.");

    /// An administrator is none any more.
    pub const ROLE_WITHDRAWN: End = End::new(
        "role_withdrawn",
        "You do not hold the administrator role any more; come back without X-Pods-Admin.",
    );

    /// Another reason: a word for programs, a sentence for people.
    pub const fn new(reason: &'static str, message: &'static str) -> Self {
        Self { reason, message }
    }
}

/// The id after which a client wants to go on.
pub fn last_event_id(request: &HttpRequest) -> Option<&str> {
    let text = request.headers().get("last-event-id")?.to_str().ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// A moment in seconds since 1970.
pub(crate) fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(u64::from(u32::MAX) * 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(per_user: usize, total: usize) -> Streams {
        Streams::new(StreamLimits { per_user, total, ..StreamLimits::default() }, CancellationToken::new())
    }

    fn take(streams: &Streams, user: &str) -> Result<Slot, ApiError> {
        streams.take(("dev".to_owned(), user.to_owned()), moment(i64::MAX))
    }

    #[test]
    fn streams_are_counted_per_user_and_in_all() {
        let streams = streams(2, 3);
        let first = take(&streams, "ann").unwrap();
        let _second = take(&streams, "ann").unwrap();
        assert!(matches!(take(&streams, "ann"), Err(ApiError::TooManyStreams { open: 2 })));
        let _third = take(&streams, "bob").unwrap();
        assert!(matches!(take(&streams, "carl"), Err(ApiError::Unavailable(_))));
        drop(first);
        assert_eq!(streams.count(), 2);
        drop(take(&streams, "ann").unwrap());
        assert!(streams.0.open().users.len() == 2, "nobody is remembered who has none");
    }

    #[test]
    fn a_stream_ends_with_the_token_or_with_its_time() {
        let streams = streams(1, 1);
        let soon = SystemTime::now() + Duration::from_secs(60);
        let slot = streams.take(("dev".to_owned(), "ann".to_owned()), soon).unwrap();
        assert_eq!(slot.end().1, End::TOKEN_EXPIRED);
        assert!(slot.end().0 <= Duration::from_secs(60));
        drop(slot);
        assert_eq!(take(&streams, "ann").unwrap().end(), (Duration::from_secs(3600), End::LIFETIME));
        let over = streams.take(("dev".to_owned(), "ann".to_owned()), moment(-1)).unwrap();
        assert_eq!(over.end(), (Duration::ZERO, End::TOKEN_EXPIRED));
    }

    #[test]
    fn an_event_is_lines() {
        let mut text = String::new();
        Event::new("log").id("7\n-1").data("a\nb\r\nc\rd").write(&mut text);
        Event::new("pod").json(&["x\ny"]).write(&mut text);
        assert_eq!(
            text,
            "id: 7-1\nevent: log\ndata: a\ndata: b\ndata: c\ndata: d\n\nevent: pod\ndata: [\"x\\ny\"]\n\n"
        );
    }
}
