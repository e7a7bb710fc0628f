//! Wake-ups over NATS JetStream: the message, the stream that holds it, how it is published and consumed.
//!
//! A wake-up says "look at this pod again" and nothing more; the row in Postgres says what is wanted. The broker is
//! therefore allowed to be away: wake-ups wait in the outbox until it returns, and a lost one is found by the sweep.
//! Nothing here fails because the broker is down, except a single [`Publisher::publish`], which says so.
//!
//! The rules of acknowledgement are in one function, `delivery::settle`.

mod broker;
mod consumer;
mod delivery;
pub mod metrics;
mod publisher;
mod stream;
mod wakeup;

pub use broker::{Broker, ConnectError, connect};
pub use consumer::{Consumer, ConsumerConfig, ConsumerState};
pub use delivery::{Delivery, Outcome};
pub use publisher::{PublishError, Published, Publisher};
pub use stream::{Stream, StreamError};
pub use wakeup::{InvalidWakeUp, WakeUp};
