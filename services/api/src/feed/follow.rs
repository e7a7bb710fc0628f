//! What one subscriber gets: first what it missed, then what happens.

use std::time::Duration;

use pods_core::Tenant;
use pods_db::{
    Db,
    changes::{self, ChangesError, Cursor},
    summaries,
};
use serde_json::json;

use super::{Hub, Message, Subscription, Viewer, entry};
use crate::{
    error::ApiError,
    feed::entry::Entry,
    sse::{End, Event, Output},
};

/// Changes that are looked at together by a subscriber that missed them.
const BATCH: i64 = 200;
/// Most changes that are looked at for a subscriber that missed them: beyond that all pods of a user are read faster.
pub const MISSED_MAX: i64 = 20_000;

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With what happens from now on.
    Now,
    /// After a change that the client knows.
    After(Cursor),
    /// With all pods as they are.
    Snapshot,
    /// The same, for a client whose cursor is of no use any more.
    Resync,
}

/// A stream of events.
#[derive(Debug)]
pub struct Follower {
    /// Where events come from.
    pub hub: Hub,
    /// Where those come from that the hub has handed out before.
    pub db: Db,
    /// The tenant whose pods are seen.
    pub tenant: Tenant,
    /// Who sees them.
    pub viewer: Viewer,
    /// Whether all pods are sent when the client has to start anew.
    pub snapshots: bool,
    /// Longest time until the client learns how far the feed was read, although nothing was for it.
    pub silence: Duration,
}

/// Why there is nothing to go on with.
enum Lost {
    /// The place in the feed; all has to be read again.
    Place,
    /// The database.
    Database,
}

impl From<ApiError> for Lost {
    fn from(_: ApiError) -> Self {
        Lost::Database
    }
}

impl From<ChangesError> for Lost {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::TooOld | ChangesError::Ahead => Lost::Place,
            ChangesError::Db(error) => ApiError::from(error).into(),
        }
    }
}

impl Follower {
    /// Sends events until the database is away while it is needed; the client comes back then.
    pub async fn run(self, begin: Begin, mut subscription: Subscription, out: Output) -> End {
        let mut begin = begin;
        loop {
            let reached = match self.begin(begin, &subscription, &out).await {
                Ok(position) => self.follow(position, &mut subscription, &out).await,
                Err(Lost::Place) => {
                    begin = Begin::Resync;
                    continue;
                }
                Err(Lost::Database) => return End::UNAVAILABLE,
            };
            begin = Begin::After(reached);
            // Too much happened at once: what the queue had no place for is read from the feed.
            subscription = match self.hub.subscribe(&self.viewer).await {
                Ok(subscription) => subscription,
                Err(_) => return End::UNAVAILABLE,
            };
        }
    }

    /// Sends what comes before the subscription, and answers up to where.
    async fn begin(&self, begin: Begin, subscription: &Subscription, out: &Output) -> Result<Cursor, Lost> {
        let start = subscription.start;
        match begin {
            Begin::Now => out.position(start.to_string()),
            Begin::After(position) => return self.catch_up(position, start, out).await,
            Begin::Snapshot => self.snapshot(start, out).await?,
            Begin::Resync => self.resync(start, out).await?,
        }
        Ok(start)
    }

    async fn catch_up(&self, mut position: Cursor, until: Cursor, out: &Output) -> Result<Cursor, Lost> {
        let mut checked = false;
        while position < until {
            // Not while the client is sent what was found: a slow one would keep the others waiting.
            let turn = self.hub.turn_to_read().await?;
            let mut conn = self.db.get().await.map_err(ApiError::from)?;
            let page = changes::read(&mut conn, position, BATCH).await?;
            if page.full && !std::mem::replace(&mut checked, true) {
                let behind = changes::is_behind(&mut conn, page.next, MISSED_MAX).await;
                if behind.map_err(ApiError::from)? {
                    return Err(Lost::Place);
                }
            }
            let entries =
                entry::load(&mut conn, &self.tenant.site_id, &page.changes).await.map_err(ApiError::from)?;
            drop(conn);
            drop(turn);
            for entry in entries.iter().filter(|entry| self.viewer.sees(entry)) {
                out.send(entry.event()).await;
            }
            position = page.next;
            out.position(position.to_string());
        }
        Ok(position)
    }

    /// All pods as they are now, which is not before `start`. They have no ids: a client that leaves in the middle has to
    /// begin anew.
    async fn snapshot(&self, start: Cursor, out: &Output) -> Result<(), Lost> {
        let mut conn = self.db.get().await.map_err(ApiError::from)?;
        let pods = summaries::readable(&mut conn, &self.tenant, self.viewer.username.as_deref())
            .await
            .map_err(ApiError::from)?;
        drop(conn);
        let mut count = 0;
        for pod in pods.into_iter().filter(|pod| self.viewer.selects(&pod.pod_id)) {
            count += 1;
            out.send(Entry::event_of(pod)).await;
        }
        out.send(Event::new("snapshot").id(start.to_string()).json(&json!({ "pods": count }))).await;
        Ok(())
    }

    async fn resync(&self, start: Cursor, out: &Output) -> Result<(), Lost> {
        let event = Event::new("resync");
        if self.snapshots {
            let message = "Changes were lost. Forget the pods that you know: all that there are follow.";
            out.send(event.json(&json!({ "message": message }))).await;
            return self.snapshot(start, out).await;
        }
        let message = "Changes were lost. List the pods again; what happens from now on follows.";
        out.send(event.id(start.to_string()).json(&json!({ "message": message }))).await;
        Ok(())
    }

    /// Sends what the subscription brings, until it ends; answers how far that was.
    async fn follow(&self, mut position: Cursor, subscription: &mut Subscription, out: &Output) -> Cursor {
        loop {
            // Read first: while nothing waits, everything up to here was received.
            let settled = self.hub.position();
            match tokio::time::timeout(self.silence, subscription.next()).await {
                Ok(Some(Message::Entry(entry))) if entry.cursor > position => {
                    position = entry.cursor;
                    out.send(entry.event()).await;
                }
                Ok(Some(Message::Entry(_))) => {}
                Ok(Some(Message::Resync(start))) => {
                    if self.resync(start, out).await.is_err() {
                        // The next attempt finds that the place is lost, and tries again.
                        return position;
                    }
                    position = start;
                }
                Ok(None) => return position,
                Err(_) => {
                    position = position.max(settled.unwrap_or(position));
                    out.position(position.to_string());
                }
            }
        }
    }
}
