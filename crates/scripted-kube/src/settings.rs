//! How fast the pretended scheduler and kubelets are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times in milliseconds unless the name says otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Until a new Pod is placed.
    pub schedule_ms: u64,
    /// From there until the kubelet says `ContainerCreating`.
    pub create_ms: u64,
    /// How long a pull takes.
    pub pull_ms: u64,
    /// From the image to the running container.
    pub start_ms: u64,
    /// From the running container to readiness, when it has no readiness probe that waits longer.
    pub ready_ms: u64,
    /// How long a container takes to end once it was told to.
    pub term_ms: u64,
    /// Between two attempts of what failed: placing, pulling, mounting.
    pub retry_ms: u64,
    /// How long a node may be silent before its Pods are marked for deletion.
    pub node_eviction_s: u64,
    /// Between two reports of a node that nothing happened to.
    pub heartbeat_ms: u64,
    /// How many changes of each kind a watch can go back.
    pub history: usize,
    /// Whether kubelets write Kubernetes events.
    pub events: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schedule_ms: 10,
            create_ms: 20,
            pull_ms: 100,
            start_ms: 100,
            ready_ms: 5,
            term_ms: 50,
            retry_ms: 1000,
            node_eviction_s: 300,
            heartbeat_ms: 300_000,
            history: 20_000,
            events: true,
        }
    }
}

/// Milliseconds.
pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
