//! The logs of a pod as they are written, over any number of runs.
//!
//! The stream reads Postgres and nothing else, so it neither notices nor minds what is restarted in between. While
//! nothing is written it costs a query now and then, which also asks whether the caller may still read.

use std::{sync::Arc, time::Duration};

use pods_core::permission::Action;
use pods_db::{
    DbError,
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
/// How often it is asked whether the caller may still read; a lost notification is found then too.
const CHECK_EVERY: Duration = Duration::from_secs(15);
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
        let mut check_at = Instant::now() + CHECK_EVERY;
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
            *check_at = Instant::now() + CHECK_EVERY;
        }
        if let Some(wanted) = *begin {
            let events = self.begin(wanted).await?;
            *begin = None;
            if !events.is_empty() {
                return Ok(events);
            }
        }
        let mut conn = self.app.db.get().await?;
        while let Some(run) = &self.run
            && let Some(piece) = logs::next(&mut conn, run.run_id, self.offset, PIECE).await?
        {
            let events = self.tell(piece);
            // A piece may be nothing but the beginning of a character.
            if !events.is_empty() {
                return Ok(events);
            }
        }
        let next = runs::after(&mut conn, self.uid, self.index).await?;
        drop(conn);
        match next {
            Some(run) if run.is_archived => {
                self.index = run.run_index;
                self.run = None;
                Ok(vec![Event::new("gap").json(&RUN_LEFT_OUT)])
            }
            Some(run) => Ok(self.enter(run, 0)),
            None => Ok(Vec::new()),
        }
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
                if run.is_archived {
                    return Ok(vec![Event::new("gap").json(&RUN_LEFT_OUT)]);
                }
                self.offset = cursor.offset.min(run.log_end);
                self.run = Some(run);
                return Ok(Vec::new());
            }
        }
        let latest = runs::latest(&mut conn, self.uid).await?;
        let Some(run) = latest else {
            // A start has begun and its container does not run yet: the next run is the one.
            self.index = runs::list(&mut conn, self.uid).await?.first().map_or(0, |run| run.run_index);
            return Ok(Vec::new());
        };
        let offset = logs::start(&mut conn, run.run_id, begin.wanted).await?.min(run.log_end);
        drop(conn);
        let mut events: Vec<Event> =
            begin.cursor.iter().map(|_| Event::new("gap").json(&RUN_LEFT_OUT)).collect();
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
