//! The stream of events of a process: one reader of the change feed for all its subscribers.
//!
//! [`reader`] reads the feed while anybody subscribes, looks up the changed pods and who may read them in one statement
//! each, and hands every [`Entry`] to those who may see it. A burst of changes costs what it is large, whoever listens.
//! A subscriber that does not keep up loses its subscription, not an entry: it reads what it missed from the feed
//! ([`follow`]), as one that comes back with the id of its last event does.

pub mod entry;
pub mod follow;
pub mod reader;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pods_db::changes::Cursor;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch};

use crate::error::ApiError;
use entry::Entry;

/// Entries that may wait for a subscriber.
const WAITING: usize = 256;
/// Pages of what subscribers missed that are read at once.
const READERS: usize = 2;
/// How long a first subscriber waits for the reader.
const READER_LIMIT: Duration = Duration::from_secs(3);

/// Who watches, and what.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The tenant of the request.
    pub tenant_id: String,
    /// The user who sees what is readable for it; `None` sees everything, as an administrator.
    pub username: Option<String>,
    /// Only these pods; `None` is all.
    pub pods: Option<HashSet<String>>,
}

impl Viewer {
    /// Whether an entry is for this viewer.
    pub fn sees(&self, entry: &Entry) -> bool {
        self.tenant_id == entry.tenant_id
            && self.selects(&entry.pod_id)
            && entry.is_for(self.username.as_deref())
    }

    /// Whether the viewer asked for this pod.
    pub fn selects(&self, pod_id: &str) -> bool {
        self.pods.as_ref().is_none_or(|pods| pods.contains(pod_id))
    }
}

/// The subscribers of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    subscribers: Mutex<Subscribers>,
    /// Up to where every entry was handed out; `None` while nobody reads.
    position: watch::Sender<Option<Cursor>>,
    /// Tells the reader that somebody came.
    wanted: Notify,
    /// Turns to read what was handed out before.
    readers: Semaphore,
}

#[derive(Debug, Default)]
struct Subscribers {
    number: u64,
    all: HashMap<u64, Subscriber>,
    tenants: HashMap<String, Audience>,
}

/// The subscribers of a tenant, by whom an entry is readable for.
#[derive(Debug, Default)]
struct Audience {
    administrators: HashSet<u64>,
    users: HashMap<String, HashSet<u64>>,
}

#[derive(Debug)]
struct Subscriber {
    viewer: Viewer,
    sender: mpsc::Sender<Message>,
}

/// What a subscriber is told.
#[derive(Debug, Clone)]
pub enum Message {
    /// Something that it may see.
    Entry(Arc<Entry>),
    /// Entries before this place are lost: what it knows must be read again.
    Resync(Cursor),
}

impl Default for Hub {
    fn default() -> Self {
        let (position, _) = watch::channel(None);
        Self(Arc::new(Shared {
            subscribers: Mutex::default(),
            position,
            wanted: Notify::new(),
            readers: Semaphore::new(READERS),
        }))
    }
}

impl Hub {
    /// A new subscription. It gets everything after [`Subscription::start`] that its viewer may see.
    ///
    /// # Errors
    /// 503 when the change feed cannot be read.
    pub async fn subscribe(&self, viewer: &Viewer) -> Result<Subscription, ApiError> {
        let mut position = self.0.position.subscribe();
        let (number, receiver) = self.subscribers().add(viewer);
        let mut subscription =
            Subscription { hub: self.clone(), number, start: Cursor { xid: 0, id: 0 }, receiver };
        self.0.wanted.notify_one();
        let begun = tokio::time::timeout(READER_LIMIT, position.wait_for(Option::is_some)).await;
        // What was handed out since the subscription was added is in its queue, and not after this place.
        subscription.start = begun
            .ok()
            .and_then(|known| known.ok().and_then(|cursor| *cursor))
            .ok_or(ApiError::Unavailable("The changes of pods cannot be read at the moment; try again."))?;
        Ok(subscription)
    }

    /// Up to where every entry was handed out.
    pub fn position(&self) -> Option<Cursor> {
        *self.0.position.borrow()
    }

    /// Waits for the turn to read a page of what was handed out before: those who come back share few connections.
    async fn turn_to_read(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.0.readers.acquire().await.map_err(|closed| ApiError::Internal(closed.into()))
    }

    /// How many subscriptions there are.
    pub fn count(&self) -> usize {
        self.subscribers().all.len()
    }

    /// Returns once somebody subscribes.
    async fn wanted(&self) {
        while self.count() == 0 {
            self.0.wanted.notified().await;
        }
    }

    /// Hands out what was read up to `position`.
    fn publish(&self, entries: Vec<Entry>, position: Cursor) {
        let mut subscribers = self.subscribers();
        for entry in entries {
            let numbers = subscribers.audience(&entry);
            let message = Message::Entry(Arc::new(entry));
            for number in numbers {
                subscribers.tell(number, message.clone());
            }
        }
        self.0.position.send_replace(Some(position));
    }

    /// Tells everybody that entries are lost, and goes on from `position`.
    fn resync(&self, position: Cursor) {
        let mut subscribers = self.subscribers();
        let numbers: Vec<u64> = subscribers.all.keys().copied().collect();
        for number in numbers {
            subscribers.tell(number, Message::Resync(position));
        }
        self.0.position.send_replace(Some(position));
    }

    /// Stops to read, unless somebody subscribes.
    fn rest(&self) -> bool {
        let subscribers = self.subscribers();
        let idle = subscribers.all.is_empty();
        if idle {
            self.0.position.send_replace(None);
        }
        idle
    }

    /// Each change of the subscribers is complete or, in the index, of a subscriber that does not exist.
    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscribers {
    fn add(&mut self, viewer: &Viewer) -> (u64, mpsc::Receiver<Message>) {
        self.number += 1;
        let (sender, receiver) = mpsc::channel(WAITING);
        let audience = self.tenants.entry(viewer.tenant_id.clone()).or_default();
        match &viewer.username {
            Some(username) => audience.users.entry(username.clone()).or_default().insert(self.number),
            None => audience.administrators.insert(self.number),
        };
        self.all.insert(self.number, Subscriber { viewer: viewer.clone(), sender });
        (self.number, receiver)
    }

    fn remove(&mut self, number: u64) {
        let Some(Subscriber { viewer, .. }) = self.all.remove(&number) else { return };
        let Some(audience) = self.tenants.get_mut(&viewer.tenant_id) else { return };
        match &viewer.username {
            Some(username) => {
                if let Some(numbers) = audience.users.get_mut(username) {
                    numbers.remove(&number);
                    if numbers.is_empty() {
                        audience.users.remove(username);
                    }
                }
            }
            None => drop(audience.administrators.remove(&number)),
        }
        if audience.users.is_empty() && audience.administrators.is_empty() {
            self.tenants.remove(&viewer.tenant_id);
        }
    }

    /// Who may see an entry and asked for it.
    fn audience(&self, entry: &Entry) -> Vec<u64> {
        let Some(audience) = self.tenants.get(&entry.tenant_id) else { return Vec::new() };
        let users = entry.readers.iter().filter_map(|username| audience.users.get(username)).flatten();
        users
            .chain(&audience.administrators)
            .copied()
            .filter(|number| self.all.get(number).is_some_and(|subscriber| subscriber.viewer.sees(entry)))
            .collect()
    }

    /// Whoever cannot take it is dropped, and finds that out when the queue is empty.
    fn tell(&mut self, number: u64, message: Message) {
        let told = self.all.get(&number).map(|subscriber| subscriber.sender.try_send(message));
        if matches!(told, Some(Err(_))) {
            self.remove(number);
        }
    }
}

/// See [`Hub::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    hub: Hub,
    number: u64,
    /// The place in the feed after which entries are received; some of those before may be too.
    pub start: Cursor,
    receiver: mpsc::Receiver<Message>,
}

impl Subscription {
    /// The next message; `None` when too many waited.
    pub async fn next(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.subscribers().remove(self.number);
    }
}

#[cfg(test)]
mod tests;
