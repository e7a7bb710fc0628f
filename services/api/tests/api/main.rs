//! The REST API over HTTP, with a real Postgres and the development platform in this process.
#![expect(clippy::unwrap_used, reason = "tests")]

mod app;
mod bodies;
mod envelope;
mod lifecycle;
mod outage;
mod paths;
mod permissions;
mod pods;
mod secrets;
mod updates;
