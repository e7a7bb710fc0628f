//! Secrets at rest.
//!
//! What users must not see of each other, and an operator of the database not at all, stands in its row encrypted with
//! AES-256-GCM. The keys come from the configuration of the processes that need them (API and spawner) and never
//! reach the database. Each sealed value names its key, so keys can be changed one row at a time, and is bound to the
//! row and column that it belongs to: moved elsewhere it does not open.
//!
//! Nothing here reads files or SQL. The buffers that sealed values are opened in are wiped from memory when they are
//! dropped; what is made of them, such as credentials, is ordinary memory. No `Debug` shows a key or a value.

pub mod credentials;
mod random;
mod ring;
mod text;
pub mod token;

pub use random::random_value;
pub use ring::{Aad, KeyError, KeyRing, OpenError, SealError, Sealed};
