//! The cluster as its clients meet it: state, faults of calls, and whether it can be reached.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::{sync::watch, time::Instant};

use crate::{
    refusal::Refusal,
    state::{Mode, State},
};

/// What a call meets.
#[derive(Debug, Clone)]
pub enum Effect {
    /// It is answered with this and has no effect.
    Status(Refusal),
    /// The connection breaks before it has an effect.
    Drop,
    /// It takes effect, but its answer is lost.
    AnswerLost,
    /// It takes longer.
    Delay(Duration),
}

/// Which calls meet a fault, and how many of them.
#[derive(Debug, Clone)]
pub struct CallFault {
    /// GET (lists and watches too), LIST, WATCH, POST, PATCH, PUT or DELETE.
    pub method: String,
    /// The kind, as in paths.
    pub kind: String,
    /// Only calls about this object.
    pub name: Option<String>,
    /// How many calls are left to meet it.
    pub left: usize,
    /// What they meet.
    pub effect: Effect,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// GET, POST, PATCH, PUT or DELETE.
    pub method: String,
    /// The kind, as in paths.
    pub kind: String,
    /// The object's name; of a create too.
    pub name: String,
}

pub(crate) type Hook = Arc<dyn Fn(&Call) + Send + Sync>;

pub(crate) struct Shared {
    state: Mutex<State>,
    pub faults: Mutex<Vec<CallFault>>,
    /// The calls themselves, for tests that ask for them.
    pub calls: Option<Mutex<Vec<Call>>>,
    /// Paths of the requests that broke because the API server could not be reached, for the same tests.
    pub unreached: Mutex<Vec<String>>,
    pub counts: Mutex<BTreeMap<String, u64>>,
    pub hook: Mutex<Option<Hook>>,
    pub reachable: watch::Sender<bool>,
    /// Counts how often watches were cut, by kind; an empty kind is all of them.
    pub cuts: watch::Sender<(u64, String)>,
    pub watches: AtomicI64,
    pub log_streams: AtomicI64,
}

/// A scripted cluster; clones share it.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// What breaks a connection.
#[derive(Debug, thiserror::Error)]
#[error("the scripted cluster broke the connection")]
pub struct Broken;

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, Broken>;
/// An answer, or a broken connection.
pub type Answered = Result<Response<AnswerBody>, Broken>;

impl Cluster {
    /// An empty cluster. `remember_calls`: keep every call, for a test that asks for them.
    pub fn new(mode: Mode, remember_calls: bool) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(mode)),
            faults: Mutex::default(),
            calls: remember_calls.then(Mutex::default),
            unreached: Mutex::default(),
            counts: Mutex::default(),
            hook: Mutex::default(),
            reachable: watch::Sender::new(true),
            cuts: watch::Sender::new((0, String::new())),
            watches: AtomicI64::new(0),
            log_streams: AtomicI64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Everything that the cluster holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Whether the API server can be reached. Open connections break off when it cannot.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.reachable.send_replace(reachable);
    }

    /// Cuts the open watches of a kind, or all of them. `gone`: whoever resumes has to list again.
    pub fn cut_watches(&self, kind: &str, gone: bool) {
        if gone {
            let mut state = self.state();
            let resources: Vec<_> = state.store.tables().iter().map(|table| table.resource).collect();
            for resource in resources.into_iter().filter(|r| kind.is_empty() || r.plural == kind) {
                state.store.table_mut(resource).compact();
            }
        }
        self.shared.cuts.send_modify(|(count, what)| {
            *count += 1;
            kind.clone_into(what);
        });
    }

    /// The next calls of a kind meet a fault.
    pub fn add_fault(&self, fault: CallFault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Moves the clock for ever.
    pub async fn run(self) {
        /// Steps between two chances for requests to be answered.
        const STEPS: usize = 64;
        let sooner = Arc::clone(&self.state().sooner);
        loop {
            let next = {
                let mut state = self.state();
                state.tick(Instant::now(), STEPS);
                state.next()
            };
            tokio::task::yield_now().await;
            match next {
                Some(at) if at <= Instant::now() => {}
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = sooner.notified() => {}
                    }
                }
                None => sooner.notified().await,
            }
        }
    }
}

/// Counts something while it exists.
pub(crate) struct Open {
    shared: Arc<Shared>,
    of: fn(&Shared) -> &AtomicI64,
}

impl Open {
    pub fn new(shared: &Arc<Shared>, of: fn(&Shared) -> &AtomicI64) -> Self {
        of(shared).fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), of }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.of)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
