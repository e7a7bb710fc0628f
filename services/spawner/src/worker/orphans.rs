//! Objects that came late: Kubernetes carried out a call that had been given up, after the pod was settled.
//!
//! No wake-up tells of them and no row waits for them. All of them carry the uid of their row, so they are found by
//! listing what belongs to the site. An object whose row is not known is never touched.

use std::{collections::HashSet, time::Duration};

use pods_db::{Db, leases, pods::PodRow};
use pods_runtime::shutdown::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::Worker;

/// One replica looks this often.
const EVERY: Duration = Duration::from_secs(60);
const TRY_EVERY: Duration = Duration::from_secs(10);
/// Uids that one statement asks for.
const AT_ONCE: usize = 1000;

/// Looks for ever.
pub(crate) async fn run(worker: Worker, db: Db, shutdown: CancellationToken) -> anyhow::Result<()> {
    let work = async {
        let mut failing = false;
        loop {
            tokio::time::sleep(TRY_EVERY).await;
            match turn(&worker, &db).await {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    warn!(
                        error = format!("{error:#}"),
                        "objects that came late cannot be looked for, trying again"
                    );
                }
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

async fn turn(worker: &Worker, db: &Db) -> anyhow::Result<()> {
    let name = format!("spawner/{}/orphans", worker.site_id);
    // A turn and no office: whoever takes it has it until the next one is due, and nobody renews it.
    let holder = Uuid::now_v7().to_string();
    if leases::acquire(&mut *db.get().await?, &name, &holder, EVERY).await?.is_some() {
        worker.remove_orphans(db).await?;
    }
    Ok(())
}

impl Worker {
    /// Looks at the settled pods of which Kubernetes holds a Service, a Secret or a NetworkPolicy all the same (of Pods
    /// health finds them). Answers how many there were.
    ///
    /// # Errors
    /// When Kubernetes or the database does not answer.
    pub async fn remove_orphans(&self, db: &Db) -> anyhow::Result<usize> {
        let uids: Vec<Uuid> = self.cluster.uids(&self.site_id).await?.into_iter().collect();
        let mut late = Vec::new();
        for uids in uids.chunks(AT_ONCE) {
            late.extend(PodRow::at_rest(&mut *db.get().await?, &self.site_id, uids).await?);
        }
        let late: HashSet<Uuid> = late.into_iter().collect();
        for uid in &late {
            info!(pod.uid = %uid, "objects of a settled pod exist, looking at it");
            self.look_at(*uid, 1).await;
        }
        Ok(late.len())
    }
}
