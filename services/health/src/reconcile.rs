//! One look at one row: observe, decide, record.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::{Api, api::ListParams};
use pods_core::{ids::instance_name, reason::Reason};
use pods_db::{
    Connection, Db, outbox,
    pods::PodRow,
    transitions::{self, Applied, Change},
};
use pods_kube::{
    Failure,
    client::call,
    labels,
    observe::{ContainerState, Observation},
};
use uuid::Uuid;

use crate::{
    decide::{self, Plan, Record, Seen, Step, Tail},
    logs::{Life, Logs, Target},
    nodes::Nodes,
    queue::Trigger,
    shards::Shards,
    view::View,
    waiting,
};

/// How often a row is read again because somebody else wrote it first.
const ATTEMPTS: usize = 8;
const RETRY: Duration = Duration::from_secs(1);
/// A container that is set up for longer is asked about among Kubernetes' events.
const ASK_EVENTS_AFTER: TimeDelta = TimeDelta::seconds(5);

/// Everything that a look needs. Clones share it.
#[derive(Clone)]
pub struct Reconciler {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    api: Api<Pod>,
    events: Api<KubeEvent>,
    view: View,
    shards: Shards,
    logs: Logs,
    nodes: Nodes,
    give_up_after: Duration,
    wake_interval: Duration,
    memory: Mutex<Memory>,
}

/// What is remembered between looks. Losing it does no harm.
#[derive(Default)]
struct Memory {
    /// Since when the start of an instance is in trouble.
    trouble: HashMap<Uuid, DateTime<Utc>>,
    /// When the spawner was last told about a row although nothing had happened.
    reminded: HashMap<Uuid, Instant>,
    /// Rows that do not exist but have Pods; each is reported once.
    strangers: HashSet<Uuid>,
}

/// What a reconciler works with.
pub struct Parts {
    /// Postgres.
    pub db: Db,
    /// The Pods of users.
    pub api: Api<Pod>,
    /// Their events.
    pub events: Api<KubeEvent>,
    /// The Pods as last seen.
    pub view: View,
    /// Which rows are ours.
    pub shards: Shards,
    /// The logs that are followed.
    pub logs: Logs,
    /// Which nodes are silent.
    pub nodes: Nodes,
    /// How long a start may be in trouble.
    pub give_up_after: Duration,
    /// The shortest time between two wake-ups that no change causes.
    pub wake_interval: Duration,
}

impl Reconciler {
    /// A reconciler that remembers nothing yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { db, api, events, view, shards, logs, nodes, give_up_after, wake_interval } = parts;
        let memory = Mutex::default();
        let shared =
            Shared { db, api, events, view, shards, logs, nodes, give_up_after, wake_interval, memory };
        Self { shared: Arc::new(shared) }
    }

    /// Looks at a row and records what became of it; says when to look again.
    pub async fn look(self, uid: Uuid, trigger: Trigger) -> Option<Duration> {
        let shared = &*self.shared;
        if !shared.shards.mine(uid) {
            return None;
        }
        match shared.look(uid, trigger).await {
            Ok(again) => again,
            Err(error) => {
                tracing::debug!(pod.uid = %uid, error = format!("{error:#}"), "a look at a pod failed, it is repeated");
                Some(RETRY)
            }
        }
    }
}

impl Shared {
    async fn look(&self, uid: Uuid, trigger: Trigger) -> anyhow::Result<Option<Duration>> {
        let mut conn = self.db.get().await?;
        let mut trigger = trigger;
        for _ in 0..ATTEMPTS {
            // First what Kubernetes shows, then the row: the row is never older than the observation.
            let (pods, synced) = (self.view.of(uid), self.view.synced());
            let Some(row) = PodRow::by_uid(&mut conn, uid).await? else {
                self.report_stranger(uid, &pods);
                return Ok(None);
            };
            let existing: Vec<Uuid> = pods.iter().map(|pod| pod.instance).collect();
            self.logs.only(uid, &existing);
            let current = pods.iter().find(|pod| Some(pod.instance) == row.instance_id);
            let now = Utc::now();
            let seen = Seen {
                pods: &pods,
                synced,
                trigger,
                tail: row.instance_id.map_or(Tail::Unread, |instance| self.logs.tail(instance)),
                node_lost: current
                    .and_then(|pod| pod.node.as_deref())
                    .is_some_and(|node| self.nodes.lost(node)),
                trouble_since: self.trouble_since(&row),
                give_up_after: self.give_up_after,
                event_trouble: match current {
                    Some(pod) => self.event_trouble(pod, now).await,
                    None => None,
                },
                now,
            };
            let plan = decide::decide(&row, &seen);
            self.remember_trouble(&row, plan.trouble, now);
            if let (true, Some(pod)) = (plan.follow, current) {
                self.follow(pod);
            }
            match self.act(&mut conn, &row, plan).await? {
                Acted::Recorded => trigger = Trigger::default(),
                Acted::Moved => {}
                Acted::Done(again) => return Ok(again),
            }
        }
        Ok(Some(RETRY))
    }

    fn follow(&self, pod: &Observation) {
        let life = match (&pod.container, &pod.end) {
            (ContainerState::Terminated { .. }, _) => Life::Ended,
            // The kubelet says that a Pod failed when it begins to end it, and need not correct the container's state.
            (ContainerState::Running { .. }, Some(_)) => Life::Ending,
            (ContainerState::Running { .. }, None) => Life::Runs,
            (_, Some(_)) => Life::Ended,
            (_, None) => Life::Runs,
        };
        self.logs.ensure(Target { uid: pod.uid, instance: pod.instance, pod_name: pod.name.clone(), life });
    }

    async fn act(&self, conn: &mut Connection, row: &PodRow, plan: Plan) -> anyhow::Result<Acted> {
        match plan.step {
            Step::Nothing => Ok(Acted::Done(plan.again)),
            Step::Record(record) => self.record(conn, row, &record).await,
            Step::Explain(because) => {
                // Not written means that somebody moved first: then there is something new to decide.
                Ok(match transitions::set_status_container(conn, row, &because).await? {
                    true => Acted::Done(plan.again),
                    false => Acted::Moved,
                })
            }
            Step::Wake(reason) => {
                outbox::add(conn, row.uid, reason).await?;
                Ok(Acted::Done(plan.again))
            }
            Step::Remind(reason) => {
                if self.may_remind(row.uid) {
                    outbox::add(conn, row.uid, reason).await?;
                }
                Ok(Acted::Done(Some(self.wake_interval)))
            }
            Step::AskIfGone => self.ask_if_gone(conn, row).await,
        }
    }

    async fn record(&self, conn: &mut Connection, row: &PodRow, record: &Record) -> anyhow::Result<Acted> {
        let mut change =
            Change::new(record.event, Utc::now()).because(record.because.clone()).log(&record.log);
        if let Some(at) = record.started_at {
            change = change.started_at(at);
        }
        if let Some((losses, not_before)) = record.again {
            change = change.losses(losses).not_before(not_before);
        }
        match transitions::apply(conn, row, change).await? {
            Applied::Done(after) => {
                tracing::info!(
                    pod.uid = %row.uid, pod.id = row.pod_id, pod.tenant = row.tenant_id,
                    from = %row.status, to = %after.status, event = %record.event, "recorded"
                );
                Ok(Acted::Recorded)
            }
            Applied::Moved => Ok(Acted::Moved),
            Applied::Illegal(illegal) => {
                tracing::debug!(pod.uid = %row.uid, %illegal, "an observation came too late");
                Ok(Acted::Done(Some(RETRY)))
            }
            // Only what a user asks for is answered so.
            Applied::Underivable(error) => {
                tracing::warn!(pod.uid = %row.uid, %error, "the pod's template is missing");
                Ok(Acted::Done(Some(RETRY)))
            }
        }
    }

    /// The view shows no Pod for a row that should have one: only the API server's own 404 says that it is gone.
    async fn ask_if_gone(&self, conn: &mut Connection, row: &PodRow) -> anyhow::Result<Acted> {
        let Some(instance) = row.instance_id else { return Ok(Acted::Done(None)) };
        let name = instance_name(&row.k8_name, instance);
        match call(self.api.get(&name)).await {
            Ok(pod) if labels::uid(&pod.metadata) == Some(row.uid) => Ok(Acted::Done(Some(RETRY))),
            Ok(_) | Err(Failure::Gone) => {
                let plan =
                    decide::lost(row, Reason::Vanished, "The pod vanished from Kubernetes.", Utc::now());
                match plan.step {
                    Step::Record(record) => self.record(conn, row, &record).await,
                    _ => Ok(Acted::Done(Some(RETRY))),
                }
            }
            Err(_) => Ok(Acted::Done(Some(RETRY))),
        }
    }

    /// A message that only the events of a Pod have, for example that a volume cannot be mounted.
    async fn event_trouble(&self, pod: &Observation, now: DateTime<Utc>) -> Option<String> {
        let waits =
            matches!(&pod.container, ContainerState::Waiting { reason, .. } if reason == "ContainerCreating");
        let old = pod.created.is_some_and(|created| now - created > ASK_EVENTS_AFTER);
        if !waits || !old || pod.deleting.is_some() {
            return None;
        }
        let about = format!("involvedObject.uid={},type=Warning", pod.k8s_uid);
        let found = call(self.events.list(&ListParams::default().fields(&about).limit(50))).await.ok()?;
        let of_setup = |event: &&KubeEvent| {
            let reason = event.reason.as_deref().unwrap_or_default();
            matches!(reason, "FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox")
        };
        let newest = found.items.iter().filter(of_setup).max_by_key(|event| event.last_timestamp.clone())?;
        newest.message.clone()
    }

    fn trouble_since(&self, row: &PodRow) -> Option<DateTime<Utc>> {
        let known = row.instance_id.and_then(|instance| self.memory().trouble.get(&instance).copied());
        // A process that was started meanwhile takes the row's word for it.
        known.or_else(|| waiting::is_trouble(row.status_container.code).then_some(row.status_changed_ts))
    }

    fn remember_trouble(&self, row: &PodRow, trouble: bool, now: DateTime<Utc>) {
        let Some(instance) = row.instance_id else { return };
        let since = self.trouble_since(row).unwrap_or(now);
        let mut memory = self.memory();
        match trouble {
            true => {
                memory.trouble.entry(instance).or_insert(since);
            }
            false => {
                memory.trouble.remove(&instance);
            }
        }
    }

    fn may_remind(&self, uid: Uuid) -> bool {
        let mut memory = self.memory();
        memory.reminded.retain(|_, at| at.elapsed() < self.wake_interval);
        let first = !memory.reminded.contains_key(&uid);
        if first {
            memory.reminded.insert(uid, Instant::now());
        }
        first
    }

    fn report_stranger(&self, uid: Uuid, pods: &[Arc<Observation>]) {
        let mut memory = self.memory();
        if let Some(pod) = pods.first()
            && memory.strangers.len() < 10_000
            && memory.strangers.insert(uid)
        {
            tracing::warn!(pod.uid = %uid, kubernetes.pod = pod.name, "a Pod carries our labels but belongs to no row; it is left alone");
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Acted {
    /// The row moved on by our hand: decide again; the reason for looking is used up.
    Recorded,
    /// Somebody else moved it first: decide again.
    Moved,
    /// Nothing more to do now.
    Done(Option<Duration>),
}
