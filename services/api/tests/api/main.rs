//! The REST API over HTTP, with a real Postgres and the development platform in this process.
#![expect(clippy::unwrap_used, reason = "tests")]

mod app;
mod bodies;
mod bounds;
mod caller;
mod conformance;
mod cors;
mod credentials;
mod derived;
mod documented_bodies;
mod domains;
mod envelope;
mod events;
mod explain;
mod guides;
mod images;
mod jupyter;
mod ledger;
mod lifecycle;
mod limits;
mod lists;
mod logs;
mod operations;
mod outage;
mod paths;
mod permissions;
mod placeholders;
mod pods;
mod secrets;
mod streams;
mod tags;
mod templates;
mod updates;
