//! How the networking entries of a pod are reached, and what their custom domains wait for.

use std::collections::BTreeMap;

use super::Facts;
use crate::{
    Networking, Protocol, Status,
    domains::{Claim, Note},
    networking,
    routing::{self, Reach},
};

/// What a pod offers to visitors, as its row stands now: routing follows the row, not the start.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// Name of the pod's Kubernetes Service.
    pub k8_name: &'a str,
    /// Host of its tenant, without scheme and port.
    pub tenant_host: &'a str,
    /// The entries merged with the templates; `None` when that is not possible.
    pub entries: Option<&'a BTreeMap<String, Networking>>,
    /// The custom domains that it wants.
    pub claims: &'a [Claim],
}

/// How one entry is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryNote {
    /// The entry's name.
    pub name: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its host; `None` when it has no address outside of the cluster.
    pub url: Option<String>,
    /// Whether the proxy leads to the container at present.
    pub live: bool,
    /// What is the case, in plain words.
    pub message: String,
    /// Its own domain, if it names one.
    pub custom_domain: Option<Note>,
    /// Whether the proxy cannot lead to it, whatever the pod does.
    problem: bool,
}

impl Network<'_> {
    /// Whether the proxy leads visitors to any entry while the pod is live.
    pub(super) fn has_visitors(&self) -> bool {
        self.entries.is_some_and(|entries| routing::has_visitors(self.k8_name, entries))
    }
}

/// A note about each entry, by name.
pub(super) fn notes(facts: &Facts<'_>) -> Vec<EntryNote> {
    let entries = facts.network.entries.into_iter().flatten();
    entries.map(|(name, entry)| note(facts, name, entry)).collect()
}

fn note(facts: &Facts<'_>, name: &str, entry: &Networking) -> EntryNote {
    let Network { k8_name, claims, .. } = facts.network;
    let reach = routing::reach(k8_name, name, entry);
    let outside = reach != Reach::InsideOnly;
    let live = reach == Reach::Visitors && networking::live(facts.status, facts.said);
    let claim = claims.iter().find(|claim| claim.domain == entry.custom_domain);
    EntryNote {
        name: name.to_owned(),
        protocol: entry.protocol,
        url: (outside && !entry.url.is_empty()).then(|| entry.url.clone()),
        live,
        message: match &reach {
            Reach::InsideOnly => {
                format!("It is reached inside of the cluster only, at {k8_name}:{}.", entry.port)
            }
            Reach::Nobody(why) => format!("It cannot be reached: {}.", why.trim_end_matches('.')),
            Reach::Visitors => message(facts, entry, live).to_owned(),
        },
        custom_domain: claim
            .filter(|_| entry.protocol == Protocol::Http)
            .map(|claim| domain(facts, entry, claim)),
        problem: matches!(reach, Reach::Nobody(_)),
    }
}

/// What is known about a custom domain; proven is not enough where the proxy cannot lead it anywhere.
fn domain(facts: &Facts<'_>, entry: &Networking, claim: &Claim) -> Note {
    let note = Note::of(claim);
    match routing::domain_problem(facts.network.tenant_host, entry) {
        Some(why) => Note { settled: false, message: format!("It leads nowhere: {why}."), ..note },
        None => note,
    }
}

fn message(facts: &Facts<'_>, entry: &Networking, live: bool) -> &'static str {
    let page = entry.protocol == Protocol::Http;
    match (facts.status, live, page) {
        (_, true, _) => "The proxy leads to the container.",
        (Status::Available, false, true) => {
            "It opens once the container passes its probes; visitors see a page until then."
        }
        (Status::Available, false, false) => {
            "It opens once the container passes its probes; connections lead nowhere until then."
        }
        (Status::Requested | Status::Spawning | Status::Restarting, _, true) => {
            "It opens once the pod is AVAILABLE; visitors see a page until then."
        }
        (Status::Requested | Status::Spawning | Status::Restarting, _, false) => {
            "It opens once the pod is AVAILABLE; connections lead nowhere until then."
        }
        (Status::ShuttingDown | Status::Stopped | Status::Complete | Status::Error, _, true) => {
            "The pod does not run; visitors see a page that says so."
        }
        (Status::ShuttingDown | Status::Stopped | Status::Complete | Status::Error, _, false) => {
            "The pod does not run; connections lead nowhere."
        }
    }
}

/// What somebody has to do about the networking.
pub(super) fn hints(facts: &Facts<'_>, notes: &[EntryNote]) -> Vec<String> {
    let mut hints = Vec::new();
    if facts.network.entries.is_none() {
        hints.push("The pod has no addresses because its template cannot be merged into it.".to_owned());
    }
    for note in notes {
        if note.problem {
            hints.push(format!("Networking entry \"{}\": {}", note.name, note.message));
        }
        if let Some(domain) = note.custom_domain.as_ref().filter(|domain| !domain.settled) {
            hints.push(format!("Custom domain {}: {}", domain.domain, domain.message));
        }
    }
    hints
}
