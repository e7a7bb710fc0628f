//! Which entry of which pod a login is for.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header::HOST};
use pods_core::{
    Tenant,
    routing::{Reach, reach},
    visitor::{Gate, GatedPod, paths},
};
use pods_db::{
    logins,
    permissions::{self, Object},
    routes,
};

use super::refusal::Refusal;
use crate::state::AppState;

/// An entry, and the tenant on whose host the request arrived.
pub(super) struct Place {
    /// The tenant of the host, which is the pod's.
    pub tenant: Arc<tapis::Tenant>,
    /// The entry.
    pub gate: Gate,
    /// The pod's name in Kubernetes, which its OAuth clients are named after.
    pub k8_name: String,
    /// Whether visitors are led to the container.
    reached: bool,
}

impl Place {
    /// Finds an HTTP entry of a live pod of the tenant whose host was asked.
    pub async fn find(app: &AppState, request: &HttpRequest, pod_id_net: &str) -> Result<Self, Refusal> {
        let tenant = tenant(app, request).await?;
        // The edge leads visitors to pods of its own site only.
        if tenant.site_id != app.tapis.site_id() {
            return Err(Refusal::Unknown);
        }
        let (pod_id, network) = entry_of(pod_id_net).ok_or(Refusal::Unknown)?;
        let conn = &mut *app.db.get().await?;
        let home = Tenant::new(&tenant.site_id, &tenant.tenant_id);
        let uid = logins::pod(conn, &home, pod_id).await?.ok_or(Refusal::Unknown)?;
        let found = routes::some(conn, &home.site_id, &[uid]).await?;
        let route = found.into_iter().next().ok_or(Refusal::Unknown)?;
        // What a template would make of it is not known.
        if route.problem.is_some() {
            return Err(Refusal::Unknown);
        }
        let entry = route.networking.get(network).ok_or(Refusal::Unknown)?;
        let permissions = permissions::list(conn, Object::Pod(uid)).await?.into();
        let pod = GatedPod { tenant: &home, pod_id, uid, permissions: &permissions };
        let gate = Gate::new(pod, network, entry);
        if !gate.is_http() || gate.hosts().is_empty() {
            return Err(Refusal::Unknown);
        }
        let reached = route.live && reach(&route.k8_name, network, entry) == Reach::Visitors;
        Ok(Self { tenant, gate, k8_name: route.k8_name, reached })
    }

    /// Whether every request at the entry's hosts reaches the container as it is, ours included.
    pub fn is_open(&self) -> bool {
        self.reached && !self.gate.tapis_auth()
    }

    /// The host that the visitor came from, if it is one of the entry's; else the entry's own.
    pub fn host(&self, wanted: Option<&str>) -> Result<&str, Refusal> {
        let hosts = self.gate.hosts();
        let host = match wanted {
            None => hosts.first(),
            Some(wanted) => hosts.iter().find(|host| *host == wanted),
        };
        host.map(String::as_str).ok_or(Refusal::Broken)
    }

    /// A tenant that visitors of the pod may be users of: its own, or one that it was opened to.
    pub fn login_tenant(&self, app: &AppState, tenant_id: &str) -> Result<Arc<tapis::Tenant>, Refusal> {
        if tenant_id == self.tenant.tenant_id {
            return Ok(Arc::clone(&self.tenant));
        }
        if !self.gate.opened_to().contains(&tenant_id) {
            return Err(Refusal::Broken);
        }
        app.tapis.directory().tenant(tenant_id).ok_or(Refusal::Unavailable)
    }

    /// Where the platform sends browsers back to.
    pub fn callback_url(&self) -> String {
        let base = self.tenant.base_url.as_str().trim_end_matches('/');
        format!("{base}/v3/pods/{}/auth/callback", self.gate.pod_id_net())
    }
}

/// An address on a host of a pod.
pub(super) fn on_pod(app: &AppState, host: &str, rest: &str) -> String {
    paths::on_host(host, app.pods_port, rest)
}

/// The tenant whose host was asked.
async fn tenant(app: &AppState, request: &HttpRequest) -> Result<Arc<tapis::Tenant>, Refusal> {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = header.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let found = app.tapis.directory().find_tenant_of_host(host.unwrap_or_default()).await;
    found.map_err(|_| Refusal::Unavailable)?.ok_or(Refusal::Unknown)
}

/// Pod id and name of the entry. Neither has a hyphen, and `default` is never written.
fn entry_of(pod_id_net: &str) -> Option<(&str, &str)> {
    match pod_id_net.split_once('-') {
        None => Some((pod_id_net, "default")),
        Some((_, "default")) => None,
        Some(both) => Some(both),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_name() {
        assert_eq!(entry_of("shop"), Some(("shop", "default")));
        assert_eq!(entry_of("shop-admin"), Some(("shop", "admin")));
        assert_eq!(entry_of("shop-default"), None);
        assert_eq!(entry_of("shop-a-b"), Some(("shop", "a-b")), "which no entry is called");
    }
}
