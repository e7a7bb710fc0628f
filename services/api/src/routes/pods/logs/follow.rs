//! The logs of a pod as they are written, over any number of runs.
//!
//! The stream reads Postgres and nothing else, so it neither notices nor minds what is restarted in between. While
//! nothing is written it costs a query now and then, which also asks whether the caller may still read.

use std::{sync::Arc, time::Duration};

use pods_core::permission::Action;
use pods_db::{
    Connection, DbError,
    logs::{self, Piece, Wanted, runs, runs::Run},
};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{text::Decoder, wanted::Cursor};
use crate::{
    caller::Caller,
    error::ApiError,
    log_feed::Growth,
    routes::pods::load,
    sse::{End, Event, Output},
    state::AppState,
    view::LogRunBegun,
};

/// Bytes of one event.
const PIECE: i32 = 32 * 1024;
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How often in a row the database may fail before the client is sent away.
const FAILURES_MAX: u32 = 30;

const FORBIDDEN: End = End::new("forbidden", "You may not read the logs of this pod any more.");
const GONE: End = End::new("gone", "The pod was deleted.");

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub struct Begin {
    /// The place after which the client goes on; else the current or last run.
    pub cursor: Option<Cursor>,
    /// Which part of what is stored already.
    pub wanted: Wanted,
}

/// Something is missing.
#[derive(Debug, Serialize)]
struct Gap {
    message: &'static str,
}

const LEFT_OUT: Gap = Gap {
    message: "Something is missing here: the container wrote more than is kept, or faster than it can be read.",
};
const RUN_LEFT_OUT: Gap =
    Gap { message: "The rest of a run is missing here: it is not kept in this form any more." };

/// A client that follows the logs of a pod.
pub struct Follower {
    app: Arc<AppState>,
    caller: Caller,
    pod_id: String,
    uid: Uuid,
    run: Option<Run>,
    /// The newest run that was looked at; later ones are new.
    index: i32,
    offset: i64,
    decoder: Decoder,
}

/// Why a step led nowhere.
enum Stopped {
    Over(End),
    Failed,
}

impl From<ApiError> for Stopped {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotFound(_) => Self::Over(GONE),
            ApiError::Denied(_) => Self::Over(FORBIDDEN),
            _ => Self::Failed,
        }
    }
}

impl From<DbError> for Stopped {
    fn from(_: DbError) -> Self {
        Self::Failed
    }
}

impl From<pods_db::Unavailable> for Stopped {
    fn from(_: pods_db::Unavailable) -> Self {
        Self::Failed
    }
}

impl Follower {
    /// Has seen nothing yet.
    pub fn new(app: Arc<AppState>, caller: Caller, pod_id: String, uid: Uuid) -> Self {
        Self { app, caller, pod_id, uid, run: None, index: 0, offset: 0, decoder: Decoder::default() }
    }

    /// Sends what there is and what comes, for ever.
    pub async fn run(mut self, begin: Begin, out: Output) -> End {
        // Before the first look, so that nothing is missed.
        let mut growth: Growth = self.app.log_feed.follow(self.uid);
        let mut begin = Some(begin);
        let mut check_at = self.next_check();
        let mut failures = 0;
        loop {
            match self.step(&mut begin, &mut check_at).await {
                Ok(events) if events.is_empty() => {
                    failures = 0;
                    let _time = timeout_at(check_at, growth.grown()).await;
                }
                Ok(events) => {
                    failures = 0;
                    for event in events {
                        out.send(event).await;
                    }
                }
                Err(Stopped::Over(end)) => return end,
                Err(Stopped::Failed) => {
                    failures += 1;
                    if failures > FAILURES_MAX {
                        return End::UNAVAILABLE;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// The next events; none when there is nothing new.
    async fn step(
        &mut self,
        begin: &mut Option<Begin>,
        check_at: &mut Instant,
    ) -> Result<Vec<Event>, Stopped> {
        if Instant::now() >= *check_at {
            self.check().await?;
            *check_at = self.next_check();
        }
        if let Some(wanted) = *begin {
            let events = self.begin(wanted).await?;
            *begin = None;
            if !events.is_empty() {
                return Ok(events);
            }
        }
        let mut conn = self.app.db.get().await?;
        let events = self.read_on(&mut conn).await?;
        if !events.is_empty() {
            return Ok(events);
        }
        let Some(next) = runs::after(&mut conn, self.uid, self.index).await? else { return Ok(Vec::new()) };
        if let Some(run) = &self.run {
            let now = runs::find(&mut conn, self.uid, run.run_id).await?;
            if is_cut_short(now.as_ref(), self.offset) {
                return Ok(self.leave_out(self.index));
            }
            // What came before the run ended and after it was read.
            let events = self.read_on(&mut conn).await?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
        drop(conn);
        // Runs are numbered without a hole: those in between were dropped.
        if next.run_index > self.index + 1 {
            return Ok(self.leave_out(next.run_index - 1));
        }
        if next.is_archived {
            return Ok(self.leave_out(next.run_index));
        }
        Ok(self.enter(next, 0))
    }

    /// The next events of the run that is being told; none when there is nothing new in it.
    async fn read_on(&mut self, conn: &mut Connection) -> Result<Vec<Event>, DbError> {
        while let Some(run) = &self.run
            && let Some(piece) = logs::next(conn, run.run_id, self.offset, PIECE).await?
        {
            let events = self.tell(piece);
            // A piece may be nothing but the beginning of a character.
            if !events.is_empty() {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    /// Goes on after the run of this number, of which something, or all, is not kept any more.
    fn leave_out(&mut self, index: i32) -> Vec<Event> {
        let mut events = self.give_up();
        events.push(Event::new("gap").json(&RUN_LEFT_OUT));
        (self.index, self.run) = (index, None);
        events
    }

    /// When it is asked again whether the caller may still read; a lost notification is found then too.
    fn next_check(&self) -> Instant {
        Instant::now() + self.app.streams.limits().recheck
    }

    /// Whether this is still the pod and the caller may still read it.
    async fn check(&self) -> Result<(), Stopped> {
        let mut conn = self.app.db.get().await?;
        let pod = load(&mut conn, &self.caller, &self.pod_id, Action::GetPodLogs).await?;
        if pod.uid == self.uid { Ok(()) } else { Err(Stopped::Over(GONE)) }
    }

    /// Finds the place to begin at.
    async fn begin(&mut self, begin: Begin) -> Result<Vec<Event>, Stopped> {
        let mut conn = self.app.db.get().await?;
        if let Some(cursor) = begin.cursor {
            let known = runs::find(&mut conn, self.uid, cursor.run).await?;
            if let Some(run) = known {
                self.index = run.run_index;
                if is_cut_short(Some(&run), cursor.offset) {
                    return Ok(vec![Event::new("gap").json(&RUN_LEFT_OUT)]);
                }
                self.offset = cursor.offset.min(run.log_end);
                self.run = Some(run);
                return Ok(Vec::new());
            }
        }
        // Where the client was is not kept any more.
        let mut events: Vec<Event> =
            begin.cursor.iter().map(|_| Event::new("gap").json(&RUN_LEFT_OUT)).collect();
        // Asked for first: a run that begins between the two questions is a new one and not one of these.
        let before = runs::list(&mut conn, self.uid).await?.first().map_or(0, |run| run.run_index);
        let Some(run) = runs::latest(&mut conn, self.uid).await? else {
            // A start has begun and its container does not run yet: the next run is the one.
            self.index = before;
            return Ok(events);
        };
        let offset = logs::start(&mut conn, run.run_id, begin.wanted).await?.min(run.log_end);
        drop(conn);
        events.extend(self.enter(run, offset));
        Ok(events)
    }

    /// Goes on with another run.
    fn enter(&mut self, run: Run, offset: i64) -> Vec<Event> {
        let mut events = self.give_up();
        let cursor = Cursor { run: run.run_id, offset };
        let begun = LogRunBegun { id: run.run_id, run_index: run.run_index, started_at: run.started_at };
        events.push(Event::new("run").id(cursor.id()).json(&begun));
        (self.index, self.offset) = (run.run_index, offset);
        self.run = Some(run);
        events
    }

    /// A character that will not go on.
    fn give_up(&mut self) -> Vec<Event> {
        let text = self.decoder.give_up();
        text.map(|text| self.log(text.to_owned())).into_iter().collect()
    }

    fn tell(&mut self, piece: Piece) -> Vec<Event> {
        let mut events = Vec::new();
        // What lies before the ring when a client has just come is no gap: it was never promised.
        if piece.offset > self.offset {
            events = self.give_up();
            if self.offset > 0 {
                self.offset = piece.offset;
                events.push(self.event("gap").json(&LEFT_OUT));
            }
        }
        self.offset = piece.offset + i64::try_from(piece.bytes.len()).unwrap_or(0);
        let text = self.decoder.push(piece.bytes);
        if !text.is_empty() {
            events.push(self.log(text));
        }
        events
    }

    fn log(&self, text: String) -> Event {
        self.event("log").data(text)
    }

    /// An event after everything that was told so far.
    fn event(&self, name: &'static str) -> Event {
        let waiting = i64::try_from(self.decoder.waiting()).unwrap_or(0);
        let cursor = self.run.as_ref().map(|run| Cursor { run: run.run_id, offset: self.offset - waiting });
        match cursor {
            Some(cursor) => Event::new(name).id(cursor.id()),
            None => Event::new(name),
        }
    }
}

/// Whether what lies behind a place in a run cannot be told any more: the run was archived, or dropped, while the client
/// was away or slow.
fn is_cut_short(run: Option<&Run>, offset: i64) -> bool {
    run.is_none_or(|run| run.is_archived && offset < run.log_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_told_is_missed() {
        let run = |is_archived| Run {
            run_id: Uuid::nil(),
            run_index: 1,
            started_at: chrono::DateTime::UNIX_EPOCH,
            stopped_at: None,
            log_size_bytes: 10,
            log_end: 10,
            is_archived,
        };
        assert!(!is_cut_short(Some(&run(false)), 4), "its rest can be read");
        assert!(is_cut_short(Some(&run(true)), 4));
        assert!(!is_cut_short(Some(&run(true)), 10), "everything was told");
        assert!(is_cut_short(None, 10), "nobody knows what there was");
    }
}
