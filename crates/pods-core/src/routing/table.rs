//! All fragments of a site, kept rendered, and the hosts that they answer to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    Piece, RoutedPod, RoutingSettings,
    fragment::{self, Fragment, Place, Section, router_name},
    middlewares::Names,
    rules,
    sheet::{Sheets, Shown},
    site::{DOMAIN_PAGES, Frame},
};
use crate::{
    Networking, Protocol, Status,
    visitor::{Gate, GatedPod},
};

/// What a visitor of a host meets when Traefik has no route for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// No pod has this host.
    Unknown,
    /// The pod is not routed; its status says why, AVAILABLE meaning that Traefik is about to learn of it.
    Pod(Status),
    /// The pod runs and does not pass its probes yet.
    NotReady,
    /// The entry speaks something else than HTTP.
    NotWeb,
    /// The pod runs, but its entry cannot be routed.
    Unroutable,
}

/// An entry of a live pod, or its domain, that has no router, and why.
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
type Key = (Arc<str>, Uuid);

/// A host, and the entry that wants it. A user's own domain comes after the hosts that the service gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    domain: bool,
    key: Key,
}

#[derive(Debug)]
struct Entry {
    network: String,
    /// `None` for entries that no visitor can reach.
    host: Option<String>,
    /// The user's own domain, once it is proven.
    domain: Option<String>,
    protocol: Protocol,
    status: Status,
    live: bool,
    /// Only for HTTP entries.
    gate: Option<Arc<Gate>>,
    /// Only for live pods.
    route: Option<Result<Arc<Fragment>, String>>,
}

/// The routes of a site. Changes cost as much as the pods that changed, and so does rendering after them.
#[derive(Debug)]
pub struct RoutingTable {
    settings: RoutingSettings,
    names: Names,
    frame: Frame,
    entries: BTreeMap<Key, Entry>,
    pods: HashMap<Uuid, Vec<Arc<str>>>,
    /// Sorted; the first one has the host.
    hosts: HashMap<String, Vec<Claim>>,
    /// What is in the document, by the name of the service.
    shown: HashMap<Arc<str>, Shown>,
    /// The proven domains that have routers to the edge, by the name of the service.
    domains: HashMap<Arc<str>, String>,
    /// By name, row and whether it is about the domain.
    left_out: BTreeMap<(Arc<str>, Uuid, bool), String>,
    http: Sheets,
    tcp: Sheets,
}

impl RoutingTable {
    /// A table without pods.
    ///
    /// # Errors
    /// A sentence that names the setting which would make every document wrong.
    pub fn new(settings: RoutingSettings) -> Result<Self, String> {
        settings.check()?;
        let mut names = Names::default();
        let frame = Frame::new(&settings, &mut names);
        let (entries, pods, hosts, shown, domains, left_out, http, tcp) = Default::default();
        Ok(Self { settings, names, frame, entries, pods, hosts, shown, domains, left_out, http, tcp })
    }

    /// Adds a pod or replaces what was known about it. True when the document is another one now.
    pub fn set(&mut self, pod: &RoutedPod) -> bool {
        let mut touched = self.take(pod.uid);
        for (network, entry) in &pod.networking {
            let name: Arc<str> = router_name(&pod.k8_name, network).into();
            let entry = self.entry(&name, pod, network, entry);
            let key = (Arc::clone(&name), pod.uid);
            for (domain, host) in [(false, &entry.host), (true, &entry.domain)] {
                if let Some(host) = host {
                    let claims = self.hosts.entry(host.clone()).or_default();
                    let claim = Claim { domain, key: key.clone() };
                    if let Err(place) = claims.binary_search(&claim) {
                        claims.insert(place, claim);
                    }
                    touched.extend(claims.iter().map(|claim| Arc::clone(&claim.key.0)));
                }
            }
            self.entries.insert(key, entry);
            self.pods.entry(pod.uid).or_default().push(Arc::clone(&name));
            touched.insert(name);
        }
        self.sync(&touched)
    }

    /// Forgets a pod. True when the document is another one now.
    pub fn remove(&mut self, uid: Uuid) -> bool {
        let touched = self.take(uid);
        self.sync(&touched)
    }

    /// Forgets every pod that is not among `live`. True when the document is another one now.
    pub fn retain(&mut self, live: &HashSet<Uuid>) -> bool {
        let gone: Vec<Uuid> = self.uids().filter(|uid| !live.contains(uid)).collect();
        gone.into_iter().filter(|uid| self.remove(*uid)).count() > 0
    }

    /// The rows that the table knows.
    pub fn uids(&self) -> impl Iterator<Item = Uuid> {
        self.pods.keys().copied()
    }

    /// What a visitor of `host` (lower case, without port) meets at the edge.
    pub fn visit(&self, host: &str) -> Visit {
        let Some((claim, entry)) = self.owner(host) else { return Visit::Unknown };
        let shown = || {
            let shown = self.shown.get(&claim.key.0).filter(|_| self.owns_name(&claim.key));
            shown.is_some_and(|shown| shown.domain || !claim.domain)
        };
        match entry.status {
            Status::Available if entry.protocol != Protocol::Http => Visit::NotWeb,
            Status::Available if !entry.live => Visit::NotReady,
            Status::Available if !shown() => Visit::Unroutable,
            status => Visit::Pod(status),
        }
    }

    /// Whether the document leads to a pod, by whichever of its entries.
    pub fn has_router(&self, uid: Uuid) -> bool {
        let names = self.pods.get(&uid).map(Vec::as_slice).unwrap_or_default();
        names.iter().any(|name| self.shown.contains_key(name) && self.owns_name(&(Arc::clone(name), uid)))
    }

    /// Whether `host` belongs to an HTTP entry of a pod, so that plain HTTP is sent on to HTTPS.
    pub fn is_web_host(&self, host: &str) -> bool {
        self.owner(host).is_some_and(|(_, entry)| entry.protocol == Protocol::Http)
    }

    /// The hosts of a pod's HTTP entries.
    pub fn hosts_of(&self, uid: Uuid) -> Vec<String> {
        let entries = self.entries_of(uid).filter(|entry| entry.protocol == Protocol::Http);
        entries.flat_map(|entry| entry.host.iter().chain(&entry.domain).cloned()).collect()
    }

    /// The gate of an HTTP entry, whether or not the pod runs.
    pub fn gate(&self, uid: Uuid, network: &str) -> Option<Arc<Gate>> {
        self.entries_of(uid).find(|entry| entry.network == network)?.gate.clone()
    }

    /// The gate of the HTTP entry that has `host` (lower case, without port).
    pub fn gate_of_host(&self, host: &str) -> Option<Arc<Gate>> {
        self.owner(host)?.1.gate.clone()
    }

    /// The entries of live pods, and their domains, that have no router.
    pub fn left_out(&self) -> Vec<LeftOut> {
        let entry = |((name, uid, _), reason): (&(Arc<str>, Uuid, bool), &String)| LeftOut {
            uid: *uid,
            name: name.to_string(),
            reason: reason.clone(),
        };
        self.left_out.iter().map(entry).collect()
    }

    /// The routing document in pieces. Those that did not change since the last time are the same ones.
    pub fn pieces(&self) -> Vec<Piece> {
        self.frame.document(&self.http, &self.tcp)
    }

    /// The routing document.
    pub fn render(&self) -> Vec<u8> {
        self.pieces().concat()
    }

    fn entry(&mut self, name: &str, pod: &RoutedPod, network: &str, entry: &Networking) -> Entry {
        let reachable = entry.protocol != Protocol::LocalOnly;
        let route = (reachable && pod.live).then(|| {
            if let Some(problem) = &pod.problem {
                return Err(problem.clone());
            }
            let place = Place { name, pod, network, entry };
            fragment::render(place, &self.settings, &mut self.names).map(Arc::new)
        });
        // Who may pass is as unknown as the rest of a pod that is not whole.
        let gated = entry.protocol == Protocol::Http && pod.problem.is_none();
        let domain = entry.domain().filter(|domain| rules::check_domain(domain, &pod.tenant_host).is_ok());
        let of_pod = GatedPod {
            tenant: &pod.tenant,
            pod_id: &pod.pod_id,
            uid: pod.uid,
            permissions: &pod.permissions,
        };
        Entry {
            network: network.to_owned(),
            host: (reachable && !entry.url.is_empty()).then(|| entry.url.clone()),
            domain: domain.map(str::to_owned),
            protocol: entry.protocol,
            status: pod.status,
            live: pod.live,
            gate: gated.then(|| Arc::new(Gate::new(of_pod, network, entry))),
            route,
        }
    }

    fn entries_of(&self, uid: Uuid) -> impl Iterator<Item = &Entry> {
        let names = self.pods.get(&uid).map(Vec::as_slice).unwrap_or_default();
        names.iter().filter_map(move |name| self.entries.get(&(Arc::clone(name), uid)))
    }

    /// The first one that wants the host.
    fn owner(&self, host: &str) -> Option<(&Claim, &Entry)> {
        let claim = self.hosts.get(host)?.first()?;
        Some((claim, self.entries.get(&claim.key)?))
    }

    fn is_owner(&self, host: Option<&String>, domain: bool, key: &Key) -> bool {
        host.and_then(|host| self.owner(host))
            .is_some_and(|(claim, _)| claim.domain == domain && claim.key == *key)
    }

    fn owns_name(&self, key: &Key) -> bool {
        self.called(&key.0).next().is_some_and(|(first, _)| first.1 == key.1)
    }

    /// The entries of this name, of which there should be one.
    fn called(&self, name: &Arc<str>) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.range((Arc::clone(name), Uuid::nil())..=(Arc::clone(name), Uuid::max()))
    }

    /// Removes a pod; returns the names that this may change something for.
    fn take(&mut self, uid: Uuid) -> BTreeSet<Arc<str>> {
        let mut touched = BTreeSet::new();
        for name in self.pods.remove(&uid).unwrap_or_default() {
            let key = (Arc::clone(&name), uid);
            touched.insert(name);
            let Some(entry) = self.entries.remove(&key) else { continue };
            for host in entry.host.into_iter().chain(entry.domain) {
                let Some(claims) = self.hosts.get_mut(&host) else { continue };
                claims.retain(|claim| claim.key != key);
                touched.extend(claims.iter().map(|claim| Arc::clone(&claim.key.0)));
                if claims.is_empty() {
                    self.hosts.remove(&host);
                }
            }
        }
        touched
    }

    /// Brings the document to what the entries say. True when it changed.
    fn sync(&mut self, names: &BTreeSet<Arc<str>>) -> bool {
        names.iter().filter(|name| self.sync_name(name)).count() > 0
    }

    fn sync_name(&mut self, name: &Arc<str>) -> bool {
        let mut next = None;
        let mut domain_of_name = None;
        let mut reasons = Vec::new();
        for (key, entry) in self.called(name) {
            if self.is_owner(entry.domain.as_ref(), true, key) && rules::is_router_name(name) {
                domain_of_name.clone_from(&entry.domain);
            }
            match self.routed(key, entry) {
                None => {}
                Some(Err(reason)) => reasons.push((key.1, false, reason)),
                Some(Ok(fragment)) => {
                    let domain = self.domain_routed(key, entry, fragment);
                    next = Some(Shown { fragment: Arc::clone(fragment), domain: domain == Some(Ok(())) });
                    if let Some(Err(reason)) = domain {
                        reasons.push((key.1, true, reason));
                    }
                }
            }
        }
        self.note_left_out(name, reasons);
        let changed = self.sync_domain(name, domain_of_name);
        if self.shown.get(name) == next.as_ref() {
            return changed;
        }
        if let Some(next) = &next {
            self.sheets(next).add(name, next);
        }
        if let Some(before) = self.shown.remove(name) {
            let kept = next.as_ref().filter(|next| next.fragment.section == before.fragment.section);
            self.sheets(&before).release(name, &before, kept);
        }
        if let Some(next) = next {
            self.shown.insert(Arc::clone(name), next);
        }
        true
    }

    /// The routers of a domain to the edge are there whether or not its pod runs. True when they changed.
    fn sync_domain(&mut self, name: &Arc<str>, domain: Option<String>) -> bool {
        if self.domains.get(name) == domain.as_ref() {
            return false;
        }
        match domain {
            Some(domain) => {
                for (router, json) in self.frame.of_domain(name, &domain) {
                    self.http.routers.put(&router, &json);
                }
                self.domains.insert(Arc::clone(name), domain);
            }
            None => {
                for suffix in DOMAIN_PAGES {
                    self.http.routers.remove(&format!("{name}{suffix}"));
                }
                self.domains.remove(name);
            }
        }
        true
    }

    fn sheets(&mut self, shown: &Shown) -> &mut Sheets {
        match shown.fragment.section {
            Section::Http => &mut self.http,
            Section::Tcp => &mut self.tcp,
        }
    }

    fn note_left_out(&mut self, name: &Arc<str>, reasons: Vec<(Uuid, bool, String)>) {
        let all = (Arc::clone(name), Uuid::nil(), false)..=(Arc::clone(name), Uuid::max(), true);
        let old: Vec<_> = self.left_out.range(all).map(|(place, _)| place.clone()).collect();
        for place in old {
            self.left_out.remove(&place);
        }
        for (uid, domain, reason) in reasons {
            self.left_out.insert((Arc::clone(name), uid, domain), reason);
        }
    }

    /// The fragment of an entry, why a live pod's entry has none, or `None` while it needs none.
    ///
    /// What is found here and in [`Self::domain_routed`] beyond [`fragment::reach`] and [`fragment::domain_problem`] no
    /// owner is told, because it cannot be. A tenant has one live pod of an id, and neither ids nor the names of entries
    /// have hyphens, so a host is one entry's; live rows have different Kubernetes names, and none is another one with an
    /// entry's name behind it; one claim to a domain is verified at a time. Unique indexes of the database see to that, so
    /// that a row which breaks it was written by hand.
    fn routed<'a>(&self, key: &Key, entry: &'a Entry) -> Option<Result<&'a Arc<Fragment>, String>> {
        let fragment = match entry.route.as_ref()? {
            Ok(fragment) => fragment,
            Err(reason) => return Some(Err(reason.clone())),
        };
        Some(if !self.is_owner(entry.host.as_ref(), false, key) {
            Err("another pod has the same host".to_owned())
        } else if !self.owns_name(key) {
            Err("another pod has the same Kubernetes name".to_owned())
        } else {
            Ok(fragment)
        })
    }

    /// The same for the user's own domain.
    fn domain_routed(&self, key: &Key, entry: &Entry, fragment: &Fragment) -> Option<Result<(), String>> {
        match &fragment.domain_routers {
            Err(reason) => Some(Err(reason.clone())),
            Ok(routers) if routers.is_empty() => None,
            Ok(_) if self.is_owner(entry.domain.as_ref(), true, key) => Some(Ok(())),
            Ok(_) => Some(Err("its custom_domain leads to another pod".to_owned())),
        }
    }
}
