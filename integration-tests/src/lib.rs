//! Helpers for the black-box suites: a running environment, callers of the API, visitors of pods, a look at what
//! Kubernetes holds, and the processes that fault tests break.
//!
//! Tests wait for conditions, never for time: see [`wait::await_condition`].

pub mod api;
pub mod browser;
pub mod chromium;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod curl;
pub mod database;
pub mod dns;
pub mod env;
pub mod events;
pub mod faults;
pub mod guarded;
pub mod observed;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod random;
pub mod registry;
pub mod routing_fuzz;
pub mod scene;
pub mod script;
pub mod traffic;
pub mod visit;
pub mod wait;
pub mod wakeups;
pub mod wire;

pub use api::{Answer, Caller};
pub use cluster::{Cluster, Recorder};
pub use env::Env;
pub use scene::Scene;
pub use wait::await_condition;
