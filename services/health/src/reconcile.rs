//! One look at one row: observe, decide, record.

mod act;
mod memory;
mod survey;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::Api;
use pods_core::{
    Status,
    phases::{Phase, Phases},
};
use pods_db::{Connection, Db, instances, pods::PodRow};
use pods_kube::observe::Observation;
use uuid::Uuid;

use crate::{
    decide::{self, Plan, Seen, Tail},
    events::{Note, Notes},
    logs::{Life, Logs, Target},
    metrics,
    nodes::Nodes,
    queue::Trigger,
    settled::Settled,
    shards::Shards,
    view::View,
};
use act::{Acted, Context};
use memory::Memory;

/// How often a row is read again because somebody else wrote it first.
const ATTEMPTS: usize = 8;
const RETRY: Duration = Duration::from_secs(1);
/// How long after a container began to run its phases may still become known.
const PHASES_WITHIN: TimeDelta = TimeDelta::seconds(60);
/// So much of the end of a log is looked at for what it says about the container's start.
const LAST_BYTES: i32 = 4096;

/// Everything that a look needs. Clones share it.
#[derive(Clone)]
pub struct Reconciler {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    memory: Memory,
}

/// What a reconciler works with.
pub struct Parts {
    /// Postgres.
    pub db: Db,
    /// The Pods of users.
    pub api: Api<Pod>,
    /// Their events.
    pub events: Api<KubeEvent>,
    /// What was heard of those.
    pub notes: Notes,
    /// The Pods as last seen.
    pub view: View,
    /// Which rows are ours.
    pub shards: Shards,
    /// The logs that are followed.
    pub logs: Logs,
    /// Which nodes are silent.
    pub nodes: Nodes,
    /// Rows at which nothing is left to do.
    pub settled: Settled,
    /// How long a start may be in trouble.
    pub give_up_after: Duration,
    /// The shortest time between two wake-ups that no change causes.
    pub wake_interval: Duration,
}

impl Reconciler {
    /// A reconciler that remembers nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self { shared: Arc::new(Shared { parts, memory: Memory::default() }) }
    }

    /// Looks at a row and records what became of it; says when to look again.
    pub async fn look(self, uid: Uuid, trigger: Trigger) -> Option<Duration> {
        let shared = &*self.shared;
        if !shared.parts.shards.mine(uid) {
            return None;
        }
        let looked = shared.look(uid, trigger).await;
        metrics::looked(looked.is_ok());
        match looked {
            Ok(again) => {
                shared.memory.succeeded(uid);
                again
            }
            Err(error) => {
                let error = format!("{error:#}");
                if shared.memory.keeps_failing(uid) {
                    tracing::warn!(pod.uid = %uid, error, "looks at a pod fail again and again");
                }
                tracing::debug!(pod.uid = %uid, error, "a look at a pod failed, it is repeated");
                Some(RETRY)
            }
        }
    }
}

impl Shared {
    async fn look(&self, uid: Uuid, trigger: Trigger) -> anyhow::Result<Option<Duration>> {
        self.parts.settled.forget(uid);
        let mut conn = self.parts.db.get().await?;
        let mut trigger = trigger;
        for _ in 0..ATTEMPTS {
            // A share that was lost meanwhile is another replica's affair.
            let Some(fence) = self.parts.shards.fence(uid) else { return Ok(None) };
            // First what Kubernetes shows, then the row: the row is never older than the observation.
            let (pods, synced) = (self.parts.view.of(uid), self.parts.view.synced());
            let Some(row) = PodRow::by_uid(&mut conn, uid).await? else {
                if let Some(pod) = pods.first() {
                    self.memory.report_stranger(uid, pod);
                }
                return Ok(None);
            };
            let current = current(&row, &pods);
            let now = Utc::now();
            let note = match current {
                Some(pod) => self.note_of(pod, &row, now).await,
                None => Note::default(),
            };
            let last_lines = match current {
                Some(pod) => self.last_lines(&mut conn, pod).await?,
                None => None,
            };
            let last_lines = last_lines.as_deref();
            let seen = self.seen(&row, &pods, synced, trigger, Known { note: &note, last_lines, now });
            let plan = decide::decide(&row, &seen);
            let rests = plan.rests();
            self.note(&row, &pods, &plan, now);
            let context = Context {
                fence: &fence,
                phases: current.map(|pod| self.phases_of(pod, &note)).unwrap_or_default(),
                traceparent: current.and_then(|pod| pod.traceparent.as_deref()),
            };
            let acted = self.act(&mut conn, &row, plan, &context).await?;
            match acted {
                Acted::Recorded => trigger = Trigger::default(),
                Acted::Moved => {}
                Acted::Done(again) => {
                    self.note_late_phases(&mut conn, &row, &context.phases, now).await?;
                    if rests {
                        self.parts.settled.note(uid, row.revision);
                    }
                    return Ok(again);
                }
            }
        }
        Ok(Some(RETRY))
    }

    /// What is seen of a row and its Pods.
    fn seen<'a>(
        &self,
        row: &PodRow,
        pods: &'a [Arc<Observation>],
        synced: bool,
        trigger: Trigger,
        known: Known<'a>,
    ) -> Seen<'a> {
        let node = current(row, pods).and_then(|pod| pod.node.as_deref());
        Seen {
            pods,
            synced,
            trigger,
            tail: row.instance_id.map_or(Tail::Unread, |instance| self.parts.logs.tail(row.uid, instance)),
            silence: node.and_then(|node| self.parts.nodes.silence(node)),
            trouble_since: self.memory.trouble_since(row),
            give_up_after: self.parts.give_up_after,
            note: known.note,
            last_lines: known.last_lines,
            now: known.now,
        }
    }

    /// What follows from a plan within this process: logs to be followed, and since when a start is in trouble.
    fn note(&self, row: &PodRow, pods: &[Arc<Observation>], plan: &Plan, now: DateTime<Utc>) {
        let existing: Vec<Uuid> = pods.iter().map(|pod| pod.instance).collect();
        self.parts.logs.only(row.uid, &existing);
        self.memory.note_trouble(row, plan.trouble, now);
        if let (true, Some(pod)) = (plan.follow, current(row, pods)) {
            self.follow(pod);
        }
    }

    /// What is known of a Pod from its events. Kubernetes is asked for those from before this process listened only
    /// where a decision may depend on them.
    async fn note_of(&self, pod: &Observation, row: &PodRow, now: DateTime<Utc>) -> Note {
        let note = self.parts.notes.of(&pod.name);
        if decide::asks_for_events(pod, row, &note, now) {
            return self.parts.notes.ask(&self.parts.events, &pod.name).await;
        }
        note
    }

    /// The phases that the start of a Pod has reached, as far as this process has seen.
    fn phases_of(&self, pod: &Observation, note: &Note) -> Phases {
        let mut phases = self.parts.view.phases(pod.uid, &pod.name);
        phases.note(Phase::Pulled, note.pulled);
        phases
    }

    /// The last lines of a container, where a decision depends on them.
    async fn last_lines(&self, conn: &mut Connection, pod: &Observation) -> anyhow::Result<Option<String>> {
        if !decide::asks_for_last_lines(pod) {
            return Ok(None);
        }
        let bytes = instances::last_log_bytes(conn, pod.instance, LAST_BYTES).await?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn follow(&self, pod: &Observation) {
        let (pod_name, since) = (pod.name.clone(), pod.running_since());
        let life = Life::of(pod);
        self.parts.logs.ensure(Target { uid: pod.uid, instance: pod.instance, pod_name, since, life });
    }
}

/// What was asked about a Pod besides its state.
struct Known<'a> {
    note: &'a Note,
    last_lines: Option<&'a str>,
    now: DateTime<Utc>,
}

/// The Pod of a row's current start.
fn current<'a>(row: &PodRow, pods: &'a [Arc<Observation>]) -> Option<&'a Arc<Observation>> {
    pods.iter().find(|pod| Some(pod.instance) == row.instance_id)
}

/// Whether more may become known of when the start reached its phases.
fn is_young(row: &PodRow, phases: &Phases, now: DateTime<Utc>) -> bool {
    row.status == Status::Available && phases.get(Phase::Started).is_some_and(|at| now - at < PHASES_WITHIN)
}
