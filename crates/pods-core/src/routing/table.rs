//! All fragments of a site, kept rendered, and the hosts that they answer to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    API_PREFIXES, POD_HOSTS, RoutedPod, RoutingSettings, VISITOR_PREFIX,
    document::{Middleware, Router, Service, Tls},
    fragment::{self, Fragment, Section, check_label},
};
use crate::{Networking, Protocol, Status};

/// What a visitor of a host meets when Traefik has no route for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// No pod has this host.
    Unknown,
    /// The pod is not routed; its status says why, AVAILABLE meaning that Traefik is about to learn of it.
    Pod(Status),
    /// The pod runs, but its visitors must log in and that is not possible yet.
    LoginMissing,
    /// The entry speaks something else than HTTP.
    NotWeb,
    /// The pod runs, but its entry cannot be routed.
    Unroutable,
}

/// An entry of a running pod that has no router, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The row that the entry belongs to.
    pub uid: Uuid,
    /// Name that its router would have.
    pub name: String,
    /// One sentence for operators.
    pub reason: String,
}

/// Router name and row: the order of the document.
type Key = (String, Uuid);

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// `None` for entries that no visitor can reach.
    host: Option<String>,
    protocol: Protocol,
    status: Status,
    tapis_auth: bool,
    /// Only for AVAILABLE pods.
    route: Option<Result<Fragment, String>>,
}

/// The routes of a site. Changes cost as much as the pods that changed; [`RoutingTable::render`] costs the whole.
#[derive(Debug)]
pub struct RoutingTable {
    settings: RoutingSettings,
    entries: BTreeMap<Key, Entry>,
    names: HashMap<Uuid, Vec<String>>,
    hosts: HashMap<String, BTreeSet<Key>>,
}

#[derive(Serialize)]
struct Document<'a> {
    http: DocumentSection<'a>,
    #[serde(skip_serializing_if = "DocumentSection::is_empty")]
    tcp: DocumentSection<'a>,
}

/// Traefik refuses a whole document over an empty `middlewares`.
#[derive(Default, Serialize)]
struct DocumentSection<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    middlewares: BTreeMap<&'a str, &'a RawValue>,
    routers: BTreeMap<&'a str, &'a RawValue>,
    services: BTreeMap<&'a str, &'a RawValue>,
}

impl DocumentSection<'_> {
    fn is_empty(&self) -> bool {
        self.routers.is_empty()
    }
}

impl RoutingTable {
    /// A table without pods.
    ///
    /// # Errors
    /// A sentence that names the setting which would make every document wrong.
    pub fn new(settings: RoutingSettings) -> Result<Self, String> {
        check_label("the namespace", &settings.namespace)?;
        for label in settings.cluster_domain.split('.') {
            check_label("a part of the cluster domain", label)?;
        }
        for url in [&settings.api_url, &settings.edge_url] {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            if rest.is_none_or(|rest| rest.is_empty() || !rest.chars().all(|c| c.is_ascii_graphic())) {
                return Err(format!("{url:?} is no URL that starts with http:// or https://"));
            }
        }
        if settings.entry_point_http.is_empty() || settings.entry_point_https.is_empty() {
            return Err("the names of Traefik's entry points must not be empty".to_owned());
        }
        let (entries, names, hosts) = Default::default();
        Ok(Self { settings, entries, names, hosts })
    }

    /// Adds a pod or replaces what was known about it. True when the document may be another one now.
    pub fn set(&mut self, pod: &RoutedPod) -> bool {
        let before = self.take(pod.uid);
        for (key, entry) in &pod.networking {
            let name = match key.as_str() {
                "default" => pod.k8_name.clone(),
                other => format!("{}-{other}", pod.k8_name),
            };
            let entry = self.entry(&name, pod, entry);
            if let Some(host) = &entry.host {
                self.hosts.entry(host.clone()).or_default().insert((name.clone(), pod.uid));
            }
            self.names.entry(pod.uid).or_default().push(name.clone());
            self.entries.insert((name, pod.uid), entry);
        }
        self.routes_of(pod.uid) != before
    }

    /// Forgets a pod. True when the document may be another one now.
    pub fn remove(&mut self, uid: Uuid) -> bool {
        !self.take(uid).is_empty()
    }

    /// The rows that the table knows.
    pub fn uids(&self) -> impl Iterator<Item = Uuid> {
        self.names.keys().copied()
    }

    /// What a visitor of `host` (lower case, without port) meets at the edge.
    pub fn visit(&self, host: &str) -> Visit {
        let Some((key, entry)) = self.owner(host) else { return Visit::Unknown };
        if entry.status != Status::Available {
            return Visit::Pod(entry.status);
        }
        match &entry.route {
            _ if entry.tapis_auth => Visit::LoginMissing,
            _ if entry.protocol != Protocol::Http => Visit::NotWeb,
            Some(Ok(_)) if self.name_is_free(key) => Visit::Pod(Status::Available),
            _ => Visit::Unroutable,
        }
    }

    /// Whether `host` belongs to an HTTP entry of a pod, so that plain HTTP is sent on to HTTPS.
    pub fn is_web_host(&self, host: &str) -> bool {
        self.owner(host).is_some_and(|(_, entry)| entry.protocol == Protocol::Http)
    }

    /// The entries of running pods that have no router.
    pub fn left_out(&self) -> Vec<LeftOut> {
        let left_out = |(key, entry): (&Key, &Entry)| {
            let reason = match self.routed(key, entry)? {
                Ok(_) => return None,
                Err(reason) => reason.to_owned(),
            };
            Some(LeftOut { uid: key.1, name: key.0.clone(), reason })
        };
        self.entries.iter().filter_map(left_out).collect()
    }

    /// The routing document.
    ///
    /// # Errors
    /// Only when JSON cannot be written, which no input causes.
    pub fn render(&self) -> Result<Vec<u8>, String> {
        let own = own_routes(&self.settings)?;
        let mut http = DocumentSection::default();
        let mut tcp = DocumentSection::default();
        for (name, router) in &own.routers {
            http.routers.insert(name, router);
        }
        for (name, service) in &own.services {
            http.services.insert(name, service);
        }
        http.middlewares.insert(&own.visitor.0, &own.visitor.1);
        for (key, entry) in &self.entries {
            let Some(Ok(fragment)) = self.routed(key, entry) else { continue };
            let section = match fragment.section {
                Section::Http => &mut http,
                Section::Tcp => &mut tcp,
            };
            section.routers.insert(&key.0, &fragment.router);
            section.services.insert(&key.0, &fragment.service);
            section
                .middlewares
                .extend(fragment.middlewares.iter().map(|(name, content)| (name.as_str(), &**content)));
        }
        serde_json::to_vec(&Document { http, tcp }).map_err(|error| error.to_string())
    }

    fn entry(&self, name: &str, pod: &RoutedPod, entry: &Networking) -> Entry {
        let reachable = entry.protocol != Protocol::LocalOnly;
        let route = (reachable && pod.status == Status::Available).then(|| {
            if entry.tapis_auth {
                return Err("its visitors must log in with Tapis, which is not possible yet".to_owned());
            }
            fragment::render(name, &pod.k8_name, entry, &self.settings)
        });
        Entry {
            host: (reachable && !entry.url.is_empty()).then(|| entry.url.clone()),
            protocol: entry.protocol,
            status: pod.status,
            tapis_auth: entry.tapis_auth,
            route,
        }
    }

    /// The fragment of an entry, why a running pod's entry has none, or `None` while it needs none.
    fn routed<'a>(&'a self, key: &Key, entry: &'a Entry) -> Option<Result<&'a Fragment, &'a str>> {
        let fragment = match entry.route.as_ref()? {
            Ok(fragment) => fragment,
            Err(reason) => return Some(Err(reason)),
        };
        let host = entry.host.as_deref().unwrap_or_default();
        Some(if self.owner(host).is_none_or(|(owner, _)| owner != key) {
            Err("another pod has the same host")
        } else if !self.name_is_free(key) {
            Err("another pod has the same Kubernetes name")
        } else {
            Ok(fragment)
        })
    }

    /// The first entry in the order of the document that has the host.
    fn owner(&self, host: &str) -> Option<(&Key, &Entry)> {
        let key = self.hosts.get(host)?.first()?;
        self.entries.get_key_value(key)
    }

    fn name_is_free(&self, key: &Key) -> bool {
        let same_name = self.entries.range((key.0.clone(), Uuid::nil())..=(key.0.clone(), key.1));
        same_name.count() == 1
    }

    /// Removes a pod; returns the routes that it had.
    fn take(&mut self, uid: Uuid) -> Vec<(String, Option<String>, Option<Fragment>)> {
        let routes = self.routes_of(uid);
        for name in self.names.remove(&uid).unwrap_or_default() {
            let key = (name, uid);
            let Some(host) = self.entries.remove(&key).and_then(|entry| entry.host) else { continue };
            if let Some(keys) = self.hosts.get_mut(&host) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.hosts.remove(&host);
                }
            }
        }
        routes
    }

    fn routes_of(&self, uid: Uuid) -> Vec<(String, Option<String>, Option<Fragment>)> {
        let names = self.names.get(&uid).map(Vec::as_slice).unwrap_or_default();
        let route = |name: &String| {
            let entry = self.entries.get(&(name.clone(), uid))?;
            Some((name.clone(), entry.host.clone(), entry.route.clone().and_then(Result::ok)))
        };
        names.iter().filter_map(route).collect()
    }

    /// Forgets every pod that is not among `live`.
    pub fn retain(&mut self, live: &HashSet<Uuid>) {
        let gone: Vec<Uuid> = self.uids().filter(|uid| !live.contains(uid)).collect();
        for uid in gone {
            self.take(uid);
        }
    }
}

/// The routes that exist without any pod.
struct OwnRoutes {
    routers: Vec<(&'static str, Box<RawValue>)>,
    services: Vec<(&'static str, Box<RawValue>)>,
    visitor: (String, Box<RawValue>),
}

fn own_routes(settings: &RoutingSettings) -> Result<OwnRoutes, String> {
    let visitor = fragment::named(&Middleware::AddPrefix { prefix: VISITOR_PREFIX })?;
    let paths: Vec<String> = API_PREFIXES.iter().map(|prefix| format!("PathPrefix(`{prefix}`)")).collect();
    let api_rule = format!("({}) && !HostRegexp(`{POD_HOSTS}`)", paths.join(" || "));
    let plain = settings.entry_point_http.as_str();
    let tls = settings.entry_point_https.as_str();
    let api = |entry_point, tls| {
        let middlewares = Vec::new();
        let rule = api_rule.clone();
        let priority = Some(900);
        Router { entry_points: [entry_point], rule, service: "api", middlewares, priority, tls }
    };
    let catch_all = |entry_point, tls| {
        let middlewares = vec![visitor.0.clone()];
        let rule = "HostRegexp(`.*`)".to_owned();
        Router { entry_points: [entry_point], rule, service: "edge", middlewares, priority: Some(1), tls }
    };
    Ok(OwnRoutes {
        routers: vec![
            ("api", fragment::raw(&api(plain, None))?),
            ("api-tls", fragment::raw(&api(tls, Some(Tls::default())))?),
            ("catch-all", fragment::raw(&catch_all(plain, None))?),
            ("catch-all-tls", fragment::raw(&catch_all(tls, Some(Tls::default())))?),
        ],
        services: vec![
            ("api", fragment::raw(&Service::http(settings.api_url.as_str()))?),
            ("edge", fragment::raw(&Service::http(settings.edge_url.as_str()))?),
        ],
        visitor,
    })
}
