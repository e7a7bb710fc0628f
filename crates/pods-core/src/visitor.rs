//! Visitors of pods whose entries demand a login (`tapis_auth`): who may pass, what the pod is told about them, and
//! which parts of their requests never reach it.
//!
//! Everything is decided from a [`Gate`], which is made whenever the pod changes and holds all that a decision needs.

pub mod cookies;
mod decision;
mod gate;
mod headers;
mod origin;
pub mod paths;
mod session;
#[cfg(test)]
mod tests;

pub use decision::{Credential, Refusal, Request, Verdict, admit, decide};
pub use gate::{Gate, GatedPod, Visitor};
pub use origin::Sender;
pub use session::Session;
