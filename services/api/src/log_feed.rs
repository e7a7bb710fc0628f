//! Which logs have grown: one connection listens for the whole process, and everyone who follows a log is woken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pods_db::{
    listen::{self, Notice},
    logs::CHANNEL,
};
use pods_runtime::shutdown::CancellationToken;
use tokio::sync::watch;
use uuid::Uuid;

/// The logs that somebody follows; cheap to clone. The entry of a pod goes when nobody follows it any more.
#[derive(Debug, Clone, Default)]
pub struct LogFeed {
    followed: Arc<Mutex<HashMap<Uuid, watch::Sender<()>>>>,
}

impl LogFeed {
    /// Wakes whenever the log of the pod has grown, or may have.
    pub fn follow(&self, pod: Uuid) -> Growth {
        let receiver = self.lock().entry(pod).or_insert_with(|| watch::Sender::new(())).subscribe();
        Growth { feed: self.clone(), pod, receiver }
    }

    /// Listens for ever.
    ///
    /// # Errors
    /// Never; it ends when the token is cancelled.
    pub async fn run(self, url: String, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut heard = listen::messages(&url, CHANNEL);
        loop {
            let notice = tokio::select! {
                Some(notice) = heard.recv() => notice,
                () = shutdown.cancelled() => return Ok(()),
            };
            let followed = self.lock();
            match notice {
                Notice::Connected => followed.values().for_each(|sender| sender.send_replace(())),
                Notice::Message(pods) => pods
                    .split(',')
                    .filter_map(|pod| followed.get(&Uuid::try_parse(pod).ok()?))
                    .for_each(|sender| sender.send_replace(())),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<()>>> {
        // Every change under the lock is complete before anything can panic.
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when a log has grown.
#[derive(Debug)]
pub struct Growth {
    feed: LogFeed,
    pod: Uuid,
    receiver: watch::Receiver<()>,
}

impl Growth {
    /// Waits until it has grown since the last time.
    pub async fn grown(&mut self) {
        // The sender lives as long as there is a receiver.
        let _ended = self.receiver.changed().await;
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        let mut followed = self.feed.lock();
        // This receiver is still one of them.
        if followed.get(&self.pod).is_some_and(|sender| sender.receiver_count() <= 1) {
            followed.remove(&self.pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_nobody_follows_is_forgotten() {
        let feed = LogFeed::default();
        let pod = Uuid::from_u128(1);
        let (one, two) = (feed.follow(pod), feed.follow(pod));
        drop(one);
        assert_eq!(feed.lock().len(), 1);
        drop(two);
        assert_eq!(feed.lock().len(), 0);
    }
}
