//! What Kubernetes holds of one row.

use pods_kube::Observation;
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
}

/// A Service or a Secret.
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
}

impl World {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.services.is_empty() && self.secrets.is_empty()
    }
}
