//! The body of a stream: turns the events of a producer into bytes, at the pace of the connection.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::web::Bytes;
use futures::Stream;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};

use super::{End, Event, Slot, peer::Peer, write_id};

/// Bytes after which a piece is handed to the connection.
const PIECE: usize = 16 * 1024;

type Waiting<T> = Pin<Box<dyn Future<Output = T>>>;

/// See the module.
pub(super) struct Body {
    slot: Slot,
    /// `None` once it said why it ended.
    producer: Option<Waiting<End>>,
    events: mpsc::Receiver<Event>,
    position: Rc<RefCell<Option<String>>>,
    peer: Option<Peer>,
    shutdown: Waiting<()>,
    /// The last moment of the stream.
    deadline: Pin<Box<Sleep>>,
    at_deadline: End,
    heartbeat: Pin<Box<Sleep>>,
    /// What goes out next.
    piece: String,
    ended: bool,
}

impl Body {
    pub(super) fn new(
        slot: Slot,
        producer: Waiting<End>,
        events: mpsc::Receiver<Event>,
        position: Rc<RefCell<Option<String>>>,
        peer: Option<Peer>,
    ) -> Self {
        let (lifetime, at_deadline) = slot.end();
        let shutdown = Box::pin(slot.shared.shutdown.clone().cancelled_owned());
        // Written at once, so that clients and proxies see that the stream is open.
        let piece = format!(": open\nretry: {}\n\n", slot.retry_ms());
        Self {
            producer: Some(producer),
            events,
            position,
            peer,
            shutdown,
            deadline: Box::pin(sleep(lifetime)),
            at_deadline,
            heartbeat: Box::pin(sleep(slot.shared.limits.heartbeat)),
            piece,
            ended: false,
            slot,
        }
    }

    /// Why the stream ends now, although its producer has more to say.
    fn is_over(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.shutdown.as_mut().poll(cx).is_ready() {
            return Some(End::SHUTDOWN);
        }
        self.deadline.as_mut().poll(cx).is_ready().then_some(self.at_deadline)
    }

    /// Takes over what the producer has sent, until a piece is full. Ready when there will be nothing more.
    fn collect(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let mut end = None;
            if let Some(producer) = &mut self.producer
                && let Poll::Ready(reason) = producer.as_mut().poll(cx)
            {
                self.producer = None;
                end = Some(reason);
            }
            let before = self.piece.len();
            // A full channel stopped the producer in the middle; an ended one has left nothing but this.
            while end.is_some() || self.piece.len() < PIECE {
                match self.events.poll_recv(cx) {
                    Poll::Ready(Some(event)) => event.write(&mut self.piece),
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            if let Some(reason) = end {
                return Poll::Ready(reason);
            }
            if self.piece.len() >= PIECE || self.piece.len() == before {
                return Poll::Pending;
            }
        }
    }

    fn write_end(&mut self, end: End) {
        self.ended = true;
        let event = Event::new("end").json(&end);
        match self.position.take() {
            Some(id) => event.id(id).write(&mut self.piece),
            None => event.write(&mut self.piece),
        }
    }

    fn write_heartbeat(&mut self) {
        self.piece.push_str(": keep-alive\n");
        // An id without data is no event, but clients remember it.
        if let Some(id) = self.position.take() {
            write_id(&id, &mut self.piece);
        }
        self.piece.push('\n');
    }

    fn silence(&mut self) -> Duration {
        self.slot.shared.limits.heartbeat
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let body = self.get_mut();
        if body.ended || body.peer.as_ref().is_some_and(Peer::is_gone) {
            return Poll::Ready(None);
        }
        if let Some(end) = body.is_over(cx) {
            // What was sent before counts as sent.
            while let Ok(event) = body.events.try_recv() {
                event.write(&mut body.piece);
            }
            body.write_end(end);
        } else if let Poll::Ready(end) = body.collect(cx) {
            body.write_end(end);
        } else if body.piece.is_empty() {
            ready!(body.heartbeat.as_mut().poll(cx));
            body.write_heartbeat();
        }
        let next = Instant::now() + body.silence();
        body.heartbeat.as_mut().reset(next);
        Poll::Ready(Some(Ok(Bytes::from(mem::take(&mut body.piece)))))
    }
}
