//! From pods to what Traefik routes: the dynamic configuration (Traefik 3) as JSON.
//!
//! Every networking entry becomes one fragment that is checked and rendered alone, so an entry that cannot be
//! routed is left out with a reason and never hurts another. Only entries of live pods have routers to containers; every
//! other host falls to one catch-all (a proven domain to routers of its own) that leads to the edge, which shows the page
//! that [`RoutingTable::visit`] names. The document is sorted and depends on nothing but the pods and the settings: equal
//! input, equal bytes. It is kept rendered in pieces, so that a change costs the pieces that it touches.

mod document;
mod fragment;
mod middlewares;
mod packed;
mod rules;
mod settings;
mod sheet;
mod site;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use crate::{Level, Networking, Status, Tenant};

pub use fragment::{Reach, domain_problem, has_visitors, reach};
pub use packed::Packer;
pub use settings::RoutingSettings;
pub use table::{LeftOut, RoutingTable, Visit};

/// What routing needs to know about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedPod {
    /// Whose pod it is.
    pub tenant: Tenant,
    /// Host of the tenant's base URL, without scheme and port.
    pub tenant_host: String,
    /// Its id in the tenant.
    pub pod_id: String,
    /// The row that it is.
    pub uid: Uuid,
    /// Name of its Kubernetes Service.
    pub k8_name: String,
    /// Where it is in its life.
    pub status: Status,
    /// Whether visitors are led to its container: see [`crate::networking::live`].
    pub live: bool,
    /// Its networking entries by name.
    pub networking: BTreeMap<String, Networking>,
    /// Why none of them can be routed although each may be fine, such as a template that is gone.
    pub problem: Option<String>,
    /// Who holds which level on it; `tenant.<tenant_id>` is every user of that tenant.
    pub permissions: Arc<[(String, Level)]>,
}

/// Prefix of the path with which visitors of the catch-all arrive at the edge. It keeps them away from what the
/// edge serves to Traefik only.
pub const VISITOR_PREFIX: &str = "/visitor";

/// Where Traefik asks the edge about requests to an entry with a login: `<this>/<uid>/<network>`.
pub const FORWARD_AUTH_PREFIX: &str = "/forward-auth";

/// The same for paths that need no login; the edge still takes away what only it may tell the pod.
pub const OPEN_FORWARD_AUTH_PREFIX: &str = "/forward-auth-open";

/// What visitors of an entry with a login reach at the edge, whatever the pod serves.
pub const WELL_KNOWN_PREFIX: &str = "/.well-known/tapis-pods";

/// Where requests below [`WELL_KNOWN_PREFIX`] arrive at the edge: `<this>/<uid>/<network>/<rest of the path>`.
pub const LOGIN_PREFIX: &str = "/login";

/// Where Traefik asks the edge for what to answer in place of an API that does not: `<this>/<status code>`.
pub const ERROR_HANDLER: &str = "/error-handler";

/// A piece of the document: JSON text.
pub type Piece = Arc<[u8]>;
