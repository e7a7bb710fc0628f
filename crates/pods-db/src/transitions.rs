//! Status writes: [`pods_core::transition::next`], applied with compare-and-set in one transaction.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use pods_core::{
    Status,
    definition::EffectivePod,
    phases::{Phase, Phases},
    reason::{Reason, StatusContainer},
    template::ChainError,
    transition::{Event, IllegalTransition, InstanceChange, Transition, next},
};

use crate::{
    Connection, DbError, action_logs,
    columns::{Json, Word},
    instances,
    logs::{Fence, runs},
    metrics, outbox,
    pods::PodRow,
    schema::{leases, pods},
    starts,
};

/// That the lease, if there is one, still has its epoch; part of the statement that writes, so that it costs no round
/// trip of its own.
macro_rules! still_held {
    ($fence:expr) => {{
        let (name, epoch) = $fence.map_or(("", 0), |fence: &Fence| (fence.name.as_str(), fence.epoch));
        let held = leases::table.filter(leases::name.eq(name)).filter(leases::epoch.eq(epoch));
        diesel::dsl::exists(held).or($fence.is_none().into_sql::<diesel::sql_types::Bool>())
    }};
}

/// An event and what is to be written with it.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    event: Event,
    now: DateTime<Utc>,
    status_container: Option<StatusContainer>,
    log: Option<&'a str>,
    not_before: Option<DateTime<Utc>>,
    losses: Option<i32>,
    started_at: Option<DateTime<Utc>>,
    phases: Phases,
    fence: Option<Fence>,
}

impl<'a> Change<'a> {
    /// An event at `now`.
    pub fn new(event: Event, now: DateTime<Utc>) -> Self {
        Self {
            event,
            now,
            status_container: None,
            log: None,
            not_before: None,
            losses: None,
            started_at: None,
            phases: Phases::default(),
            fence: None,
        }
    }

    /// Sets `status_container`; without it the column stays, or is cleared with the instance.
    #[must_use]
    pub fn because(mut self, status_container: StatusContainer) -> Self {
        self.status_container = Some(status_container);
        self
    }

    /// Adds a line to the action log (without date).
    #[must_use]
    pub fn log(mut self, text: &'a str) -> Self {
        self.log = Some(text);
        self
    }

    /// The spawner must not start the new instance before this time.
    #[must_use]
    pub fn not_before(mut self, at: DateTime<Utc>) -> Self {
        self.not_before = Some(at);
        self
    }

    /// How often in a row the pod was lost.
    #[must_use]
    pub fn losses(mut self, losses: i32) -> Self {
        self.losses = Some(losses);
        self
    }

    /// When the container began to run; `now` without it.
    #[must_use]
    pub fn started_at(mut self, at: DateTime<Utc>) -> Self {
        self.started_at = Some(at);
        self
    }

    /// Phases that the start has reached, as far as the writer knows.
    #[must_use]
    pub fn phases(mut self, phases: Phases) -> Self {
        self.phases = phases;
        self
    }

    /// Writes only while the lease still has this epoch: a replica that was paused and lost its share without
    /// knowing it is answered with [`Applied::Moved`].
    #[must_use]
    pub fn under(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    fn by_user(&self) -> bool {
        matches!(self.event, Event::Start | Event::Stop | Event::Restart | Event::Delete)
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// Written; the row as it is now.
    Done(Box<PodRow>),
    /// The event does not fit the row's status; nothing was written.
    Illegal(IllegalTransition),
    /// Somebody else wrote first; read the row again and decide anew.
    Moved,
    /// The pod cannot be started because its templates cannot be merged; nothing was written.
    Underivable(ChainError),
}

impl Applied {
    /// A word for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Illegal(_) => "illegal",
            Self::Moved => "moved",
            Self::Underivable(_) => "underivable",
        }
    }
}

/// Applies a change to `row`, if the row in the database is still the one that was read.
///
/// A new start freezes the definition merged with its templates. A pod whose templates cannot be merged is not
/// started: a user's request answers [`Applied::Underivable`]; a restart that was accepted earlier ends in ERROR.
///
/// # Errors
/// A database error; nothing was written then.
pub async fn apply(conn: &mut Connection, row: &PodRow, change: Change<'_>) -> Result<Applied, DbError> {
    let event = change.event;
    let span = tracing::debug_span!(
        "status write", pod.uid = %row.uid, event = event.as_str(), from = %row.status, to = Empty
    );
    let applied = compare_and_set(conn, row, change).instrument(span.clone()).await?;
    if let Applied::Done(after) = &applied {
        span.record("to", after.status.as_str());
    }
    metrics::status_write(row, event, &applied);
    Ok(applied)
}

async fn compare_and_set(
    conn: &mut Connection,
    row: &PodRow,
    change: Change<'_>,
) -> Result<Applied, DbError> {
    let transition = match legal(row, change.event) {
        Ok(transition) => transition,
        Err(illegal) => return Ok(Applied::Illegal(illegal)),
    };
    let mut after = after(row, transition, &change);
    if after == (PodRow { revision: after.revision, update_ts: after.update_ts, ..row.clone() })
        && !transition.wake
    {
        return Ok(Applied::Done(Box::new(row.clone())));
    }
    // Tags never change, so what is derived from them before the transaction holds in it.
    let start = match start_of(conn, row, &mut after, transition, &change).await? {
        Ok(start) => start,
        Err(error) => return Ok(Applied::Underivable(error)),
    };
    conn.transaction(async |conn| {
        if !write(conn, row, &after, change.fence.as_ref()).await? {
            return Ok(Applied::Moved);
        }
        write_companions(conn, row, &after, transition, &change, &start).await?;
        Ok(Applied::Done(Box::new(after)))
    })
    .await
}

/// The transition that an event is for a row.
fn legal(row: &PodRow, event: Event) -> Result<Transition, IllegalTransition> {
    if row.deleted_at.is_some() && event != Event::ObjectsGone {
        // A tombstone only waits for its objects to be gone.
        return Err(IllegalTransition { status: row.status, event });
    }
    next(row.status, row.status_requested, event)
}

/// The row as the change leaves it, but for what only the database knows.
fn after(row: &PodRow, transition: Transition, change: &Change<'_>) -> PodRow {
    let mut after = row.clone();
    after.status = transition.status;
    after.status_requested = transition.requested;
    after.revision += 1;
    if transition.status != row.status {
        after.status_changed_ts = change.now;
    }
    if change.by_user() {
        after.update_ts = change.now;
    }
    if change.event == Event::Delete {
        after.deleted_at = Some(change.now);
    }
    match &change.status_container {
        Some(because) => after.status_container = because.clone(),
        None if change.by_user() && transition.wake => {
            after.status_container = removal(&row.status_container, change.event);
        }
        None => {}
    }
    if let Some(losses) = change.losses {
        after.losses = losses;
    }
    set_instance(&mut after, transition.instance, change.not_before);
    after
}

/// What a pod says from a user's request on until nothing of it is left.
fn removal(said: &StatusContainer, event: Event) -> StatusContainer {
    let message = match event {
        Event::Start | Event::Restart => {
            "What is left of the last run is removed, then the pod starts again."
        }
        _ => "The pod is being stopped.",
    };
    StatusContainer {
        phase: said.phase.clone(),
        start_time: said.start_time,
        ..StatusContainer::because(Reason::Stopping, message)
    }
}

/// What a new start is made of.
#[derive(Default)]
struct Start {
    snapshot: Option<EffectivePod>,
    /// The line of the action log about a start that the service wanted and that cannot be.
    refusal: Option<String>,
}

/// Freezes the definition for a new start and sets the deadline of one that begins to run.
async fn start_of(
    conn: &mut Connection,
    row: &PodRow,
    after: &mut PodRow,
    transition: Transition,
    change: &Change<'_>,
) -> Result<Result<Start, ChainError>, DbError> {
    let mut start = Start::default();
    match transition.instance {
        InstanceChange::NewStart | InstanceChange::Replace => {
            let lost = row.instance_id.filter(|_| transition.instance == InstanceChange::Replace);
            match starts::snapshot(conn, after, lost).await? {
                Ok(effective) => start.snapshot = Some(effective),
                Err(error) if change.by_user() => return Ok(Err(error)),
                Err(error) => start.refusal = Some(refuse(after, &error)),
            }
        }
        InstanceChange::Keep if matches!(change.event, Event::Start | Event::Restart) => {
            // The container that runs now is not given up for one that cannot be started.
            if let Err(error) = starts::snapshot(conn, after, None).await? {
                return Ok(Err(error));
            }
        }
        InstanceChange::Began => {
            let started_at = change.started_at.unwrap_or(change.now);
            after.start_instance_ts = Some(started_at);
            // A pod that was lost and came back keeps the deadline of the user's start.
            if after.losses == 0 || after.time_to_stop_ts.is_none() {
                after.time_to_stop_ts = starts::limits(conn, after).await?.deadline(started_at);
            }
        }
        InstanceChange::Keep | InstanceChange::Clear => {}
    }
    Ok(Ok(start))
}

/// What is written beside the row. It travels together: one round trip instead of up to seven.
async fn write_companions(
    conn: &Connection,
    row: &PodRow,
    after: &PodRow,
    transition: Transition,
    change: &Change<'_>,
    start: &Start,
) -> Result<(), DbError> {
    let now = change.now;
    let instance = async {
        match (&start.snapshot, after.instance_id) {
            (Some(effective), Some(new)) => instances::insert(conn, new, row.uid, effective, now).await,
            _ => Ok(()),
        }
    };
    let phases = async {
        let mut phases = change.phases;
        if change.event == Event::SpawnBegun {
            phases.note(Phase::Taken, Some(now));
        }
        match row.instance_id.filter(|_| !phases.is_empty()) {
            Some(instance) => instances::note(conn, instance, &phases).await.map(drop),
            None => Ok(()),
        }
    };
    let end = async {
        match row.instance_id.filter(|_| is_over(row, after)) {
            Some(instance) => instances::note_end(conn, instance, now, &cause_of_end(change)).await,
            None => Ok(()),
        }
    };
    let runs = run_of(conn, row, after, transition, change);
    let wake = async {
        match transition.wake {
            true => outbox::insert(conn, row.uid, change.event.as_str()).await,
            false => Ok(()),
        }
    };
    let log = async {
        for text in change.log.into_iter().chain(start.refusal.as_deref()) {
            action_logs::insert(conn, row.uid, now, text).await?;
        }
        Ok(())
    };
    futures::try_join!(instance, phases, end, runs, wake, log)?;
    Ok(())
}

/// What a change means for the runs whose logs are kept: they begin when the container does, and are over when its end
/// or the end of its objects is seen. A run that a user ends is over when its log is.
async fn run_of(
    conn: &Connection,
    row: &PodRow,
    after: &PodRow,
    transition: Transition,
    change: &Change<'_>,
) -> Result<(), DbError> {
    let began = transition.instance == InstanceChange::Began;
    if let Some(current) = after.instance_id
        && (began || change.event == Event::SpawnBegun)
    {
        runs::supersede(conn, row.uid, current, change.now).await?;
        if began {
            runs::begin(conn, row.uid, current, change.started_at.unwrap_or(change.now)).await?;
        }
    }
    let asked_to_end = change.by_user() || change.event == Event::Expired;
    match row.instance_id {
        Some(last) if change.event == Event::ObjectsGone || (is_over(row, after) && !asked_to_end) => {
            runs::finish(conn, last, change.now).await
        }
        _ => Ok(()),
    }
}

/// Whether a change is the end of the start that the row had.
fn is_over(row: &PodRow, after: &PodRow) -> bool {
    row.status.wants_objects()
        && (!after.status.wants_objects()
            || after.instance_id != row.instance_id
            || after.deleted_at.is_some())
}

/// Why a start is over, for its ledger.
fn cause_of_end(change: &Change<'_>) -> StatusContainer {
    match &change.status_container {
        Some(because) => because.clone(),
        None if change.event == Event::Restart => {
            StatusContainer::because(Reason::Stopped, "A user restarted the pod.")
        }
        None => StatusContainer::because(Reason::Stopped, "A user stopped the pod."),
    }
}

/// Turns a start that the service wanted by itself into ERROR; answers the line for the action log.
fn refuse(after: &mut PodRow, error: &ChainError) -> String {
    let message = format!("{error}; give the pod another template, then start it");
    after.status = Status::Error;
    after.instance_id = None;
    after.not_before = None;
    after.status_container = StatusContainer::because(Reason::TemplateUnavailable, &message);
    format!("could not be started: {message}")
}

fn set_instance(after: &mut PodRow, instance: InstanceChange, not_before: Option<DateTime<Utc>>) {
    match instance {
        InstanceChange::Keep | InstanceChange::Began => {}
        InstanceChange::NewStart => {
            if after.instance_id.is_some() {
                end_run_limit(after);
            }
            after.instance_id = Some(Uuid::new_v4());
            after.status_container = StatusContainer::default();
            after.start_instance_ts = None;
            after.time_to_stop_ts = None;
            after.losses = 0;
            after.not_before = not_before;
        }
        InstanceChange::Replace => {
            after.instance_id = Some(Uuid::new_v4());
            after.start_instance_ts = None;
            after.not_before = not_before;
        }
        InstanceChange::Clear => {
            after.instance_id = None;
            after.status_container = StatusContainer::default();
            after.start_instance_ts = None;
            after.time_to_stop_ts = None;
            after.losses = 0;
            after.not_before = None;
            end_run_limit(after);
        }
    }
}

/// The user's limit was for the run that is over; the next one is the template's to limit again.
fn end_run_limit(after: &mut PodRow) {
    if after.definition.time_to_stop_instance.take().is_some() {
        after.modified_fields.remove("time_to_stop_instance");
    }
}

async fn write(
    conn: &mut Connection,
    before: &PodRow,
    after: &PodRow,
    fence: Option<&Fence>,
) -> Result<bool, DbError> {
    let count = diesel::update(pods::table.find(before.uid))
        .filter(pods::revision.eq(before.revision))
        .filter(still_held!(fence))
        .set((
            pods::status.eq(Word(after.status)),
            pods::status_requested.eq(Word(after.status_requested)),
            pods::status_container.eq(Json(after.status_container.clone())),
            pods::status_changed_ts.eq(after.status_changed_ts),
            pods::revision.eq(after.revision),
            pods::instance_id.eq(after.instance_id),
            pods::losses.eq(after.losses),
            pods::not_before.eq(after.not_before),
            pods::update_ts.eq(after.update_ts),
            pods::start_instance_ts.eq(after.start_instance_ts),
            pods::time_to_stop_ts.eq(after.time_to_stop_ts),
            pods::time_to_stop_instance.eq(after.definition.time_to_stop_instance),
            pods::modified_fields.eq(Json(after.modified_fields.clone())),
            pods::deleted_at.eq(after.deleted_at),
        ))
        .execute(conn)
        .await?;
    Ok(count == 1)
}

/// Says why a pod waits, without a change of status. Writes nothing when it says the same already; `false` when
/// nothing was written.
pub async fn set_status_container(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
) -> Result<bool, DbError> {
    explain(conn, row, status_container, &Phases::default(), None).await
}

/// The same, together with the phases that the start has reached.
pub async fn explain(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
    phases: &Phases,
    fence: Option<&Fence>,
) -> Result<bool, DbError> {
    if row.status_container == *status_container {
        return Ok(false);
    }
    let instance = row.instance_id.filter(|_| !phases.is_empty());
    let Some(instance) = instance else { return say(conn, row, status_container, fence).await };
    conn.transaction(async |conn| {
        let said = say(conn, row, status_container, fence).await?;
        if said {
            instances::note(conn, instance, phases).await?;
        }
        Ok(said)
    })
    .await
}

async fn say(
    conn: &mut Connection,
    row: &PodRow,
    status_container: &StatusContainer,
    fence: Option<&Fence>,
) -> Result<bool, DbError> {
    let count = diesel::update(pods::table.find(row.uid))
        .filter(pods::revision.eq(row.revision))
        .filter(still_held!(fence))
        .set((pods::status_container.eq(Json(status_container.clone())), pods::revision.eq(row.revision + 1)))
        .execute(conn)
        .await?;
    Ok(count == 1)
}

/// Notes on a tombstone that Kubernetes holds nothing of the pod any more; its id's successor may start.
///
/// A successor of the same tenant and id that waits is woken in the same transaction.
pub async fn mark_objects_gone(
    conn: &mut Connection,
    row: &PodRow,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    conn.transaction(async |conn| {
        let count = diesel::update(
            pods::table
                .find(row.uid)
                .filter(pods::revision.eq(row.revision))
                .filter(pods::deleted_at.is_not_null()),
        )
        .set((
            pods::objects_gone_ts.eq(now),
            pods::status.eq(Word(Status::Stopped)),
            pods::status_changed_ts.eq(now),
            pods::instance_id.eq(None::<Uuid>),
            pods::revision.eq(row.revision + 1),
        ))
        .execute(conn)
        .await?;
        if count == 0 {
            return Ok(false);
        }
        let successors: Vec<Uuid> = pods::table
            .filter(pods::tenant_id.eq(&row.tenant_id))
            .filter(pods::site_id.eq(&row.site_id))
            .filter(pods::pod_id.eq(&row.pod_id))
            .filter(pods::deleted_at.is_null())
            .filter(pods::status.eq(Word(Status::Requested)))
            .select(pods::uid)
            .load(conn)
            .await?;
        for successor in successors {
            outbox::add(conn, successor, "predecessor gone").await?;
        }
        Ok(true)
    })
    .await
}
