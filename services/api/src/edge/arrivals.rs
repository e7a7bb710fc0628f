//! When the proxy learned the way to a pod: the last phase of a start.
//!
//! A pod that runs is expected; the next document holds its route; once the proxy has fetched that document, or a later
//! one, the pod has arrived. What has arrived is written in batches, and while Postgres is away it is kept.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use pods_core::phases::{Phase, Phases};
use pods_db::{Db, instances};
use pods_runtime::shutdown::CancellationToken;
use tokio::sync::Notify;
use uuid::Uuid;

/// Arrivals that come closer together are written together.
const PAUSE: Duration = Duration::from_millis(300);
const RETRY: Duration = Duration::from_secs(5);
/// More are not remembered; the phase is then missing.
const MOST: usize = 20_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Arrivals {
    inner: Mutex<Inner>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    expected: HashSet<Uuid>,
    /// By the number of the document.
    published: HashMap<Uuid, u64>,
    arrived: HashMap<Uuid, DateTime<Utc>>,
}

impl Arrivals {
    /// The next document leads to these pods.
    pub(super) fn expect(&self, pods: impl Iterator<Item = Uuid>) {
        let mut inner = self.lock();
        for uid in pods {
            if inner.expected.len() < MOST {
                inner.expected.insert(uid);
            }
        }
    }

    /// The document of this number leads to everything that is expected.
    pub(super) fn published(&self, document: u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        for uid in inner.expected.drain() {
            if inner.published.len() < MOST {
                inner.published.entry(uid).or_insert(document);
            }
        }
    }

    /// The proxy was given the document of this number.
    pub(super) fn given(&self, document: u64) {
        let now = Utc::now();
        let mut inner = self.lock();
        let inner = &mut *inner;
        let before = inner.arrived.len();
        inner.published.retain(|uid, published| {
            let arrives = *published <= document;
            if arrives {
                inner.arrived.entry(*uid).or_insert(now);
            }
            !arrives
        });
        if inner.arrived.len() > before {
            self.some.notify_one();
        }
    }

    fn take(&self) -> HashMap<Uuid, DateTime<Utc>> {
        std::mem::take(&mut self.lock().arrived)
    }

    fn put_back(&self, arrived: HashMap<Uuid, DateTime<Utc>>) {
        let mut inner = self.lock();
        for (uid, at) in arrived {
            if inner.arrived.len() < MOST {
                inner.arrived.insert(uid, at);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes arrivals down for ever.
///
/// # Errors
/// None; the type is what the supervisor expects.
pub async fn record(
    board: std::sync::Arc<super::board::Board>,
    db: Db,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let arrivals = board.arrivals();
    let mut pause = PAUSE;
    loop {
        tokio::select! {
            () = arrivals.some.notified() => {}
            // What could not be written is tried again.
            () = tokio::time::sleep(RETRY), if pause == RETRY => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tokio::time::sleep(PAUSE).await;
        pause = match write(&db, arrivals).await {
            Ok(()) => PAUSE,
            Err(error) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "arrivals of pods were not written, trying again"
                );
                RETRY
            }
        };
    }
}

async fn write(db: &Db, arrivals: &Arrivals) -> anyhow::Result<()> {
    let arrived = arrivals.take();
    // Usually all of one fetch, so that the newest time is that of each.
    let Some(at) = arrived.values().max().copied() else { return Ok(()) };
    let pods: Vec<Uuid> = arrived.keys().copied().collect();
    let written = async {
        let mut conn = db.get().await?;
        for start in instances::note_routed(&mut conn, &pods, at).await? {
            let phases = Phases::at(Phase::Routed, at);
            pods_db::metrics::start_reached(&start.template, start.accepted, &phases);
        }
        anyhow::Ok(())
    };
    let result = written.await;
    if result.is_err() {
        arrivals.put_back(arrived);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_arrives_with_the_document_that_has_its_route() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let arrivals = Arrivals::default();
        arrivals.expect([first].into_iter());
        arrivals.given(9);
        assert!(arrivals.take().is_empty(), "no document has its route yet");
        arrivals.published(10);
        arrivals.expect([second].into_iter());
        arrivals.published(11);
        arrivals.given(9);
        assert!(arrivals.take().is_empty(), "an older document was fetched");
        arrivals.given(10);
        assert_eq!(arrivals.take().into_keys().collect::<Vec<_>>(), [first]);
        arrivals.given(12);
        assert_eq!(arrivals.take().into_keys().collect::<Vec<_>>(), [second]);
        arrivals.given(12);
        assert!(arrivals.take().is_empty(), "once");
    }

    #[test]
    fn what_could_not_be_written_is_kept() {
        let arrivals = Arrivals::default();
        arrivals.expect([Uuid::nil()].into_iter());
        arrivals.published(1);
        arrivals.given(1);
        let arrived = arrivals.take();
        arrivals.put_back(arrived.clone());
        assert_eq!(arrivals.take(), arrived);
    }
}
