//! One networking entry of one pod as a piece of the routing document, checked alone.

use std::collections::BTreeMap;

use super::{
    FORWARD_AUTH_PREFIX, LOGIN_PREFIX, OPEN_FORWARD_AUTH_PREFIX, RoutedPod, RoutingSettings,
    WELL_KNOWN_PREFIX,
    document::{Domain, Middleware, Router, Service, Tls, json},
    middlewares::{self, Named, Names},
    rules,
    site::{EDGE, POSTGRES_TLS},
};
use crate::networking::{Networking, Protocol, TlsMode, is_network};

/// Above Traefik's default, which is the length of the rule: nothing that matches a path only may come before.
const POD_PRIORITY: u32 = 1000;
/// Paths that need no login.
const EXCLUDED_PRIORITY: u32 = 1100;
/// What belongs to the login itself; no excluded path takes it away.
const LOGIN_PRIORITY: u32 = 1200;

/// Which section of the document a fragment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Http,
    Tcp,
}

/// A router's name and its JSON.
pub(super) type NamedRouter = (Box<str>, Box<str>);

/// The rendered piece: routers, their service and the middlewares that they name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub section: Section,
    /// For the entry's own host.
    pub routers: Vec<NamedRouter>,
    /// For the user's own domain; none without one, or why there are none. They come and go without the others.
    pub domain_routers: Result<Vec<NamedRouter>, String>,
    pub service: Box<str>,
    pub middlewares: Vec<Named>,
}

/// Whom the proxy leads to an entry while its pod is live. The routing document, `networking_live` and the explanation
/// of a pod all go by this one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Visitors of its host.
    Visitors,
    /// Nobody, as it shall be: it is for the inside of the cluster.
    InsideOnly,
    /// Nobody, because it has no route: why, as half a sentence for the owner.
    Nobody(String),
}

/// See [`Reach`].
pub fn reach(k8_name: &str, network: &str, entry: &Networking) -> Reach {
    if entry.protocol == Protocol::LocalOnly {
        return Reach::InsideOnly;
    }
    match check(k8_name, network, entry) {
        Ok(()) => Reach::Visitors,
        Err(why) => Reach::Nobody(why),
    }
}

/// Whether visitors are led to any of the entries of a live pod.
pub fn has_visitors(k8_name: &str, entries: &BTreeMap<String, Networking>) -> bool {
    entries.iter().any(|(network, entry)| reach(k8_name, network, entry) == Reach::Visitors)
}

/// Why the proven domain of an entry has no route, as half a sentence for the owner; `None` when it has one, or the
/// entry no such domain.
pub fn domain_problem(tenant_host: &str, entry: &Networking) -> Option<String> {
    rules::check_domain(entry.domain()?, tenant_host).err()
}

fn check(k8_name: &str, network: &str, entry: &Networking) -> Result<(), String> {
    rules::check_label("the Kubernetes name", k8_name)?;
    // The document's own routers have other names; no pod may take one of them.
    if !k8_name.starts_with("pods-") {
        return Err(format!("the Kubernetes name {k8_name:?} does not start with \"pods-\""));
    }
    if network.is_empty() || !network.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Err(format!("{network:?} is no name of a networking entry"));
    }
    rules::check_pod_host(&entry.url)?;
    if !(1..=65_535).contains(&entry.port) {
        return Err(format!("port {} is no port", entry.port));
    }
    if let Some(bad) = entry.ip_allow_list.iter().find(|range| !is_network(range)) {
        return Err(format!("ip_allow_list: {bad:?} is no network"));
    }
    if entry.protocol == Protocol::Http && entry.tapis_auth {
        rules::check_excluded(entry)?;
    }
    Ok(())
}

/// The name of an entry's router and service.
pub(super) fn router_name(k8_name: &str, network: &str) -> String {
    match network {
        "default" => k8_name.to_owned(),
        other => format!("{k8_name}-{other}"),
    }
}

/// An entry of a pod, with the name of its router and service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub name: &'a str,
    pub pod: &'a RoutedPod,
    pub network: &'a str,
    pub entry: &'a Networking,
}

/// Renders the entry of a live pod, or says why it cannot have a route.
pub(super) fn render(
    place: Place<'_>,
    settings: &RoutingSettings,
    names: &mut Names,
) -> Result<Fragment, String> {
    let Place { name, pod, network, entry } = place;
    match reach(&pod.k8_name, network, entry) {
        Reach::Visitors => {}
        Reach::InsideOnly => return Err("local_only entries have no route".to_owned()),
        Reach::Nobody(why) => return Err(why),
    }
    let backend =
        format!("{}.{}.svc.{}:{}", pod.k8_name, settings.namespace, settings.cluster_domain, entry.port);
    let parts = Parts { name, entry, settings };
    Ok(match entry.protocol {
        Protocol::Http => parts.http(pod, network, &backend, names),
        Protocol::Tcp | Protocol::Postgres | Protocol::LocalOnly => parts.tcp(backend, names),
    })
}

/// What all routers of an entry are made of.
struct Parts<'a> {
    name: &'a str,
    entry: &'a Networking,
    settings: &'a RoutingSettings,
}

/// Where a router leads, and when it counts.
struct Target<'a> {
    service: &'a str,
    middlewares: Vec<&'a str>,
    priority: u32,
    tls: Tls<'a>,
}

impl Parts<'_> {
    fn tcp(&self, backend: String, names: &mut Names) -> Fragment {
        // Without `terminate` a PostgreSQL client speaks TLS with the container itself, after Traefik has read the name
        // that it wants.
        let passthrough =
            self.entry.protocol == Protocol::Postgres && self.entry.tls_mode == TlsMode::Passthrough;
        let tls = match self.entry.protocol {
            _ if passthrough => Tls { passthrough, ..Tls::default() },
            Protocol::Postgres => Tls { options: Some(POSTGRES_TLS), ..self.pod_certificate() },
            _ => self.pod_certificate(),
        };
        let list = middlewares::ip_allow_list(self.entry).map(|list| names.shared(&list));
        let target = Target {
            service: self.name,
            middlewares: list.iter().map(|named| &*named.name).collect(),
            priority: POD_PRIORITY,
            tls,
        };
        let router = self.router("", rules::host_sni(&self.entry.url), target);
        Fragment {
            section: Section::Tcp,
            routers: vec![router],
            domain_routers: Ok(Vec::new()),
            service: json(&Service::tcp(backend)).into(),
            middlewares: list.into_iter().collect(),
        }
    }

    fn http(&self, pod: &RoutedPod, network: &str, backend: &str, names: &mut Names) -> Fragment {
        let chain = Chain::new(self, pod, network, names);
        let domain_routers = match self.entry.domain() {
            None => Ok(Vec::new()),
            Some(domain) => rules::check_domain(domain, &pod.tenant_host).map(|()| {
                let cert_resolver = self.settings.domain_cert_resolver.as_deref();
                self.routers_of_host(domain, "--domain", &chain, Tls { cert_resolver, ..Tls::default() })
            }),
        };
        Fragment {
            section: Section::Http,
            routers: self.routers_of_host(&self.entry.url, "", &chain, self.pod_certificate()),
            domain_routers,
            service: json(&Service::http(backend)).into(),
            middlewares: chain.all,
        }
    }

    fn routers_of_host(&self, host: &str, suffix: &str, chain: &Chain, tls: Tls<'_>) -> Vec<NamedRouter> {
        let main = Target { service: self.name, middlewares: chain.main(), priority: POD_PRIORITY, tls };
        let mut routers = vec![self.router(suffix, rules::host(host), main)];
        if !self.entry.tapis_auth {
            return routers;
        }
        // The name of an entry has no two hyphens in a row, so that none is called as these are. Certificates are
        // asked for once.
        if let Some(rule) = rules::excluded(host, self.entry) {
            let open = Target {
                service: self.name,
                middlewares: chain.open(),
                priority: EXCLUDED_PRIORITY,
                tls: Tls::default(),
            };
            routers.push(self.router(&format!("{suffix}--noauth"), rule, open));
        }
        let login = Target {
            service: EDGE,
            middlewares: chain.login(),
            priority: LOGIN_PRIORITY,
            tls: Tls::default(),
        };
        let rule = rules::below(host, WELL_KNOWN_PREFIX);
        routers.push(self.router(&format!("{suffix}--login"), rule, login));
        routers
    }

    fn router(&self, suffix: &str, rule: String, target: Target<'_>) -> NamedRouter {
        let router = Router {
            entry_points: [self.settings.entry_point_https.as_str()],
            rule,
            service: target.service,
            middlewares: target.middlewares,
            priority: target.priority,
            tls: Some(target.tls),
        };
        (format!("{}{suffix}", self.name).into(), json(&router).into())
    }

    /// The certificate of the entry's own host where Traefik ends the TLS.
    fn pod_certificate(&self) -> Tls<'_> {
        let siblings = self.entry.url.split_once('.').map(|(_, rest)| Domain { main: format!("*.{rest}") });
        Tls {
            cert_resolver: self.settings.cert_resolver.as_deref(),
            domains: siblings.filter(|_| self.settings.cert_wildcard).map(|siblings| [siblings]),
            ..Tls::default()
        }
    }
}

/// The middlewares of an HTTP entry.
#[derive(Default)]
struct Chain {
    all: Vec<Named>,
    list: Option<usize>,
    cors: Option<usize>,
    auth: Option<usize>,
    open_auth: Option<usize>,
    compress: Option<usize>,
    retry: Option<usize>,
    /// Both lead a request to the edge.
    to_login: Option<[usize; 2]>,
}

impl Chain {
    fn new(parts: &Parts<'_>, pod: &RoutedPod, network: &str, names: &mut Names) -> Self {
        let (entry, settings) = (parts.entry, parts.settings);
        let mut chain = Self::default();
        chain.list = middlewares::ip_allow_list(entry).map(|found| chain.add(names.shared(&found)));
        chain.cors = middlewares::cors(entry).map(|found| chain.add(names.shared(&found)));
        if entry.tapis_auth {
            let place = format!("/{}/{network}", pod.uid);
            let asked_at = |prefix: &str| {
                middlewares::forward_auth(entry, settings.at_edge(&format!("{prefix}{place}")))
            };
            let own = |word, middleware| Named::own(word, parts.name, &middleware);
            chain.auth = Some(chain.add(own("auth", asked_at(FORWARD_AUTH_PREFIX))));
            if !entry.tapis_auth_excluded_paths.is_empty() || !entry.tapis_auth_excluded_path_regex.is_empty()
            {
                chain.open_auth = Some(chain.add(own("auth-open", asked_at(OPEN_FORWARD_AUTH_PREFIX))));
            }
            let strip = names.shared(&Middleware::StripPrefix { prefixes: [WELL_KNOWN_PREFIX] });
            let prefix = Middleware::AddPrefix { prefix: format!("{LOGIN_PREFIX}{place}") };
            chain.to_login = Some([chain.add(strip), chain.add(own("login", prefix))]);
        }
        chain.compress = middlewares::compress(entry).map(|found| chain.add(names.shared(&found)));
        chain.retry = Some(chain.add(names.shared(&middlewares::retry())));
        chain
    }

    fn add(&mut self, named: Named) -> usize {
        self.all.push(named);
        self.all.len() - 1
    }

    /// In the order in which Traefik applies them. Nobody is asked twice for a login because a container was asked
    /// twice, so `retry` is last. Preflight requests carry no login, so they are answered before.
    fn main(&self) -> Vec<&str> {
        self.names([self.list, self.cors, self.auth, self.compress, self.retry])
    }

    fn open(&self) -> Vec<&str> {
        self.names([self.list, self.cors, self.open_auth, self.compress, self.retry])
    }

    fn login(&self) -> Vec<&str> {
        let [strip, prefix] = self.to_login.map_or([None, None], |pair| pair.map(Some));
        self.names([self.list, strip, prefix, None, None])
    }

    fn names(&self, places: [Option<usize>; 5]) -> Vec<&str> {
        places.into_iter().flatten().map(|place| &*self.all[place].name).collect()
    }
}
