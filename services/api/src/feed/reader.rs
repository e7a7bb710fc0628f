//! Reads the change feed for all subscribers; asleep while there are none.

use std::time::{Duration, Instant};

use pods_db::{
    Db,
    changes::{self, ChangesError, Cursor},
    listen,
};
use pods_runtime::shutdown::CancellationToken;

use super::{Hub, entry};

/// How often the database is asked without having been notified.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes that come closer together are read together.
const PAUSE: Duration = Duration::from_millis(10);
/// While changes wait for an older transaction, which may write nothing that anybody is notified of.
const HELD_BACK: Duration = Duration::from_millis(20);
/// How long reading goes on when nobody subscribes any more: clients come back.
const REST_AFTER: Duration = Duration::from_secs(30);
/// A database that does not answer for so long is treated as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const BATCH: i64 = 500;

/// Reads for the subscribers of a hub until the token is cancelled; Postgres may come and go.
///
/// # Errors
/// None; the type is what the supervisor expects.
pub async fn run(hub: Hub, db: Db, site_id: String, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut reader = Reader { hub, db, site_id, position: None, failing: false };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = reader.hub.wanted() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = reader.read() => {}
        }
    }
}

struct Reader {
    hub: Hub,
    db: Db,
    site_id: String,
    position: Option<Cursor>,
    failing: bool,
}

impl Reader {
    /// Reads until nobody has subscribed for a while.
    async fn read(&mut self) {
        let mut notifications = listen::notifications(self.db.url(), changes::CHANNEL);
        let mut wanted_at = Instant::now();
        self.position = None;
        loop {
            let held_back = self.step().await;
            if self.hub.count() > 0 {
                wanted_at = Instant::now();
            } else if wanted_at.elapsed() > REST_AFTER && self.hub.rest() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
            let wait = if held_back { HELD_BACK } else { INTERVAL };
            // Woken or not, what there is is read.
            let _woken = tokio::time::timeout(wait, notifications.recv()).await;
        }
    }

    /// One look at the database, and whether there are changes that cannot be read yet. A failure is reported once and
    /// tried again at the next look.
    async fn step(&mut self) -> bool {
        let result = match tokio::time::timeout(ANSWER_LIMIT, self.look()).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the database did not answer in time")),
        };
        match &result {
            Ok(_) if self.failing => tracing::info!("the changes for the stream of events are read again"),
            Err(error) if !self.failing => tracing::warn!(
                error = format!("{error:#}"),
                "the changes for the stream of events cannot be read, trying again"
            ),
            Ok(_) | Err(_) => {}
        }
        self.failing = result.is_err();
        result.unwrap_or(false)
    }

    async fn look(&mut self) -> anyhow::Result<bool> {
        let mut conn = self.db.get().await?;
        loop {
            let Some(position) = self.position else {
                let head = changes::head(&mut conn).await?;
                self.hub.publish(Vec::new(), head);
                self.position = Some(head);
                continue;
            };
            let page = match changes::read(&mut conn, position, BATCH).await {
                Ok(page) => page,
                Err(ChangesError::TooOld | ChangesError::Ahead) => {
                    let head = changes::head(&mut conn).await?;
                    tracing::warn!(cursor = %position, "the change feed was lost; subscribers have to start anew");
                    self.hub.resync(head);
                    self.position = Some(head);
                    continue;
                }
                Err(ChangesError::Db(error)) => return Err(error.into()),
            };
            let entries = entry::load(&mut conn, &self.site_id, &page.changes).await?;
            self.hub.publish(entries, page.next);
            self.position = Some(page.next);
            if !page.full {
                return Ok(page.held_back);
            }
        }
    }
}
