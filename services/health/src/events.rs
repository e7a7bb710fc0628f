//! What Kubernetes' events told about the Pods: heard from a watch that begins with the present, asked for only where
//! this process was not there to hear it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use pods_core::phases::moment;
use pods_kube::{
    client::call,
    events::{self, Probe, Told, What},
    observe::TakenAway,
};
use pods_runtime::shutdown::CancellationToken;
use tokio::time::timeout;

use crate::{
    queue::{Pusher, Trigger},
    view::View,
};

/// Pods that something is remembered of; beyond them the oldest is forgotten.
const REMEMBERED: usize = 20_000;
/// The API server ends a watch after this time.
const WATCH_SECONDS: u32 = 60;
/// One that is silent for longer and was not ended has a dead connection. Nothing else would notice that: the client
/// has no limit of its own for what it reads.
const SILENCE_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);
const PAUSE: Duration = Duration::from_secs(1);
/// Most events of one Pod that are asked for.
const ASKED: u32 = 100;
const ABOUT_PODS: &str = "involvedObject.kind=Pod";

/// What is known of one Pod from its events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// What keeps its container from being set up, if something does.
    pub setup: Option<Setup>,
    /// Whether its image is being pulled.
    pub pulling: bool,
    /// When its image was there.
    pub pulled: Option<DateTime<Utc>>,
    /// Why its image could not be pulled the last time.
    pub pull_failed: Option<String>,
    /// The newest probe that failed, and what it answered.
    pub unhealthy: Option<(Probe, String)>,
    /// The newest probe that failed and whose failing ends the container.
    pub failing: Option<Probe>,
    /// The probe because of which the container is ended.
    pub ended_by: Option<Probe>,
    /// What takes it away.
    pub taken: Option<(TakenAway, String)>,
    /// Whether Kubernetes was asked for what was said before this process listened.
    pub asked: bool,
}

/// What keeps a container from being set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// A volume cannot be mounted.
    Mount(String),
    /// The sandbox cannot be made.
    Sandbox(String),
}

impl Note {
    /// Notes what was told; whether a decision may depend on it.
    fn hear(&mut self, told: &Told, now: DateTime<Utc>) -> bool {
        let before = self.clone();
        match &told.what {
            What::Progress => self.setup = None,
            What::Pulling => (self.setup, self.pulling) = (None, true),
            What::Pulled => {
                (self.setup, self.pulling, self.pull_failed) = (None, false, None);
                self.pulled = self.pulled.or(Some(moment(told.at, now)));
            }
            What::PullFailed(why) => (self.pulling, self.pull_failed) = (false, Some(why.clone())),
            What::MountFailed(why) => self.setup = Some(Setup::Mount(why.clone())),
            What::SandboxFailed(why) => self.setup = Some(Setup::Sandbox(why.clone())),
            What::Unhealthy { probe, message } => {
                self.unhealthy = Some((*probe, message.clone()));
                self.failing = Some(*probe).filter(|probe| *probe != Probe::Readiness).or(self.failing);
            }
            What::ProbeEnds(probe) => self.ended_by = Some(*probe),
            // A kubelet ends a container for a probe, or because the Pod is deleted, evicted or over its deadline, which
            // its status says. It does not say which where the container is not to be started again.
            What::Ends => self.ended_by = self.ended_by.or(self.failing),
            What::Preempted(why) => self.taken = Some((TakenAway::Preempted, why.clone())),
            What::Evicted(why) => self.taken = Some((TakenAway::Evicted, why.clone())),
        }
        let probe = |note: &Self| note.unhealthy.as_ref().map(|(probe, _)| *probe);
        // That an image is pulled is seen when the row is looked at anyway; what a probe answers changes all the time.
        self.setup != before.setup
            || self.pull_failed != before.pull_failed
            || self.ended_by != before.ended_by
            || self.taken != before.taken
            || probe(self) != probe(&before)
            || (self.pulled.is_some() && before.pulled.is_none())
    }
}

/// What is known of all Pods, shared by all tasks.
#[derive(Clone, Default)]
pub struct Notes {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    of: HashMap<String, Note>,
    order: VecDeque<String>,
}

impl Inner {
    fn entry(&mut self, pod: &str) -> &mut Note {
        if !self.of.contains_key(pod) {
            while self.order.len() >= REMEMBERED {
                let Some(oldest) = self.order.pop_front() else { break };
                self.of.remove(&oldest);
            }
            self.order.push_back(pod.to_owned());
        }
        self.of.entry(pod.to_owned()).or_default()
    }
}

impl Notes {
    /// What is known of a Pod.
    pub fn of(&self, pod: &str) -> Note {
        self.lock().of.get(pod).cloned().unwrap_or_default()
    }

    fn hear(&self, told: &Told, now: DateTime<Utc>) -> bool {
        self.lock().entry(&told.pod).hear(told, now)
    }

    /// Asks Kubernetes what it told about a Pod before this process listened; once for each Pod. A question without an
    /// answer is asked again.
    pub async fn ask(&self, api: &Api<Event>, pod: &str) -> Note {
        if self.of(pod).asked {
            return self.of(pod);
        }
        let about = format!("{ABOUT_PODS},involvedObject.name={pod}");
        if let Ok(found) = call(api.list(&ListParams::default().fields(&about).limit(ASKED))).await {
            let mut told: Vec<Told> = found.items.iter().filter_map(events::read).collect();
            told.sort_by_key(|told| told.at);
            let mut inner = self.lock();
            let note = inner.entry(pod);
            note.asked = true;
            for told in told.iter().filter(|told| told.pod == pod) {
                note.hear(told, told.at.unwrap_or_default());
            }
        }
        self.of(pod)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything can panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for ever and pushes every row about whose Pod something was told that matters. What happened before is
/// not listed: there may be very much of it.
pub async fn watch(
    api: Api<Event>,
    notes: Notes,
    view: View,
    queue: Pusher,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut from: Option<String> = None;
    let mut failing = false;
    loop {
        let listened = tokio::select! {
            listened = listen(&api, &mut from, &notes, &view, &queue) => listened,
            () = shutdown.cancelled() => return Ok(()),
        };
        match listened {
            Ok(()) => failing = false,
            Err(error) => {
                from = None;
                if !std::mem::replace(&mut failing, true) {
                    crate::metrics::watch_broke("events");
                    tracing::debug!(error = format!("{error:#}"), "the watch of events broke");
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        }
    }
}

/// Listens until the watch ends; `from` is where to go on.
async fn listen(
    api: &Api<Event>,
    from: &mut Option<String>,
    notes: &Notes,
    view: &View,
    queue: &Pusher,
) -> anyhow::Result<()> {
    let version = match from.take() {
        Some(version) => version,
        None => {
            let present = ListParams::default().fields(ABOUT_PODS).limit(1);
            call(api.list(&present)).await?.metadata.resource_version.unwrap_or_default()
        }
    };
    let mut newest = version.clone();
    let params = WatchParams::default().fields(ABOUT_PODS).timeout(WATCH_SECONDS);
    let stream = call(api.watch(&params, &version)).await?;
    futures::pin_mut!(stream);
    while let Some(item) = next(&mut stream).await? {
        match item {
            WatchEvent::Added(event) | WatchEvent::Modified(event) => {
                if let Some(version) = &event.metadata.resource_version {
                    newest.clone_from(version);
                }
                if let Some(told) = events::read(&event)
                    && notes.hear(&told, Utc::now())
                    && let Some(uid) = view.uid_of(&told.pod)
                {
                    queue.push(uid, Trigger::CHANGED);
                }
            }
            WatchEvent::Bookmark(bookmark) => newest.clone_from(&bookmark.metadata.resource_version),
            WatchEvent::Deleted(_) => {}
            WatchEvent::Error(status) => anyhow::bail!("{}", status.message),
        }
    }
    *from = Some(newest);
    Ok(())
}

/// What comes next; `None` when the API server has ended the watch.
async fn next<T>(stream: &mut (impl Stream<Item = kube::Result<T>> + Unpin)) -> anyhow::Result<Option<T>> {
    Ok(timeout(SILENCE_LIMIT, stream.try_next()).await.context("the watch is silent")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dead_connection_is_not_waited_for_for_ever() {
        let mut dead = futures::stream::pending::<kube::Result<()>>();
        assert!(next(&mut dead).await.is_err());
        assert!(next(&mut futures::stream::empty::<kube::Result<()>>()).await.unwrap().is_none());
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + seconds, 0).unwrap()
    }

    fn told(pod: &str, what: What) -> Told {
        Told { pod: pod.to_owned(), at: Some(at(0)), what }
    }

    #[test]
    fn only_news_that_matters_makes_a_row_be_looked_at() {
        let notes = Notes::default();
        let hear = |what| notes.hear(&told("p", what), at(0));
        assert!(!hear(What::Progress) && !hear(What::Pulling));
        assert!(hear(What::MountFailed("a".into())));
        assert!(!hear(What::MountFailed("a".into())), "Kubernetes repeats itself");
        assert!(hear(What::Progress), "what kept it is over");
        assert!(hear(What::Unhealthy { probe: Probe::Readiness, message: "a".into() }));
        assert!(!hear(What::Unhealthy { probe: Probe::Readiness, message: "b".into() }));
        assert!(hear(What::ProbeEnds(Probe::Liveness)));
        assert!(!hear(What::Ends), "the cause is known");
        assert!(hear(What::Pulled) && !hear(What::Pulled));
        let note = notes.of("p");
        assert_eq!((note.setup, note.pulled, note.ended_by), (None, Some(at(0)), Some(Probe::Liveness)));
    }

    #[test]
    fn a_container_that_is_ended_without_a_word_was_ended_by_the_probe_that_failed() {
        let of = |told_before: &[(Probe, &str)]| {
            let notes = Notes::default();
            for (probe, message) in told_before {
                let what = What::Unhealthy { probe: *probe, message: (*message).to_owned() };
                notes.hear(&told("p", what), at(0));
            }
            notes.hear(&told("p", What::Ends), at(1));
            notes.of("p").ended_by
        };
        assert_eq!(of(&[(Probe::Liveness, "a")]), Some(Probe::Liveness));
        assert_eq!(of(&[(Probe::Startup, "a"), (Probe::Liveness, "b")]), Some(Probe::Liveness));
        assert_eq!(of(&[(Probe::Liveness, "a"), (Probe::Readiness, "b")]), Some(Probe::Liveness));
        assert_eq!(of(&[(Probe::Readiness, "a")]), None, "a readiness probe ends nothing");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let notes = Notes::default();
        for number in 0..=REMEMBERED {
            notes.hear(&told(&number.to_string(), What::Pulling), at(0));
        }
        assert_eq!((notes.of("0"), notes.of("1").pulling), (Note::default(), true));
        assert_eq!(notes.lock().of.len(), REMEMBERED);
    }
}
