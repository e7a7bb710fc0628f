//! One look at one row: observe, decide, record.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::Api;
use pods_core::{
    Status,
    ids::instance_name,
    phases::{Phase, Phases},
    transition::Event,
};
use pods_db::{
    Connection, Db, instances,
    logs::Fence,
    outbox,
    pods::PodRow,
    transitions::{self, Applied, Change},
};
use pods_kube::{
    Failure,
    client::call,
    labels,
    observe::{ContainerState, End, Observation},
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    decide::{self, Plan, Record, Seen, Step, Tail},
    events::{Note, Notes},
    logs::{Life, Logs, Target},
    nodes::Nodes,
    queue::Trigger,
    settled::Settled,
    shards::Shards,
    view::View,
    waiting,
};

/// How often a row is read again because somebody else wrote it first.
const ATTEMPTS: usize = 8;
const RETRY: Duration = Duration::from_secs(1);
/// A container that is set up for longer without an event is asked about among the earlier ones.
const ASK_EVENTS_AFTER: TimeDelta = TimeDelta::seconds(5);
/// How long after a container began to run its phases may still become known.
const PHASES_WITHIN: TimeDelta = TimeDelta::seconds(60);
/// Starts whose phases are remembered.
const NOTED_MAX: usize = 10_000;
/// A container that lived no longer may not have been executed at all; Kubernetes counts in seconds.
const STILLBORN: TimeDelta = TimeDelta::seconds(3);
const LAST_BYTES: i32 = 4096;

/// Everything that a look needs. Clones share it.
#[derive(Clone)]
pub struct Reconciler {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    api: Api<Pod>,
    events: Api<KubeEvent>,
    notes: Notes,
    view: View,
    shards: Shards,
    logs: Logs,
    nodes: Nodes,
    settled: Settled,
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
    /// The phases that are stored of young starts.
    noted: HashMap<Uuid, Phases>,
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
        let Parts {
            db,
            api,
            events,
            notes,
            view,
            shards,
            logs,
            nodes,
            settled,
            give_up_after,
            wake_interval,
        } = parts;
        let memory = Mutex::default();
        let shared = Shared {
            db,
            api,
            events,
            notes,
            view,
            shards,
            logs,
            nodes,
            settled,
            give_up_after,
            wake_interval,
            memory,
        };
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
        self.settled.forget(uid);
        let mut conn = self.db.get().await?;
        let mut trigger = trigger;
        for _ in 0..ATTEMPTS {
            // A share that was lost meanwhile is another replica's affair.
            let Some(fence) = self.shards.fence(uid) else { return Ok(None) };
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
            let note = match current {
                Some(pod) => self.note_of(pod, &row, now).await,
                None => Note::default(),
            };
            let last_lines = match current {
                Some(pod) => last_lines(&mut conn, pod).await?,
                None => None,
            };
            let seen = Seen {
                pods: &pods,
                synced,
                trigger,
                tail: row.instance_id.map_or(Tail::Unread, |instance| self.logs.tail(instance)),
                silence: current
                    .and_then(|pod| pod.node.as_deref())
                    .and_then(|node| self.nodes.silence(node)),
                trouble_since: self.trouble_since(&row),
                give_up_after: self.give_up_after,
                note: &note,
                last_lines: last_lines.as_deref(),
                now,
            };
            let plan = decide::decide(&row, &seen);
            self.remember_trouble(&row, plan.trouble, now);
            if let (true, Some(pod)) = (plan.follow, current) {
                self.follow(pod);
            }
            let rests = matches!(plan.step, Step::Nothing) && plan.again.is_none();
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
                        self.settled.note(uid, row.revision);
                    }
                    return Ok(again);
                }
            }
        }
        Ok(Some(RETRY))
    }

    /// What is known of a Pod from its events. Kubernetes is asked for those from before this process listened only
    /// where a decision may depend on them.
    async fn note_of(&self, pod: &Observation, row: &PodRow, now: DateTime<Utc>) -> Note {
        let note = self.notes.of(&pod.name);
        if !note.asked && waits_for_an_event(pod, row, &note, now) {
            return self.notes.ask(&self.events, &pod.name).await;
        }
        note
    }

    /// The phases that the start of a Pod has reached, as far as this process has seen.
    fn phases_of(&self, pod: &Observation, note: &Note) -> Phases {
        let mut phases = self.view.phases(pod.uid, &pod.name);
        phases.note(Phase::Pulled, note.pulled);
        phases
    }

    fn remember_phases(&self, row: &PodRow, phases: &Phases) {
        let Some(instance) = row.instance_id else { return };
        let mut memory = self.memory();
        if memory.noted.len() >= NOTED_MAX {
            memory.noted.clear();
        }
        memory.noted.insert(instance, *phases);
    }

    /// Stores what became known of a young run only after its status was written, for example that it is ready.
    async fn note_late_phases(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        phases: &Phases,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let young = phases.get(Phase::Started).is_some_and(|at| now - at < PHASES_WITHIN);
        let Some(instance) = row.instance_id.filter(|_| young && row.status == Status::Available) else {
            return Ok(());
        };
        if self.memory().noted.get(&instance) == Some(phases) {
            return Ok(());
        }
        instances::note_phases(conn, instance, phases).await?;
        self.remember_phases(row, phases);
        Ok(())
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
        let (pod_name, since) = (pod.name.clone(), pod.running_since());
        self.logs.ensure(Target { uid: pod.uid, instance: pod.instance, pod_name, since, life });
    }

    async fn act(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        plan: Plan,
        context: &Context<'_>,
    ) -> anyhow::Result<Acted> {
        match plan.step {
            Step::Nothing => Ok(Acted::Done(plan.again)),
            Step::Record(record) => self.record(conn, row, &record, context).await,
            Step::Explain(because) => {
                // Not written means that somebody moved first: then there is something new to decide.
                let (phases, fence) = (&context.phases, Some(context.fence));
                Ok(match transitions::explain(conn, row, &because, phases, fence).await? {
                    true => {
                        self.remember_phases(row, phases);
                        Acted::Done(plan.again)
                    }
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
            Step::AskIfGone => self.ask_if_gone(conn, row, context).await,
        }
    }

    async fn record(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        record: &Record,
        context: &Context<'_>,
    ) -> anyhow::Result<Acted> {
        let mut change = Change::new(record.event, Utc::now())
            .because(record.because.clone())
            .log(&record.log)
            .phases(context.phases)
            .under(context.fence.clone());
        if let Some(at) = record.started_at {
            change = change.started_at(at);
        }
        if let Some((losses, not_before)) = record.again {
            change = change.losses(losses).not_before(not_before);
        }
        let span = tracing::error_span!(
            "record", pod.uid = %row.uid, pod.id = row.pod_id, event = %record.event, trace.id = tracing::field::Empty
        );
        // The trace of the start goes on with what became of it, and ends with it.
        let traceparent = context.traceparent.filter(|_| row.status != Status::Available);
        pods_telemetry::trace::adopt(&span, traceparent);
        match transitions::apply(conn, row, change).instrument(span.clone()).await? {
            Applied::Done(after) => {
                span.in_scope(|| {
                    tracing::info!(
                        pod.uid = %row.uid, pod.id = row.pod_id, pod.tenant = row.tenant_id,
                        from = %row.status, to = %after.status, event = %record.event, "recorded"
                    );
                });
                if record.event == Event::Running {
                    self.remember_phases(row, &context.phases);
                    self.measure_start(conn, row).await;
                }
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

    /// Counts how long each phase of a start took.
    async fn measure_start(&self, conn: &mut Connection, row: &PodRow) {
        let Some(instance) = row.instance_id else { return };
        // Only a measurement: the start itself is recorded.
        if let Ok(Some(phases)) = instances::phases(conn, instance).await {
            let template = Some(row.definition.template.as_str()).filter(|template| !template.is_empty());
            crate::metrics::started(template, &phases);
        }
    }

    /// The view shows no Pod for a row that should have one: only the API server's own 404 says that it is gone.
    async fn ask_if_gone(
        &self,
        conn: &mut Connection,
        row: &PodRow,
        context: &Context<'_>,
    ) -> anyhow::Result<Acted> {
        let Some(instance) = row.instance_id else { return Ok(Acted::Done(None)) };
        let name = instance_name(&row.k8_name, instance);
        match call(self.api.get(&name)).await {
            Ok(pod) if labels::uid(&pod.metadata) == Some(row.uid) => Ok(Acted::Done(Some(RETRY))),
            Ok(_) | Err(Failure::Gone) => {
                let note = self.notes.ask(&self.events, &name).await;
                let (reason, sentence) = decide::cause_of_absence(&note);
                let plan = decide::lost(row, reason, &sentence, Utc::now());
                match plan.step {
                    Step::Record(record) => self.record(conn, row, &record, context).await,
                    _ => Ok(Acted::Done(Some(RETRY))),
                }
            }
            Err(_) => Ok(Acted::Done(Some(RETRY))),
        }
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

/// What a write goes along with.
struct Context<'a> {
    /// The share under which it is made.
    fence: &'a Fence,
    /// The phases that the start has reached.
    phases: Phases,
    /// The trace that the start belongs to.
    traceparent: Option<&'a str>,
}

/// Whether a decision about a Pod may depend on an event that this process has not heard.
fn waits_for_an_event(pod: &Observation, row: &PodRow, note: &Note, now: DateTime<Utc>) -> bool {
    if pod.deleting.is_some() {
        return row.status.wants_objects() && pod.disruption.is_none() && note.taken.is_none();
    }
    match (&pod.container, &pod.end) {
        (_, Some(End::Exited { .. })) => pod.probes.end_it() && note.ended_by.is_none(),
        (ContainerState::Waiting { reason, .. }, None) if reason == "ContainerCreating" => {
            let old = pod.created.is_some_and(|created| now - created > ASK_EVENTS_AFTER);
            old && note.setup.is_none() && !note.pulling && note.pulled.is_none()
        }
        (ContainerState::Waiting { reason, .. }, None) if reason == "ImagePullBackOff" => {
            note.pull_failed.is_none() && !waiting::is_trouble(row.status_container.code)
        }
        _ => false,
    }
}

/// The last lines of a container that ended as soon as it began: they may say that it was never executed.
async fn last_lines(conn: &mut Connection, pod: &Observation) -> anyhow::Result<Option<String>> {
    let ContainerState::Terminated { exit_code: 1 | 126 | 255, started_at, finished_at, .. } = &pod.container
    else {
        return Ok(None);
    };
    let (Some(started), Some(finished)) = (started_at, finished_at) else { return Ok(None) };
    if *finished - *started > STILLBORN {
        return Ok(None);
    }
    let bytes = instances::last_log_bytes(conn, pod.instance, LAST_BYTES).await?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

enum Acted {
    /// The row moved on by our hand: decide again; the reason for looking is used up.
    Recorded,
    /// Somebody else moved it first: decide again.
    Moved,
    /// Nothing more to do now.
    Done(Option<Duration>),
}
