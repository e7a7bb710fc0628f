//! Watches Kubernetes all the time: at no moment may two Pods of one pod exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use pods_kube::labels;
use tokio::task::JoinHandle;

/// Pods by the row that they belong to.
#[derive(Debug, Default)]
struct Seen {
    present: BTreeMap<String, BTreeSet<String>>,
    listed: Option<BTreeMap<String, BTreeSet<String>>>,
    doubled: Vec<String>,
}

/// The watch.
pub struct Doubles {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Doubles {
    /// Watches from now on.
    pub fn watch(pods: Api<Pod>) -> Self {
        let ours = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
        let stream = watcher::watcher(pods, watcher::Config::default().labels(&ours)).default_backoff();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let note = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut stream = stream.boxed();
            loop {
                // The API server is away now and then; the watcher comes back by itself.
                if let Ok(Some(event)) = stream.try_next().await {
                    note.lock().unwrap_or_else(PoisonError::into_inner).take(event);
                }
            }
        });
        Self { seen, task }
    }

    /// Pods that existed beside another one of the same pod.
    pub fn found(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).doubled.clone()
    }
}

impl Drop for Doubles {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Apply(pod) => {
                let (uid, name) = identity(&pod);
                let names = self.present.entry(uid).or_default();
                names.insert(name.clone());
                if names.len() > 1 {
                    let line = format!("{name} exists beside {names:?}");
                    // Every change of one of them is seen again.
                    if !self.doubled.iter().any(|known| known.starts_with(&name)) {
                        self.doubled.push(line);
                    }
                }
            }
            Event::Delete(pod) => {
                let (uid, name) = identity(&pod);
                if let Some(names) = self.present.get_mut(&uid) {
                    names.remove(&name);
                }
            }
            Event::Init => self.listed = Some(BTreeMap::new()),
            Event::InitApply(pod) => {
                let (uid, name) = identity(&pod);
                self.listed.get_or_insert_default().entry(uid).or_default().insert(name);
            }
            Event::InitDone => {
                self.present = self.listed.take().unwrap_or_default();
                let doubled = self.present.values().filter(|names| names.len() > 1);
                let lines = doubled.map(|names| format!("{names:?} exist at the same time"));
                let new: Vec<String> = lines.filter(|line| !self.doubled.contains(line)).collect();
                self.doubled.extend(new);
            }
        }
    }
}

fn identity(pod: &Pod) -> (String, String) {
    (pod.labels().get(labels::UID).cloned().unwrap_or_default(), pod.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, name: &str) -> Pod {
        let meta = serde_json::json!({ "metadata": { "name": name, "labels": { labels::UID: uid } } });
        serde_json::from_value(meta).unwrap()
    }

    #[test]
    fn two_at_once_are_found_and_one_after_the_other_is_not() {
        let mut seen = Seen::default();
        seen.take(Event::Apply(pod("a", "one")));
        seen.take(Event::Apply(pod("b", "other")));
        seen.take(Event::Delete(pod("a", "one")));
        seen.take(Event::Apply(pod("a", "two")));
        assert!(seen.doubled.is_empty(), "{:?}", seen.doubled);
        seen.take(Event::Apply(pod("a", "three")));
        seen.take(Event::Apply(pod("a", "three")));
        assert_eq!(seen.doubled.len(), 1);
        seen.take(Event::Init);
        seen.take(Event::InitApply(pod("c", "x")));
        seen.take(Event::InitDone);
        assert_eq!(seen.present.len(), 1, "what is not listed is gone");
    }
}
