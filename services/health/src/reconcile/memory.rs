//! What is remembered between looks. Losing it does no harm, so each part of it has a size.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use pods_core::phases::Phases;
use pods_db::pods::PodRow;
use pods_kube::observe::Observation;
use uuid::Uuid;

use crate::waiting;

/// Starts, or rows, that each part remembers.
const MOST: usize = 10_000;
/// A look that fails is repeated every second. Sooner it may be an outage, which is told elsewhere and once for all rows.
const FAILURES_TOLD: u32 = 15;

#[derive(Default)]
pub(super) struct Memory {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Since when the start of an instance is in trouble.
    trouble: HashMap<Uuid, DateTime<Utc>>,
    /// When the spawner was last told about a row although nothing had happened.
    reminded: HashMap<Uuid, Instant>,
    /// Rows that do not exist but have Pods; each is reported once.
    strangers: HashSet<Uuid>,
    /// How often in a row a look at a row has failed.
    failed: HashMap<Uuid, u32>,
    /// The phases that are stored of young starts.
    noted: HashMap<Uuid, Phases>,
}

impl Memory {
    /// Whether these phases of the row's start are stored.
    pub fn has_stored(&self, row: &PodRow, phases: &Phases) -> bool {
        row.instance_id.is_some_and(|instance| self.lock().noted.get(&instance) == Some(phases))
    }

    /// These phases of the row's start are stored.
    pub fn stored(&self, row: &PodRow, phases: &Phases) {
        let Some(instance) = row.instance_id else { return };
        let mut known = self.lock();
        if known.noted.len() >= MOST {
            known.noted.clear();
        }
        known.noted.insert(instance, *phases);
    }

    /// Since when the row's start is in trouble.
    pub fn trouble_since(&self, row: &PodRow) -> Option<DateTime<Utc>> {
        let known = row.instance_id.and_then(|instance| self.lock().trouble.get(&instance).copied());
        // A process that was started meanwhile takes the row's word for it.
        known.or_else(|| waiting::is_trouble(row.status_container.code).then_some(row.status_changed_ts))
    }

    /// Notes whether the row's start is in trouble now.
    pub fn note_trouble(&self, row: &PodRow, trouble: bool, now: DateTime<Utc>) {
        let Some(instance) = row.instance_id else { return };
        let since = self.trouble_since(row).unwrap_or(now);
        let mut known = self.lock();
        if !trouble {
            known.trouble.remove(&instance);
            return;
        }
        if known.trouble.len() >= MOST {
            // Starts that were given up while they were in trouble.
            known.trouble.clear();
        }
        known.trouble.entry(instance).or_insert(since);
    }

    /// Whether the spawner may be told again about a row at which nothing happened.
    pub fn may_remind(&self, uid: Uuid, interval: Duration) -> bool {
        let mut known = self.lock();
        known.reminded.retain(|_, at| at.elapsed() < interval);
        let first = !known.reminded.contains_key(&uid);
        if first {
            known.reminded.insert(uid, Instant::now());
        }
        first
    }

    /// A look at a row failed; whether that has happened so often in a row that it should be known, which is said once.
    pub fn keeps_failing(&self, uid: Uuid) -> bool {
        let mut known = self.lock();
        if known.failed.len() >= MOST {
            known.failed.clear();
        }
        let times = known.failed.entry(uid).or_default();
        *times = times.saturating_add(1);
        *times == FAILURES_TOLD
    }

    /// A look at a row did not fail.
    pub fn succeeded(&self, uid: Uuid) {
        self.lock().failed.remove(&uid);
    }

    /// Reports Pods that belong to no row, once.
    pub fn report_stranger(&self, uid: Uuid, pod: &Observation) {
        let mut known = self.lock();
        if known.strangers.len() < MOST && known.strangers.insert(uid) {
            tracing::warn!(pod.uid = %uid, kubernetes.pod = pod.name, "a Pod carries our labels but belongs to no row; it is left alone");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_keeps_failing_is_told_once() {
        let (memory, uid) = (Memory::default(), Uuid::now_v7());
        let told = |times: u32| (0..times).filter(|_| memory.keeps_failing(uid)).count();
        assert_eq!((told(FAILURES_TOLD - 1), told(1), told(100)), (0, 1, 0));
        memory.succeeded(uid);
        assert_eq!(told(FAILURES_TOLD), 1);
    }
}
