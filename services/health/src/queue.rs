//! The rows to look at: each at most once at a time, several at once, some of them later.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    time::Duration,
};

use pods_runtime::{internal_http::Beat, shutdown::CancellationToken};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::metrics;

/// Rows of one survey: those that need something do not wait for the rest of thousands.
const SURVEYED_AT_ONCE: usize = 250;

/// Why a row is looked at; several reasons that come together are one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trigger(u8);

impl Trigger {
    /// A Pod of it looks different.
    pub const CHANGED: Trigger = Trigger(1);
    /// A Pod of it is gone.
    pub const DELETED: Trigger = Trigger(2);
    /// The log of its ended container is stored.
    pub const LOG_STORED: Trigger = Trigger(4);
    /// It is its turn, or time has passed.
    pub const TIMER: Trigger = Trigger(8);

    /// Whether this reason is among them.
    pub fn has(self, other: Trigger) -> bool {
        self.0 & other.0 != 0
    }

    fn and(self, other: Trigger) -> Trigger {
        Trigger(self.0 | other.0)
    }
}

/// Puts rows into the queue.
#[derive(Clone)]
pub struct Pusher {
    sender: mpsc::UnboundedSender<(Uuid, Trigger)>,
    many: mpsc::UnboundedSender<(Vec<Uuid>, Trigger)>,
}

impl Pusher {
    /// Looks at a row soon.
    pub fn push(&self, uid: Uuid, trigger: Trigger) {
        // The receiver lives as long as the process.
        let _closed = self.sender.send((uid, trigger));
    }

    /// Looks at many rows soon, of which most need nothing.
    pub fn push_all(&self, uids: Vec<Uuid>, trigger: Trigger) {
        if !uids.is_empty() {
            let _closed = self.many.send((uids, trigger));
        }
    }
}

/// The receiving side, to be given to [`run`].
pub struct Queue {
    receiver: mpsc::UnboundedReceiver<(Uuid, Trigger)>,
}

/// Many rows, to be given to [`survey`].
pub struct Surveys {
    receiver: mpsc::UnboundedReceiver<(Vec<Uuid>, Trigger)>,
}

/// A queue and what fills it.
pub fn queue() -> (Pusher, Queue, Surveys) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (many, surveys) = mpsc::unbounded_channel();
    (Pusher { sender, many }, Queue { receiver }, Surveys { receiver: surveys })
}

/// Hands many rows at once to `work`, and puts those that it answers into the queue.
pub async fn survey<W, F>(
    mut surveys: Surveys,
    queue: Pusher,
    shutdown: CancellationToken,
    work: W,
) -> anyhow::Result<()>
where
    W: Fn(Vec<Uuid>, Trigger) -> F,
    F: Future<Output = Vec<Uuid>>,
{
    loop {
        let (uids, trigger) = tokio::select! {
            Some(many) = surveys.receiver.recv() => many,
            () = shutdown.cancelled() => return Ok(()),
        };
        for some in uids.chunks(SURVEYED_AT_ONCE) {
            for uid in work(some.to_vec(), trigger).await {
                queue.push(uid, trigger);
            }
        }
    }
}

#[derive(Default)]
struct Schedule {
    /// What is due per row and whether it is being worked on.
    rows: HashMap<Uuid, (Trigger, bool)>,
    ready: VecDeque<Uuid>,
    timers: BTreeSet<(Instant, Uuid)>,
    timer_of: HashMap<Uuid, Instant>,
}

impl Schedule {
    fn push(&mut self, uid: Uuid, trigger: Trigger) {
        let (pending, running) = self.rows.entry(uid).or_default();
        let waits = *pending != Trigger::default();
        *pending = pending.and(trigger);
        if !waits && !*running {
            self.ready.push_back(uid);
        }
    }

    fn later(&mut self, uid: Uuid, at: Instant) {
        match self.timer_of.get(&uid) {
            Some(earlier) if *earlier <= at => return,
            Some(known) => {
                self.timers.remove(&(*known, uid));
            }
            None => {}
        }
        self.timer_of.insert(uid, at);
        self.timers.insert((at, uid));
    }

    fn fire(&mut self, now: Instant) {
        while let Some((_, uid)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            self.timer_of.remove(&uid);
            self.push(uid, Trigger::TIMER);
        }
    }

    fn next(&mut self) -> Option<(Uuid, Trigger)> {
        let uid = self.ready.pop_front()?;
        let (pending, running) = self.rows.entry(uid).or_default();
        *running = true;
        Some((uid, std::mem::take(pending)))
    }

    fn done(&mut self, uid: Uuid) {
        match self.rows.get_mut(&uid) {
            Some((pending, running)) if *pending != Trigger::default() => {
                *running = false;
                self.ready.push_back(uid);
            }
            _ => {
                self.rows.remove(&uid);
            }
        }
    }
}

/// How often an idle queue shows that it lives.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// Works off the queue, `concurrency` rows at once, until the token is cancelled. `work` says after which time it
/// wants to see the row again, if at all. `beat` ticks while the queue moves or has nothing to do, and not when every
/// look hangs.
pub async fn run<W, F>(
    mut queue: Queue,
    concurrency: usize,
    beat: Beat,
    shutdown: CancellationToken,
    work: W,
) -> anyhow::Result<()>
where
    W: Fn(Uuid, Trigger) -> F,
    F: Future<Output = Option<Duration>> + Send + 'static,
{
    let mut schedule = Schedule::default();
    let mut tasks: JoinSet<(Uuid, Option<Duration>)> = JoinSet::new();
    loop {
        while tasks.len() < concurrency
            && let Some((uid, trigger)) = schedule.next()
        {
            let job = work(uid, trigger);
            tasks.spawn(async move { (uid, job.await) });
        }
        if tasks.len() < concurrency {
            beat.tick();
        }
        metrics::queued(schedule.rows.len());
        let due = schedule.timers.first().map(|(at, _)| *at);
        tokio::select! {
            pushed = queue.receiver.recv() => match pushed {
                Some((uid, trigger)) => schedule.push(uid, trigger),
                None => return Ok(()),
            },
            Some(ended) = tasks.join_next() => {
                beat.tick();
                // A panic is a fault of ours: the process stops and is started again, with fresh eyes.
                let (uid, again) = ended?;
                if let Some(after) = again {
                    schedule.later(uid, Instant::now() + after);
                }
                schedule.done(uid);
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                schedule.fire(Instant::now());
            }
            () = tokio::time::sleep(BEAT_EVERY) => {}
            () = shutdown.cancelled() => break,
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_row_is_worked_on_once_at_a_time_and_reasons_are_merged() {
        let (pusher, queue, _surveys) = queue();
        let uid = Uuid::now_v7();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let token = CancellationToken::new();
        let (log, stop, again) = (Arc::clone(&seen), token.clone(), pusher.clone());
        pusher.push(uid, Trigger::CHANGED);
        pusher.push(uid, Trigger::DELETED);
        run(queue, 4, Beat::new(), token, move |uid, trigger| {
            let (log, stop, again) = (Arc::clone(&log), stop.clone(), again.clone());
            async move {
                log.lock().unwrap().push(trigger);
                let count = log.lock().unwrap().len();
                match count {
                    1 => {
                        again.push(uid, Trigger::LOG_STORED);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        None
                    }
                    2 => Some(Duration::from_secs(5)),
                    _ => {
                        stop.cancel();
                        None
                    }
                }
            }
        })
        .await
        .unwrap();
        let seen = seen.lock().unwrap().clone();
        // The first look may come before the second push; together they are all there.
        assert!(seen[0].has(Trigger::CHANGED));
        assert!(seen.iter().any(|trigger| trigger.has(Trigger::DELETED)));
        assert!(seen.iter().any(|trigger| trigger.has(Trigger::LOG_STORED)));
    }
}
