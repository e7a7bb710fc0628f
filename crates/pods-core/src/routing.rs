//! From pods to what Traefik routes: the dynamic configuration (Traefik 3) as JSON.
//!
//! Every networking entry becomes one fragment that is checked and rendered alone, so an entry that cannot be
//! routed is left out with a reason and never hurts another. Only entries of AVAILABLE pods have a router; every
//! other host falls to one catch-all that leads to the edge, which shows the page that [`RoutingTable::visit`]
//! names. The document is sorted and depends on nothing but the pods and the settings: equal input, equal bytes.

mod document;
mod fragment;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{Networking, Status, Tenant};

pub use table::{LeftOut, RoutingTable, Visit};

/// Where requests are sent and how Traefik calls its entry points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingSettings {
    /// Kubernetes namespace of the user pods' Services.
    pub namespace: String,
    /// Domain of the cluster's DNS, for example `cluster.local`.
    pub cluster_domain: String,
    /// Where the REST API is.
    pub api_url: String,
    /// Where requests for hosts without a route go.
    pub edge_url: String,
    /// Name of the entry point for plain HTTP.
    pub entry_point_http: String,
    /// Name of the entry point for TLS; may be the same.
    pub entry_point_https: String,
    /// Traefik's certificate resolver for pod hosts; `None` uses the certificates that Traefik has.
    pub cert_resolver: Option<String>,
}

/// What routing needs to know about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedPod {
    /// Whose pod it is; for messages only.
    pub tenant: Tenant,
    /// Its id in the tenant; for messages only.
    pub pod_id: String,
    /// The row that it is.
    pub uid: Uuid,
    /// Name of its Kubernetes Service.
    pub k8_name: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its networking entries by name.
    pub networking: BTreeMap<String, Networking>,
}

/// Prefix of the path with which visitors of the catch-all arrive at the edge. It keeps them away from what the
/// edge serves to Traefik only.
pub const VISITOR_PREFIX: &str = "/visitor";

/// Paths of the REST API on every host that is not a pod's.
const API_PREFIXES: [&str; 4] = ["/v3/pods", "/v3/volumes", "/v3/snapshots", "/v3/healthcheck"];

/// Hosts of pods: `<label>.pods.<tenant host>`.
const POD_HOSTS: &str = r"^[^.]+\.pods\.";
