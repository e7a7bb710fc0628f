//! What to do about one pod: a pure function of its row, what Kubernetes holds of it, and the clock.
//!
//! The rules, in the order in which they are tried:
//! - A row that wants its objects (REQUESTED, SPAWNING, AVAILABLE) first loses what belongs to an earlier start, then
//!   waits for predecessors of the same name and for its own back-off, then gets what is missing.
//! - A row that wants none loses everything. A container that ran keeps its log until it is stored: it is ended
//!   through its deadline first, and its Pod is deleted when the log is complete or nobody came for it in time.
//! - A deletion keeps no log and deletes at once.
//! - A NetworkPolicy comes before its Pod and stays as long as a container of it may run.
//! - NetworkPolicy and Service follow the pod's networking entries while it runs.
//! - When nothing is left, SHUTTING_DOWN, RESTARTING and tombstones go on.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use pods_core::Status;
use pods_db::pods::PodRow;
use pods_kube::{Observation, build::Face, observe::ContainerState};
use uuid::Uuid;

use crate::world::{Object, World};

/// How long after the grace period the end of a log may take to be stored before the Pod is deleted all the same.
/// Earlier would be wrong: a Pod that is over is deleted at once, even if its container is still within its grace.
const LOG_LIMIT: TimeDelta = TimeDelta::seconds(30);
/// How long after its grace period the end of a container's log may be awaited.
const DEADLINE_MARGIN: TimeDelta = TimeDelta::seconds(10);
/// How long past its grace period a Pod may go on existing before it is deleted by force.
const STUCK_AFTER: TimeDelta = TimeDelta::seconds(30);
/// The same for a Pod whose container never began to run; the kubelet takes half a minute to see that nothing is left.
const NEVER_RAN_STUCK_AFTER: TimeDelta = TimeDelta::seconds(1);
/// The same for a Pod that was lost and whose successor waits.
const LOST_STUCK_AFTER: TimeDelta = TimeDelta::seconds(3);
/// Health wakes the spawner when something changes; this is how soon to look when it does not.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN_SOON: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Everything that the decision depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The row.
    pub row: &'a PodRow,
    /// What Kubernetes holds of it.
    pub world: &'a World,
    /// Whether the log of the current start's container is stored to its end.
    pub log_complete: bool,
    /// Whether the current start has values that a Secret carries.
    pub wants_secret: bool,
    /// What the pod's Service must offer; `None` when the pod has no networking entries.
    pub wants_service: Option<&'a Face>,
    /// The digest of the rules that the pod's NetworkPolicy must have; `None` when the installation has none.
    pub wants_policy: Option<&'a str>,
    /// Deleted pods of the same Kubernetes name that still hold objects.
    pub predecessors: i64,
    /// How long a container may take between SIGTERM and its end.
    pub grace: TimeDelta,
    /// The time of the decision.
    pub now: DateTime<Utc>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Kubernetes is as the row wants it.
    Nothing,
    /// Something has to happen first; look again then.
    Wait {
        /// How long.
        after: Duration,
        /// For what.
        what: Waiting,
    },
    /// Bring up what is missing of the current start.
    Spawn(Spawn),
    /// Remove or end these, in any order, then look again.
    Remove(Vec<Removal>),
    /// Nothing is left of a row that waited for that.
    ObjectsGone,
}

/// What a pod waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A Pod that was lost still exists.
    LostPod,
    /// Objects of an earlier start are being deleted.
    EarlierObjects,
    /// A deleted pod of the same name still holds objects.
    Predecessor,
    /// The next attempt has its time.
    NextAttempt,
    /// Its own objects must not exist and still do.
    EndOfObjects,
}

/// What is missing of the current start.
#[derive(Debug, Clone, PartialEq)]
pub struct Spawn {
    /// Whether the row has to become SPAWNING first.
    pub begin: bool,
    /// What to do about the NetworkPolicy.
    pub policy: PolicyStep,
    /// What to do about the Secret.
    pub secret: SecretStep,
    /// Whether to create the Pod.
    pub pod: bool,
    /// What to do about the Service.
    pub service: ServiceStep,
}

impl Spawn {
    /// Whether nothing is missing.
    fn is_complete(&self) -> bool {
        let Self { begin, policy, secret, pod, service } = self;
        !begin
            && *policy == PolicyStep::Keep
            && *secret == SecretStep::Keep
            && !pod
            && *service == ServiceStep::Keep
    }

    /// Whether something is created that holds the values of the start or refers to them.
    pub fn needs_values(&self) -> bool {
        self.pod || self.secret == SecretStep::Create
    }
}

/// What to do about the NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyStep {
    /// Nothing.
    Keep,
    /// Create it, before the Pod.
    Create,
    /// Give it the rules that the pod's entries ask for now.
    Change(Object),
    /// Let it go away with its Pod.
    Own,
}

/// What to do about the Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretStep {
    /// Nothing.
    Keep,
    /// Create it, before the Pod.
    Create,
    /// Let it go away with its Pod.
    Own,
}

/// What to do about the Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceStep {
    /// Nothing.
    Keep,
    /// Create it.
    Create,
    /// Point it to the current start and let it offer what the pod's entries ask for now.
    Point(Object),
}

/// One thing to remove.
#[derive(Debug, Clone, PartialEq)]
pub enum Removal {
    /// End the container and keep its log.
    EndPod {
        /// The Pod's name.
        name: String,
        /// Kubernetes' uid of it.
        k8s_uid: String,
    },
    /// Delete the Pod.
    DeletePod {
        /// The Pod's name.
        name: String,
        /// Kubernetes' uid of it.
        k8s_uid: String,
        /// Seconds until the container is killed; 0 does not wait for the node, `None` is what the Pod says.
        grace: Option<u32>,
    },
    /// Delete the Service.
    DeleteService(Object),
    /// Delete the Secret.
    DeleteSecret(Object),
    /// Delete the NetworkPolicy.
    DeletePolicy(Object),
}

/// Decides about one pod.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let row = facts.row;
    match row.instance_id {
        Some(instance) if row.deleted_at.is_none() && row.status.wants_objects() => bring_up(facts, instance),
        _ => take_down(facts),
    }
}

fn bring_up(facts: &Facts<'_>, instance: Uuid) -> Decision {
    let Facts { row, world, now, .. } = *facts;
    let stale: Vec<&Observation> = world.pods.iter().filter(|pod| pod.instance != instance).collect();
    let mut removals: Vec<Removal> = Vec::new();
    for pod in &stale {
        // Only a lost start leaves a Pod behind under a row that wants another one.
        match pod.deleting {
            Some(until) if now <= until + LOST_STUCK_AFTER => {}
            _ => removals.push(delete(pod, Some(0))),
        }
    }
    removals.extend(secrets(world, |secret| secret.instance != instance));
    removals.extend(policies(world, |policy| policy.instance != instance));
    if facts.wants_service.is_none() {
        removals.extend(services(world));
    }
    if !removals.is_empty() {
        return Decision::Remove(removals);
    }
    if !stale.is_empty() {
        return wait(LOOK_AGAIN_SOON, Waiting::LostPod);
    }
    if world.services.iter().chain(&world.secrets).any(|object| object.deleting) {
        return wait(LOOK_AGAIN_SOON, Waiting::EarlierObjects);
    }
    let pod = world.pods.first();
    match row.status {
        Status::Requested if facts.predecessors > 0 => {
            return wait(LOOK_AGAIN, Waiting::Predecessor);
        }
        Status::Requested => {
            if let Some(rest) =
                row.not_before.and_then(|at| (at - now).to_std().ok()).filter(|rest| !rest.is_zero())
            {
                return wait(rest.min(LONGEST_WAIT), Waiting::NextAttempt);
            }
        }
        // A Pod that is gone or goes away while it should run is health's to judge.
        Status::Available if pod.is_none_or(|pod| pod.deleting.is_some()) => return Decision::Nothing,
        Status::Spawning if pod.is_some_and(|pod| pod.deleting.is_some()) => return Decision::Nothing,
        _ => {}
    }
    let spawn = Spawn {
        begin: row.status == Status::Requested,
        policy: policy_step(facts, instance),
        secret: match world.secrets.first() {
            None if facts.wants_secret && pod.is_none_or(|pod| !pod.has_log()) => SecretStep::Create,
            Some(secret) if !secret.owned => SecretStep::Own,
            _ => SecretStep::Keep,
        },
        pod: pod.is_none(),
        service: match world.services.first() {
            None if facts.wants_service.is_some() => ServiceStep::Create,
            Some(service)
                if service.instance != instance || service.face.as_deref() != facts.wants_service =>
            {
                ServiceStep::Point(service.clone())
            }
            _ => ServiceStep::Keep,
        },
    };
    if spawn.is_complete() { Decision::Nothing } else { Decision::Spawn(spawn) }
}

fn policy_step(facts: &Facts<'_>, instance: Uuid) -> PolicyStep {
    let Some(wanted) = facts.wants_policy else { return PolicyStep::Keep };
    match facts.world.policies.iter().find(|policy| policy.instance == instance && !policy.deleting) {
        None => PolicyStep::Create,
        Some(policy) if policy.rules.as_deref() != Some(wanted) => PolicyStep::Change(policy.clone()),
        Some(policy) if !policy.owned => PolicyStep::Own,
        Some(_) => PolicyStep::Keep,
    }
}

fn take_down(facts: &Facts<'_>) -> Decision {
    let Facts { row, world, .. } = *facts;
    let waits_for_this = (row.deleted_at.is_some() && row.objects_gone_ts.is_none())
        || (row.deleted_at.is_none() && matches!(row.status, Status::ShuttingDown | Status::Restarting));
    if world.is_empty() {
        return if waits_for_this { Decision::ObjectsGone } else { Decision::Nothing };
    }
    let mut removals: Vec<Removal> = Vec::new();
    let mut wait_for = Duration::MAX;
    for pod in &world.pods {
        match end_of(facts, pod) {
            End::Remove(removal) => removals.push(removal),
            End::Wait(after) => wait_for = wait_for.min(after),
        }
    }
    removals.extend(services(world));
    removals.extend(secrets(world, |_| true));
    removals.extend(policies(world, |_| true));
    if !removals.is_empty() {
        return Decision::Remove(removals);
    }
    if wait_for == Duration::MAX {
        wait_for = LOOK_AGAIN_SOON;
    }
    wait(wait_for, Waiting::EndOfObjects)
}

enum End {
    Remove(Removal),
    Wait(Duration),
}

/// What a Pod that must not exist needs next.
fn end_of(facts: &Facts<'_>, pod: &Observation) -> End {
    let Facts { row, now, .. } = *facts;
    if let Some(until) = pod.deleting {
        let over = match &pod.container {
            // The container is known to have ended: only the kubelet's own tidying up is left.
            ContainerState::Terminated { .. } => true,
            _ if never_starts(pod) => now > until + NEVER_RAN_STUCK_AFTER,
            _ => now > until + STUCK_AFTER,
        };
        return if over { End::Remove(delete(pod, Some(0))) } else { End::Wait(LOOK_AGAIN) };
    }
    let is_current = row.instance_id == Some(pod.instance);
    let keeps_its_log = row.deleted_at.is_none()
        && matches!(row.status, Status::ShuttingDown | Status::Restarting | Status::Complete | Status::Error);
    // Once its deadline is set a Pod counts as failed at once, and a failed Pod is deleted without waiting for its
    // container. Only the end of the log tells that the container has ended too.
    let dies = pod.is_running() && pod.deadline_set;
    let waited = now - row.status_changed_ts;
    let limit = if dies { LOG_LIMIT.max(facts.grace + DEADLINE_MARGIN) } else { LOG_LIMIT };
    let nothing_to_wait_for = !is_current || facts.log_complete || !pod.has_log() || waited >= limit;
    if nothing_to_wait_for || !(keeps_its_log || dies) {
        return End::Remove(delete(pod, never_starts(pod).then_some(1)));
    }
    if pod.is_running() && !pod.deadline_set {
        return End::Remove(Removal::EndPod { name: pod.name.clone(), k8s_uid: pod.k8s_uid.clone() });
    }
    End::Wait((limit - waited).to_std().unwrap_or_default().min(LOOK_AGAIN))
}

/// Whether the container waits for something that a Pod under deletion no longer tries to get, such as its image.
fn never_starts(pod: &Observation) -> bool {
    match &pod.container {
        ContainerState::Waiting { reason, .. } => {
            !matches!(reason.as_str(), "" | "ContainerCreating" | "PodInitializing")
        }
        ContainerState::None | ContainerState::Running { .. } | ContainerState::Terminated { .. } => false,
    }
}

fn delete(pod: &Observation, grace: Option<u32>) -> Removal {
    Removal::DeletePod { name: pod.name.clone(), k8s_uid: pod.k8s_uid.clone(), grace }
}

fn services(world: &World) -> impl Iterator<Item = Removal> {
    world.services.iter().filter(|service| !service.deleting).cloned().map(Removal::DeleteService)
}

fn secrets(world: &World, unwanted: impl Fn(&Object) -> bool) -> impl Iterator<Item = Removal> {
    world
        .secrets
        .iter()
        .filter(move |secret| !secret.deleting && unwanted(secret))
        .cloned()
        .map(Removal::DeleteSecret)
}

/// Those that nobody needs any more: a container that is ending still has neighbours.
fn policies(world: &World, unwanted: impl Fn(&Object) -> bool) -> impl Iterator<Item = Removal> {
    let ended = |pod: &Observation| matches!(pod.container, ContainerState::Terminated { .. });
    let in_use =
        move |policy: &Object| world.pods.iter().any(|pod| pod.instance == policy.instance && !ended(pod));
    world
        .policies
        .iter()
        .filter(move |policy| !policy.deleting && unwanted(policy) && !in_use(policy))
        .cloned()
        .map(Removal::DeletePolicy)
}

fn wait(after: Duration, what: Waiting) -> Decision {
    Decision::Wait { after, what }
}

#[cfg(test)]
mod tests;
