//! Rows at which nothing was left to do when they were looked at last.
//!
//! Whatever Kubernetes shows anew, and every timer, leads to a look by itself; what a sweep has to find is a row that was
//! written meanwhile. So a sweep compares revisions, and looks only at rows that moved: its cost grows with the changes
//! and not with the pods.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

/// The revisions at which rows were settled; clones share it. Losing it costs looks and does no harm.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    revisions: Arc<Mutex<HashMap<Uuid, i64>>>,
}

impl Settled {
    /// Nothing is left to do for a row at this revision until something happens.
    pub fn note(&self, uid: Uuid, revision: i64) {
        self.lock().insert(uid, revision);
    }

    /// A row is looked at again, for whatever reason.
    pub fn forget(&self, uid: Uuid) {
        self.lock().remove(&uid);
    }

    /// Shares came or went: what was seen under an earlier lease proves nothing.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    /// Whether a row is as it was when nothing was left to do.
    pub fn is_settled(&self, uid: Uuid, revision: i64) -> bool {
        self.lock().get(&uid) == Some(&revision)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, i64>> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_revision_that_was_seen_is_settled() {
        let (settled, uid) = (Settled::default(), Uuid::now_v7());
        settled.note(uid, 3);
        assert!(settled.is_settled(uid, 3) && !settled.is_settled(uid, 4));
        settled.forget(uid);
        assert!(!settled.is_settled(uid, 3));
    }
}
