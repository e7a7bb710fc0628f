//! A look at many rows at once: after a start, when shares are gained and in each full sweep nearly all of them need
//! nothing, and to learn that of thousands must not cost thousands of queries.

use std::{collections::HashMap, sync::Arc};

use chrono::Utc;
use pods_db::pods::PodRow;
use pods_kube::observe::Observation;
use uuid::Uuid;

use super::{Known, Reconciler, Shared, current, is_young};
use crate::{decide, queue::Trigger};

impl Reconciler {
    /// Notes which of these rows need nothing, follows their logs, and answers the others: those are to be looked at
    /// one by one.
    pub async fn survey(self, uids: Vec<Uuid>, trigger: Trigger) -> Vec<Uuid> {
        match self.shared.survey(&uids, trigger).await {
            Ok(open) => open,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::debug!(error, "a look at many pods failed, each is looked at");
                uids
            }
        }
    }
}

impl Shared {
    async fn survey(&self, uids: &[Uuid], trigger: Trigger) -> anyhow::Result<Vec<Uuid>> {
        let mine: Vec<Uuid> = uids.iter().copied().filter(|uid| self.parts.shards.mine(*uid)).collect();
        for uid in &mine {
            self.parts.settled.forget(*uid);
        }
        // First what Kubernetes shows, then the rows: no row is older than what was observed of it.
        let seen: HashMap<Uuid, Vec<_>> = mine.iter().map(|uid| (*uid, self.parts.view.of(*uid))).collect();
        let rows = PodRow::by_uids(&mut *self.parts.db.get().await?, &mine).await?;
        let rows: HashMap<Uuid, PodRow> = rows.into_iter().map(|row| (row.uid, row)).collect();
        let rests = |uid: &Uuid| rows.get(uid).is_some_and(|row| self.rests(row, &seen[uid], trigger));
        Ok(mine.into_iter().filter(|uid| !rests(uid)).collect())
    }

    /// Whether a row needs nothing as far as it and the view can tell; then that is noted and its log is followed.
    fn rests(&self, row: &PodRow, pods: &[Arc<Observation>], trigger: Trigger) -> bool {
        let now = Utc::now();
        let pod = current(row, pods);
        let note = pod.map(|pod| self.parts.notes.of(&pod.name)).unwrap_or_default();
        let asks_more = |pod: &Arc<Observation>| {
            pod.end.is_some()
                || decide::asks_for_events(pod, row, &note, now)
                || is_young(row, &self.phases_of(pod, &note), now)
        };
        if pod.is_some_and(asks_more) {
            return false;
        }
        let known = Known { note: &note, last_lines: None, now };
        let plan = decide::decide(row, &self.seen(row, pods, self.parts.view.synced(), trigger, known));
        if !plan.rests() {
            return false;
        }
        self.note(row, pods, &plan, now);
        self.parts.settled.note(row.uid, row.revision);
        true
    }
}
