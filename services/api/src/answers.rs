//! Answers of many megabytes, which logs are: how many are made at once, and how much of those that are made may wait for
//! clients that read slowly. Without bounds a few of those would fill the memory of the process.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    web::Bytes,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{caller::Caller, error::ApiError};

/// What is handed to a connection at once; it takes the next one when it has little left to send.
const PIECE: usize = 64 * 1024;

/// How much of large answers a process holds.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimits {
    /// Answers that are made at once; others wait for their turn.
    pub making: usize,
    /// Bytes that may wait for a user of a tenant before the next answer is made.
    pub per_user: usize,
    /// Bytes that may wait for all users.
    pub total: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { making: 4, per_user: 32 << 20, total: 192 << 20 }
    }
}

/// The large answers of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Answers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: AnswerLimits,
    making: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
}

/// Bytes that clients have not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    users: HashMap<(String, String), usize>,
}

impl Default for Answers {
    fn default() -> Self {
        Self::new(AnswerLimits::default())
    }
}

impl Answers {
    /// None yet.
    pub fn new(limits: AnswerLimits) -> Self {
        let making = Arc::new(Semaphore::new(limits.making));
        Self(Arc::new(Shared { limits, making, waiting: Mutex::default() }))
    }

    /// Waits for the turn to make an answer; nothing scarce should be held meanwhile.
    ///
    /// # Errors
    /// 429 when too much waits for the user, 503 when too much waits for all.
    pub async fn turn(&self, caller: &Caller) -> Result<Turn, ApiError> {
        let key = (caller.tenant.tenant_id.clone(), caller.username.clone());
        self.take(key).await
    }

    async fn take(&self, key: (String, String)) -> Result<Turn, ApiError> {
        self.0.has_room(&key)?;
        let turn = Arc::clone(&self.0.making).acquire_owned().await;
        let turn = turn.map_err(|closed| ApiError::Internal(closed.into()))?;
        // Others that waited for their turns may have taken what there was.
        self.0.has_room(&key)?;
        Ok(Turn { shared: Arc::clone(&self.0), key, _turn: turn })
    }
}

impl Shared {
    fn has_room(&self, key: &(String, String)) -> Result<(), ApiError> {
        let waiting = self.waiting();
        if waiting.users.get(key).is_some_and(|bytes| *bytes >= self.limits.per_user) {
            return Err(ApiError::UnreadAnswers);
        }
        if waiting.total >= self.limits.total {
            return Err(ApiError::Unavailable(
                "Too many large answers are being read at the moment; try again, or ask for less (tail, since).",
            ));
        }
        Ok(())
    }

    /// Counting cannot stop half way.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make one answer.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    key: (String, String),
    _turn: OwnedSemaphorePermit,
}

impl Turn {
    /// The answer as it goes out: in pieces, and counted until the client has taken it.
    pub fn send(self, answer: HttpResponse) -> HttpResponse {
        let (head, body) = answer.into_parts();
        match body.try_into_bytes() {
            // It leaves at once.
            Ok(bytes) if bytes.len() <= PIECE => head.set_body(bytes).map_into_boxed_body(),
            Ok(bytes) => head.set_body(self.hold(bytes)).map_into_boxed_body(),
            Err(body) => head.set_body(body),
        }
    }

    fn hold(self, bytes: Bytes) -> Pieces {
        let count = bytes.len();
        let mut waiting = self.shared.waiting();
        waiting.total += count;
        *waiting.users.entry(self.key.clone()).or_default() += count;
        drop(waiting);
        Pieces { shared: self.shared, key: self.key, count, bytes }
    }
}

/// A body that is given out in pieces. All of it is counted to its end, since the pieces share their memory.
struct Pieces {
    shared: Arc<Shared>,
    key: (String, String),
    count: usize,
    bytes: Bytes,
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let bytes = &mut self.get_mut().bytes;
        let piece = bytes.split_to(bytes.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting();
        waiting.total = waiting.total.saturating_sub(self.count);
        match waiting.users.get_mut(&self.key) {
            Some(bytes) if *bytes > self.count => *bytes -= self.count,
            _ => drop(waiting.users.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    fn key(user: &str) -> (String, String) {
        ("dev".to_owned(), user.to_owned())
    }

    fn answer(bytes: usize) -> HttpResponse {
        HttpResponse::Ok().body(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn what_waits_is_counted_per_user_and_in_all() {
        let answers = Answers::new(AnswerLimits { making: 2, per_user: 100_000, total: 300_000 });
        let unread = answers.take(key("ann")).await.unwrap().send(answer(200_000));
        assert!(matches!(answers.take(key("ann")).await, Err(ApiError::UnreadAnswers)));
        let small = answers.take(key("bob")).await.unwrap().send(answer(1000));
        let also_unread = answers.take(key("bob")).await.unwrap().send(answer(150_000));
        assert!(matches!(answers.take(key("carl")).await, Err(ApiError::Unavailable(_))));
        let read = to_bytes(unread.into_body()).await.unwrap();
        assert_eq!(read.len(), 200_000);
        drop(answers.take(key("ann")).await.unwrap());
        drop((small, also_unread));
        let waiting = answers.0.waiting();
        assert!(
            waiting.total == 0 && waiting.users.is_empty(),
            "nothing is remembered of whom nothing waits for"
        );
    }

    #[tokio::test]
    async fn answers_are_made_in_turn() {
        let answers = Answers::new(AnswerLimits { making: 1, ..AnswerLimits::default() });
        let first = answers.take(key("ann")).await.unwrap();
        let mut second = Box::pin(answers.take(key("bob")));
        assert!(futures::poll!(&mut second).is_pending());
        let unread = first.send(answer(200_000));
        assert!(second.await.is_ok(), "an answer that is made is nobody's turn any more");
        drop(unread);
    }
}
