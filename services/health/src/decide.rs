//! What an observation means for a row. Pure: everything it looks at is a parameter, the clock included.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::{
    Status, StatusRequested,
    lost::{self, LossDecision},
    reason::{Actor, Reason, StatusContainer},
    transition::Event,
};
use pods_db::pods::PodRow;
use pods_kube::observe::{End, Observation, TakenAway};

mod ended;
mod questions;
mod running;

use crate::{
    events::Note,
    nodes::Silence,
    queue::Trigger,
    waiting::{self, join},
};
use ended::ended;
pub use questions::{asks_for_events, asks_for_last_lines};
pub use running::told;
use running::{began, says_more};

/// How long the end of a log may take before the status is written without it.
pub const TAIL_LIMIT: Duration = Duration::from_secs(10);
/// How long a container may be set up before the row says so; most are up sooner.
const QUIET_START: TimeDelta = TimeDelta::seconds(2);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(200);

/// How far the log of the current instance is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nobody has begun to read its end.
    Unread,
    /// Its end has been read for so long.
    Reading(Duration),
    /// It is stored to the end.
    Stored,
}

/// Everything that a decision depends on besides the row.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The Pods of the row.
    pub pods: &'a [Arc<Observation>],
    /// Whether the view has been complete once: only then does absence mean anything.
    pub synced: bool,
    /// Why the row is looked at.
    pub trigger: Trigger,
    /// The log of the current instance.
    pub tail: Tail,
    /// That the node of the Pod does not answer, if it does not.
    pub silence: Option<Silence>,
    /// Since when the start has been in trouble, as far as this process knows.
    pub trouble_since: Option<DateTime<Utc>>,
    /// How long trouble may last.
    pub give_up_after: Duration,
    /// What Kubernetes' events told about the Pod.
    pub note: &'a Note,
    /// The last lines of a container that ended as soon as it began.
    pub last_lines: Option<&'a str>,
    /// The present.
    pub now: DateTime<Utc>,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// A transition, to be followed by another decision.
    Record(Box<Record>),
    /// Why it waits; no change of status.
    Explain(StatusContainer),
    /// Ask Kubernetes whether the Pod of the instance exists; if not, the pod is lost.
    AskIfGone,
    /// The spawner has to look: something happened that it waits for.
    Wake(&'static str),
    /// The spawner should have looked: something exists that must not. Not more often than a sweep.
    Remind(&'static str),
}

/// A transition and what is written with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// The cause, for the user.
    pub because: StatusContainer,
    /// The line of the action log.
    pub log: String,
    /// When the container began to run.
    pub started_at: Option<DateTime<Utc>>,
    /// Losses in a row, and the earliest time of the next start.
    pub again: Option<(i32, DateTime<Utc>)>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to write.
    pub step: Step,
    /// Whether the log of the current instance is to be stored.
    pub follow: bool,
    /// When to look again even if nothing happens.
    pub again: Option<Duration>,
    /// Whether the start is in trouble: remembered, so that its length is known.
    pub trouble: bool,
}

impl Plan {
    /// Whether there is nothing to do until something happens.
    pub fn rests(&self) -> bool {
        matches!(self.step, Step::Nothing) && self.again.is_none()
    }

    fn new(step: Step) -> Self {
        Self { step, follow: false, again: None, trouble: false }
    }

    fn following(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    fn again(mut self, after: Duration) -> Self {
        self.again = Some(after);
        self
    }
}

/// Decides what to do about a row.
pub fn decide(row: &PodRow, seen: &Seen<'_>) -> Plan {
    let current = seen.pods.iter().find(|pod| Some(pod.instance) == row.instance_id);
    let must_not_run = row.deleted_at.is_some() || !row.status.wants_objects();
    if must_not_run {
        return of_an_unwanted_pod(row, current.map(Arc::as_ref), seen);
    }
    match current {
        Some(pod) => of_a_wanted_pod(row, pod, seen),
        None => of_a_missing_pod(row, seen),
    }
}

/// The row says that nothing of it shall run: the spawner removes it and has to hear of everything that it waits for.
fn of_an_unwanted_pod(row: &PodRow, current: Option<&Observation>, seen: &Seen<'_>) -> Plan {
    let follow = current.is_some_and(Observation::has_log) && row.status != Status::Stopped;
    if seen.trigger.has(Trigger::DELETED) {
        return Plan::new(Step::Wake("pod gone")).following(follow);
    }
    if seen.trigger.has(Trigger::LOG_STORED) {
        return Plan::new(Step::Wake("log stored")).following(follow);
    }
    let stray = seen.pods.iter().any(|pod| {
        let forgotten = seen.trigger.has(Trigger::TIMER)
            && seen.now - row.status_changed_ts > TimeDelta::seconds(30)
            && !row.status_in_progress();
        pod.deleting.is_none() && (row.status == Status::Stopped || forgotten)
    });
    let step = if stray { Step::Remind("must not run") } else { Step::Nothing };
    Plan::new(step).following(follow)
}

fn of_a_wanted_pod(row: &PodRow, pod: &Observation, seen: &Seen<'_>) -> Plan {
    if row.deadline_passed(seen.now) && row.status == Status::Available {
        return Plan::new(expired()).following(pod.has_log());
    }
    match &pod.end {
        Some(end) => of_an_ended_pod(row, pod, end, seen),
        None if seen.silence.is_some_and(Silence::is_loss) => {
            let node = pod.node.as_deref().unwrap_or("unknown");
            lost(row, Reason::NodeLost, &format!("The node {node} stopped answering."), seen.now)
        }
        None if pod.is_running() => of_a_running_pod(row, pod, seen),
        None => of_a_waiting_pod(row, pod, seen),
    }
}

fn of_a_running_pod(row: &PodRow, pod: &Observation, seen: &Seen<'_>) -> Plan {
    let step = match row.status {
        Status::Requested | Status::Spawning => Step::Record(Box::new(began(pod, seen))),
        _ => {
            let now = told(pod, seen);
            let now =
                StatusContainer { start_time: row.status_container.start_time.or(now.start_time), ..now };
            if says_more(&now, &row.status_container) { Step::Explain(now) } else { Step::Nothing }
        }
    };
    Plan::new(step).following(true)
}

fn of_an_ended_pod(row: &PodRow, pod: &Observation, end: &End, seen: &Seen<'_>) -> Plan {
    let follow = pod.has_log();
    match end {
        End::TakenAway { why, message } => {
            let (reason, sentence) = match pod.deleting {
                Some(_) if *why == TakenAway::NodeRefused => cause_of_deletion(pod, seen.note),
                _ => (loss(*why), join(sentence_of(*why), message)),
            };
            return lost(row, reason, &sentence, seen.now);
        }
        // The kubelet says so while the container still has its grace period.
        End::DeadlineExceeded if pod.is_running() => return Plan::new(Step::Nothing).following(follow),
        End::DeadlineExceeded => {
            return lost(row, Reason::Vanished, "The pod was ended in Kubernetes.", seen.now);
        }
        // Somebody deletes the Pod: its container ended because of that and not by itself. What is left of it goes
        // before the next one comes, the spawner sees to that.
        End::Exited { .. } if pod.deleting.is_some() => {
            let (reason, sentence) = cause_of_deletion(pod, seen.note);
            return lost(row, reason, &sentence, seen.now);
        }
        End::Exited { .. } | End::StorageLimit { .. } => {}
    }
    if pod.running_since().is_some() && matches!(row.status, Status::Requested | Status::Spawning) {
        // It ran before anybody looked: its start is recorded first, with its time.
        return Plan::new(Step::Record(Box::new(began(pod, seen)))).following(follow);
    }
    match seen.tail {
        Tail::Stored => {}
        Tail::Reading(time) if time >= TAIL_LIMIT => {}
        Tail::Reading(time) => return Plan::new(Step::Nothing).following(follow).again(TAIL_LIMIT - time),
        Tail::Unread if follow => return Plan::new(Step::Nothing).following(true).again(TAIL_LIMIT),
        Tail::Unread => {}
    }
    if ended::cause_may_come(pod, end, seen) {
        return Plan::new(Step::Nothing).following(follow).again(LOOK_AGAIN_SOON);
    }
    Plan::new(Step::Record(Box::new(ended(pod, end, seen)))).following(follow)
}

/// The code of a loss.
fn loss(why: TakenAway) -> Reason {
    match why {
        TakenAway::Evicted => Reason::Evicted,
        TakenAway::NodePressure => Reason::NodePressure,
        TakenAway::Preempted => Reason::Preempted,
        TakenAway::NodeLost => Reason::NodeLost,
        TakenAway::NodeRefused => Reason::NodeRefused,
    }
}

fn sentence_of(why: TakenAway) -> &'static str {
    match why {
        TakenAway::Evicted => "The pod had to leave its node.",
        TakenAway::NodePressure => "The node ran short of something and evicted the pod.",
        TakenAway::Preempted => "A pod of higher priority took its place.",
        TakenAway::NodeLost => "The node of the pod was lost.",
        TakenAway::NodeRefused => "The node did not take the pod.",
    }
}

/// Who deletes a Pod that should run: what the cluster said about it, or else nobody knows.
fn cause_of_deletion(pod: &Observation, note: &Note) -> (Reason, String) {
    match pod.disruption.as_ref().or(note.taken.as_ref()) {
        Some((why, message)) => (loss(*why), join(sentence_of(*why), message)),
        None => (Reason::Vanished, "The pod was deleted in Kubernetes.".to_owned()),
    }
}

/// The Pod is gone without a word of its own.
pub fn cause_of_absence(note: &Note) -> (Reason, String) {
    match &note.taken {
        Some((why, message)) => (loss(*why), join(sentence_of(*why), message)),
        None => (Reason::Vanished, "The pod vanished from Kubernetes.".to_owned()),
    }
}

fn of_a_waiting_pod(row: &PodRow, pod: &Observation, seen: &Seen<'_>) -> Plan {
    if pod.deleting.is_some() {
        return Plan::new(Step::Nothing).again(LOOK_AGAIN);
    }
    if let Some(silence) = seen.silence {
        // Its words hold times that are computed anew with each look; the first ones stay.
        let said = row.status_container.code == Some(Reason::NodeLost);
        let because = running::on_a_silent_node(pod, silence, seen.now);
        return Plan::new(if said { Step::Nothing } else { Step::Explain(because) }).again(LOOK_AGAIN);
    }
    let Some(trouble) = waiting::trouble(pod, seen.note, &row.status_container) else {
        let age = pod.created.map_or(TimeDelta::zero(), |created| seen.now - created);
        if age < QUIET_START || row.status != Status::Spawning {
            return Plan::new(Step::Nothing).again(LOOK_AGAIN);
        }
        let what = match &pod.node {
            None => "The pod waits for a node.",
            Some(_) if seen.note.pulling => {
                "The image is being pulled; a large image or a slow registry takes time."
            }
            Some(_) if seen.note.pulled.is_some() => "The image is there, the container is being set up.",
            Some(_) => "The container is being set up; a large image takes time to be pulled.",
        };
        let because = StatusContainer::because(Reason::Starting, what).in_phase(&*pod.phase);
        return Plan::new(explain(row, because)).again(LOOK_AGAIN * 2);
    };
    let because = StatusContainer::because(trouble.reason, trouble.message)
        .for_the(trouble.actor)
        .in_phase(&*pod.phase);
    let since = seen.trouble_since.unwrap_or(seen.now);
    let lasted = (seen.now - since).to_std().unwrap_or_default();
    if row.status == Status::Spawning && (trouble.definite || lasted >= seen.give_up_after) {
        let message = because.message.as_deref().unwrap_or_default();
        let log = format!("health set status to ERROR: {message}");
        let record = Record { event: Event::GaveUp, because, log, started_at: None, again: None };
        return Plan::new(Step::Record(Box::new(record)));
    }
    let again = seen.give_up_after.saturating_sub(lasted).max(Duration::from_millis(50));
    Plan { trouble: true, ..Plan::new(explain(row, because)).again(again) }
}

fn explain(row: &PodRow, because: StatusContainer) -> Step {
    if row.status_container == because { Step::Nothing } else { Step::Explain(because) }
}

/// The view has no Pod of the current instance.
fn of_a_missing_pod(row: &PodRow, seen: &Seen<'_>) -> Plan {
    if row.deadline_passed(seen.now) && row.status == Status::Available {
        return Plan::new(expired());
    }
    let stray = seen.pods.iter().any(|pod| pod.deleting.is_none() && pod.end.is_none());
    if stray && seen.trigger.has(Trigger::TIMER) {
        return Plan::new(Step::Remind("another start's pod runs"));
    }
    if !seen.synced {
        return Plan::new(Step::Nothing).again(LOOK_AGAIN);
    }
    match row.status {
        Status::Available => Plan::new(Step::AskIfGone),
        // An earlier start's Pod for which the spawner may be waiting, or the one of this start: in SPAWNING the
        // spawner creates what is missing, so nothing is lost.
        _ if seen.trigger.has(Trigger::DELETED) => Plan::new(Step::Wake("pod gone")),
        _ => Plan::new(Step::Nothing),
    }
}

/// The Pod of the current instance was taken away while the user wants it.
pub fn lost(row: &PodRow, reason: Reason, sentence: &str, now: DateTime<Utc>) -> Plan {
    if row.status == Status::Requested || row.status_requested != StatusRequested::On {
        return Plan::new(Step::Remind("pod gone"));
    }
    let record = match lost::decide(row.losses, row.start_instance_ts, now) {
        LossDecision::StartAgain { losses, not_before } => Record {
            event: Event::Lost,
            log: format!("health set status to REQUESTED: {sentence} It is started again (loss {losses})."),
            because: StatusContainer::because(reason, format!("{sentence} It is started again by itself.")),
            started_at: None,
            again: Some((losses, not_before)),
        },
        LossDecision::GiveUp => Record {
            event: Event::LostTooOften,
            log: format!("health set status to ERROR: {sentence} It was lost too often in a row."),
            because: StatusContainer::because(
                reason,
                format!("{sentence} It was lost {} times in a row and is not started again.", row.losses + 1),
            )
            .for_the(Some(Actor::Owner)),
            started_at: None,
            again: None,
        },
    };
    Plan::new(Step::Record(Box::new(record)))
}

/// The time to stop has passed.
pub fn expired() -> Step {
    let because = StatusContainer::because(Reason::Expired, "The time to stop of this pod has passed.");
    let log = "health set status to SHUTTING_DOWN: time to stop has passed".to_owned();
    Step::Record(Box::new(Record { event: Event::Expired, because, log, started_at: None, again: None }))
}

/// Questions to a row that only decisions ask.
trait RowExt {
    fn status_in_progress(&self) -> bool;
    fn deadline_passed(&self, now: DateTime<Utc>) -> bool;
}

impl RowExt for PodRow {
    fn status_in_progress(&self) -> bool {
        Status::IN_PROGRESS.contains(&self.status)
    }

    fn deadline_passed(&self, now: DateTime<Utc>) -> bool {
        self.time_to_stop_ts.is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests;
