//! Everything about Kubernetes that is not a decision: names and labels, the objects of a pod as pure builders,
//! what a Pod tells about its container, log streams, and what an error of the API server means.
//!
//! Nothing is ever parsed from an object's name. An object belongs to a row when its label `tapis.io/uid` says so,
//! and to a start when `tapis.io/instance` does.

pub mod build;
mod calls;
pub mod client;
pub mod events;
pub mod failure;
pub mod hidden;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod observe;
pub mod version;
/// A scripted Kubernetes API server in the test's own process.
#[cfg(feature = "testing")]
pub use scripted_kube as testing;

pub use client::KubernetesConfig;
pub use failure::{Failure, classify};
pub use observe::{Observation, observe};
