//! All that is to be known about one networking entry when somebody visits it.

use std::sync::Arc;

use uuid::Uuid;

use super::{headers::HeaderTemplate, paths};
use crate::{Level, Networking, Protocol, Tenant};

/// Prefix of a permission that is every user's of a tenant.
const TENANT_PREFIX: &str = "tenant.";

/// A user whom the platform named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Visitor {
    /// Site and tenant that the user belongs to, which need not be the pod's.
    pub tenant: Tenant,
    /// The name within the tenant.
    pub username: String,
}

/// The pod that a gate belongs to.
#[derive(Debug, Clone, Copy)]
pub struct GatedPod<'a> {
    /// Whose pod it is.
    pub tenant: &'a Tenant,
    /// Its id in the tenant.
    pub pod_id: &'a str,
    /// The row that it is.
    pub uid: Uuid,
    /// Who holds which level on it; `tenant.<tenant_id>` is every user of that tenant.
    pub permissions: &'a Arc<[(String, Level)]>,
}

/// A networking entry of a pod as its visitors meet it. Made anew when the pod or its permissions change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    tenant: Tenant,
    pod_id: String,
    uid: Uuid,
    network: String,
    hosts: Vec<String>,
    http: bool,
    tapis_auth: bool,
    allowed_users: Vec<String>,
    response_headers: Vec<HeaderTemplate>,
    return_path: String,
    trusted_origins: Vec<String>,
    permissions: Arc<[(String, Level)]>,
}

impl Gate {
    /// The gate of the entry `network`.
    pub fn new(pod: GatedPod<'_>, network: &str, entry: &Networking) -> Self {
        let custom = (entry.custom_domain_verified && !entry.custom_domain.is_empty())
            .then(|| entry.custom_domain.clone());
        let url = (!entry.url.is_empty()).then(|| entry.url.clone());
        let http = entry.protocol == Protocol::Http;
        Self {
            tenant: pod.tenant.clone(),
            pod_id: pod.pod_id.to_owned(),
            uid: pod.uid,
            network: network.to_owned(),
            hosts: url.into_iter().chain(custom).collect(),
            http,
            tapis_auth: http && entry.tapis_auth,
            allowed_users: entry.tapis_auth_allowed_users.clone(),
            response_headers: entry
                .tapis_auth_response_headers
                .iter()
                .filter_map(|(name, value)| HeaderTemplate::new(name, value))
                .collect(),
            // One of ours would lead back to itself, and one that nobody checked might lead elsewhere.
            return_path: paths::local(&entry.tapis_auth_return_path).unwrap_or("/").to_owned(),
            trusted_origins: entry.cors_allow_origins.clone(),
            permissions: Arc::clone(pod.permissions),
        }
    }

    /// Whose pod it is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The pod's id in its tenant.
    pub fn pod_id(&self) -> &str {
        &self.pod_id
    }

    /// The row that the pod is.
    pub fn uid(&self) -> Uuid {
        self.uid
    }

    /// The entry's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// What the API calls the entry: the pod's id, with `-` and the entry's name unless that is `default`.
    pub fn pod_id_net(&self) -> String {
        match self.network.as_str() {
            "default" => self.pod_id.clone(),
            network => format!("{}-{network}", self.pod_id),
        }
    }

    /// Whether the entry speaks HTTP: only then can anybody log in at it.
    pub fn is_http(&self) -> bool {
        self.http
    }

    /// Whether visitors must log in.
    pub fn tapis_auth(&self) -> bool {
        self.tapis_auth
    }

    /// The hosts of the entry, lower case and without port: its own, then a proven custom domain.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Where visitors are led who asked for no page in particular.
    pub fn return_path(&self) -> &str {
        &self.return_path
    }

    /// Whether the pod's owner lets pages of this origin call the pod, by name: with "everybody" nobody is meant who may
    /// act as whoever visits the pod.
    pub fn trusts(&self, origin: &str) -> bool {
        !matches!(origin, "null" | "*") && self.trusted_origins.iter().any(|trusted| trusted == origin)
    }

    /// The level that a user of the pod's own tenant holds in person. It is what the API goes by, so it also says
    /// whether a visitor may see more of the pod than its pages tell strangers.
    pub fn personal_level(&self, visitor: &Visitor) -> Level {
        if visitor.tenant != self.tenant || visitor.username.starts_with(TENANT_PREFIX) {
            return Level::None;
        }
        self.level_of(|key| key == visitor.username)
    }

    /// The other tenants whose users may come in at all, by id.
    pub fn opened_to(&self) -> Vec<&str> {
        let granted = self.permissions.iter().filter(|(_, level)| *level >= Level::Read);
        let tenants = granted.filter_map(|(key, _)| key.strip_prefix(TENANT_PREFIX));
        let mut others: Vec<&str> = tenants.filter(|tenant| *tenant != self.tenant.tenant_id).collect();
        others.sort_unstable();
        others
    }

    /// The level that the visitor's whole tenant was given on the pod.
    pub(super) fn tenant_level(&self, visitor: &Visitor) -> Level {
        self.level_of(|key| key.strip_prefix(TENANT_PREFIX) == Some(visitor.tenant.tenant_id.as_str()))
    }

    pub(super) fn allowed_users(&self) -> &[String] {
        &self.allowed_users
    }

    /// The configured headers as this visitor has them.
    pub(super) fn headers_for(&self, visitor: &Visitor) -> Vec<(&str, String)> {
        let headers = self.response_headers.iter();
        headers.filter_map(|header| Some((header.name(), header.value(visitor)?))).collect()
    }

    fn level_of(&self, meant: impl Fn(&str) -> bool) -> Level {
        let levels = self.permissions.iter().filter(|(key, _)| meant(key)).map(|(_, level)| *level);
        levels.max().unwrap_or(Level::None)
    }
}
