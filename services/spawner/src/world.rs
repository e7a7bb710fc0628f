//! What Kubernetes holds of one row.

use pods_kube::{Observation, build::Face};
use uuid::Uuid;

/// Every object that carries the uid of the row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Its Pods.
    pub pods: Vec<Observation>,
    /// Its Services.
    pub services: Vec<Object>,
    /// Its Secrets.
    pub secrets: Vec<Object>,
    /// Its NetworkPolicies; none when the installation has none.
    pub policies: Vec<Object>,
}

/// A Service, a Secret or a NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Kubernetes' own uid of it.
    pub k8s_uid: String,
    /// The start that it was made for, or that it selects.
    pub instance: Uuid,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it goes away with its Pod.
    pub owned: bool,
    /// Of a NetworkPolicy, the digest of its rules.
    pub rules: Option<String>,
    /// Of a Service, what it offers.
    pub face: Option<Box<Face>>,
}

impl World {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        let World { pods, services, secrets, policies } = self;
        pods.is_empty() && services.is_empty() && secrets.is_empty() && policies.is_empty()
    }
}
