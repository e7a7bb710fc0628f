//! Answers that go on: watches and logs.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    answer::refuse,
    cluster::{Answered, Broken, Cluster, Open},
    log::{Log, without_times},
    object::Object,
    refusal::Refusal,
    resource::Resource,
    route::Target,
    selector::Selector,
    table::{Action, Change},
};

/// Largest piece of an answer.
const PIECE: usize = 256 * 1024;
/// Between two bookmarks of a watch on which nothing happens.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);

/// A watch.
struct Watch {
    cluster: Cluster,
    resource: &'static Resource,
    namespace: String,
    selector: Selector,
    partial: bool,
    bookmarks: bool,
    /// Everything up to this version was sent.
    seen: u64,
    /// Objects that are sent before the changes.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// Set while the end of the initial objects is still to be announced.
    announce: bool,
    changed: watch::Receiver<u64>,
    ends_at: Option<Instant>,
    interruption: Interruption,
    done: bool,
    _open: Open,
}

/// What breaks an open answer off.
struct Interruption {
    reachable: watch::Receiver<bool>,
    cuts: watch::Receiver<(u64, String)>,
}

impl Interruption {
    fn new(cluster: &Cluster) -> Self {
        let mut cuts = cluster.shared.cuts.subscribe();
        cuts.mark_unchanged();
        Self { reachable: cluster.shared.reachable.subscribe(), cuts }
    }

    /// Waits until the answer of this kind is to be broken off.
    async fn wait(&mut self, kind: &str) {
        let Self { reachable, cuts } = self;
        let cut = async {
            while cuts.changed().await.is_ok() {
                let what = cuts.borrow_and_update().1.clone();
                if what.is_empty() || what == kind {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            _ = reachable.wait_for(|reachable| !reachable) => {}
            () = cut => {}
        }
    }
}

/// Answers a watch.
pub fn watch(cluster: &Cluster, target: &Target, partial: bool) -> Answered {
    let selector = match Selector::parse(target.get("labelSelector"), target.get("fieldSelector")) {
        Ok(selector) => selector,
        Err(refusal) => return refuse(&refusal),
    };
    // A watch of one object, as older clients ask for it.
    let selector = match target.name.as_str() {
        "" => selector,
        name => match Selector::parse(target.get("labelSelector"), &format!("metadata.name={name}")) {
            Ok(selector) => selector,
            Err(refusal) => return refuse(&refusal),
        },
    };
    let state = cluster.state();
    let table = state.store.table(target.resource);
    let from = target.get("resourceVersion");
    let stream_list = target.asks("sendInitialEvents");
    let anew = from.is_empty() || from == "0" || stream_list;
    let initial: Vec<Arc<Object>> =
        if anew { table.select(&target.namespace, &selector, "").cloned().collect() } else { Vec::new() };
    let Ok(seen) = (if anew { Ok(state.store.version) } else { from.parse::<u64>() }) else {
        return refuse(&Refusal::bad_request(format!("resourceVersion: Invalid value: \"{from}\"")));
    };
    let changed = table.changed.subscribe();
    drop(state);
    let seconds: Option<u64> = target.get("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0);
    let watch = Watch {
        cluster: cluster.clone(),
        resource: target.resource,
        namespace: target.namespace.clone(),
        selector,
        partial,
        bookmarks: target.asks("allowWatchBookmarks"),
        seen,
        initial: initial.into_iter(),
        announce: stream_list,
        changed,
        ends_at: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        interruption: Interruption::new(cluster),
        done: false,
        _open: Open::new(&cluster.shared, |shared| &shared.watches),
    };
    respond(stream::unfold(watch, |mut watch| async move {
        let frame = watch.next().await?;
        Some((frame.map(Frame::data), watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            if self.done {
                return None;
            }
            self.changed.mark_unchanged();
            let piece = self.piece();
            if !piece.is_empty() {
                return Some(Ok(piece));
            }
            let bookmark = tokio::time::sleep(BOOKMARK_EVERY);
            let end = async {
                match self.ends_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.interruption.wait(self.resource.plural) => {
                    self.done = true;
                    return Some(Err(Broken));
                }
                () = end => return None,
                changed = self.changed.changed() => changed.ok()?,
                () = bookmark, if self.bookmarks => {
                    let version = self.cluster.state().store.version;
                    self.seen = self.seen.max(version);
                    return Some(Ok(self.bookmark(false)));
                }
            }
        }
    }

    /// What is to be sent now; empty when there is nothing.
    fn piece(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while out.len() < PIECE
            && let Some(object) = self.initial.next()
        {
            self.write(&mut out, "ADDED", &object);
        }
        if self.initial.len() > 0 {
            return out.freeze();
        }
        if std::mem::take(&mut self.announce) {
            out.put_slice(&self.bookmark(true));
        }
        let cluster = self.cluster.clone();
        let state = cluster.state();
        let table = state.store.table(self.resource);
        if self.seen < table.compacted {
            let error = json!({"type": "ERROR", "object": Refusal::expired(table.compacted).status()});
            out.put_slice(format!("{error}\n").as_bytes());
            self.done = true;
            return out.freeze();
        }
        let mut all = true;
        for change in table.since(self.seen) {
            if out.len() >= PIECE {
                all = false;
                break;
            }
            self.seen = change.version;
            if let Some(action) = self.concerns(change) {
                self.write(&mut out, action, &change.object);
            }
        }
        if all {
            self.seen = self.seen.max(state.store.version);
        }
        out.freeze()
    }

    /// What a change is for this selector: an object may come into it or leave it.
    fn concerns(&self, change: &Change) -> Option<&'static str> {
        if !self.namespace.is_empty() && change.object.namespace() != self.namespace {
            return None;
        }
        let was = change.before.as_ref().is_some_and(|before| self.selector.matches(before));
        let is = change.action != Action::Deleted && self.selector.matches(&change.object);
        match (was, is) {
            (false, false) => None,
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
        }
    }

    fn write(&self, out: &mut BytesMut, action: &str, object: &Object) {
        out.put_slice(format!("{{\"type\":\"{action}\",\"object\":").as_bytes());
        if self.partial {
            out.put_slice(&object.metadata_only());
        } else {
            out.put_slice(&object.json);
        }
        out.put_slice(b"}\n");
    }

    fn bookmark(&self, initial: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": self.seen.to_string()});
        if initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({
            "apiVersion": self.resource.api_version(), "kind": self.resource.kind, "metadata": meta,
        });
        match self.resource.plural {
            "pods" | "services" | "nodes" => object["spec"] = json!({"containers": []}),
            // Some clients read an event even of a bookmark.
            "events" => object["involvedObject"] = json!({}),
            _ => {}
        }
        format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
    }
}

/// A log that is read.
struct Reading {
    log: Log,
    place: u64,
    follow: bool,
    times: bool,
    left: usize,
    changed: watch::Receiver<()>,
    interruption: Interruption,
    done: bool,
    _open: Open,
}

/// Answers a log.
pub fn log(cluster: &Cluster, target: &Target) -> Answered {
    let found = {
        let mut state = cluster.state();
        let pod = state.store.get(target.resource, &target.namespace, &target.name);
        pod.map(|pod| (pod, state.log(&target.namespace, &target.name).unwrap_or_default()))
    };
    let (pod, log) = match found {
        Ok(found) => found,
        Err(refusal) => return refuse(&refusal),
    };
    if let Some(refusal) = unreadable(&pod.value(), target) {
        return refuse(&refusal);
    }
    let tail = target.query.get("tailLines").and_then(|lines| lines.parse().ok());
    let limit = target.query.get("limitBytes").and_then(|bytes| bytes.parse().ok());
    let reading = Reading {
        place: log.start(&since(target), tail),
        changed: log.changes(),
        log,
        follow: target.asks("follow"),
        times: target.asks("timestamps"),
        left: limit.unwrap_or(usize::MAX),
        interruption: Interruption::new(cluster),
        done: false,
        _open: Open::new(&cluster.shared, |shared| &shared.log_streams),
    };
    respond(stream::unfold(reading, |mut reading| async move {
        let frame = reading.next().await?;
        Some((frame.map(Frame::data), reading))
    }))
}

/// Why there is no log, in the API server's words.
fn unreadable(pod: &Value, target: &Target) -> Option<Refusal> {
    if target.asks("previous") {
        return Some(Refusal::bad_request(format!(
            "previous terminated container in pod \"{}\" not found",
            target.name
        )));
    }
    let status = &pod["status"]["containerStatuses"][0];
    let waiting = &status["state"]["waiting"];
    if waiting.is_object() || status.is_null() {
        let name = status["name"].as_str().unwrap_or("container");
        let reason = waiting["reason"].as_str().unwrap_or("ContainerCreating");
        return Some(Refusal::bad_request(format!(
            "container \"{name}\" in pod \"{}\" is waiting to start: {reason}",
            target.name
        )));
    }
    None
}

fn since(target: &Target) -> String {
    match target.get("sinceSeconds").parse::<i64>() {
        Ok(seconds) => {
            let at = chrono::Utc::now() - chrono::TimeDelta::seconds(seconds);
            at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        }
        Err(_) => target.get("sinceTime").to_owned(),
    }
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            if self.done {
                return None;
            }
            self.changed.mark_unchanged();
            let mut piece = self.log.read(&mut self.place, PIECE);
            let drained = piece.bytes.is_empty();
            self.done = piece.ended || (!self.follow && drained);
            if !drained {
                if !self.times {
                    piece.bytes = without_times(&piece.bytes);
                }
                piece.bytes.truncate(self.left);
                self.left -= piece.bytes.len();
                self.done |= self.left == 0;
                return Some(Ok(piece.bytes.into()));
            }
            if self.done {
                return None;
            }
            tokio::select! {
                biased;
                () = self.interruption.wait("logs") => {
                    self.done = true;
                    return Some(Err(Broken));
                }
                changed = self.changed.changed() => changed.ok()?,
            }
        }
    }
}

fn respond(frames: impl futures::Stream<Item = Result<Frame<Bytes>, Broken>> + Send + 'static) -> Answered {
    Response::builder()
        .status(200)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(StreamBody::new(frames).boxed_unsync())
        .map_err(|_| Broken)
}
