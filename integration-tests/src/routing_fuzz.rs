//! Generated pod definitions with hostile strings, read as the API reads them, routed, and given to the real Traefik.
//!
//! Of each definition that is accepted the following must hold: nothing but members of its own is added to the routing
//! document, byte for byte, and Traefik takes the document and every router in it.

mod generate;
mod members;
mod traefik;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use pods_core::{
    NewPod, PodDefinition, Status, Tenant, ids,
    input::Violations,
    limits::PodPolicy,
    networking,
    patch::{self, Apply, Home},
    resources::{Queue, ResourceLimits},
    routing::{RoutedPod, RoutingSettings, RoutingTable},
};
use serde_json::Value;
use uuid::Uuid;

use crate::random::Random;
pub use generate::definition;
use members::{Members, members};
use traefik::Traefik;

/// Accepted definitions that are one document.
const BATCH: usize = 400;

/// What a run did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Definitions that were generated.
    pub generated: usize,
    /// Those that the API's validation accepts.
    pub accepted: usize,
    /// Routers that Traefik took over.
    pub routers: usize,
    /// Documents that it was given.
    pub documents: usize,
}

/// Generates `cases` definitions; the same seed makes the same ones.
///
/// # Errors
/// The first definition for which something does not hold.
pub async fn run(cases: usize, seed: u64, progress: impl Fn(&Tally)) -> Result<Tally> {
    let traefik = Traefik::start().await?;
    let mut random = Random::of(seed, "routing", 0);
    let mut tally = Tally::default();
    let neighbours = neighbours()?;
    while tally.generated < cases {
        let mut batch = Batch::new(&neighbours)?;
        while batch.pods.len() < BATCH && tally.generated < cases {
            tally.generated += 1;
            let body = definition(&mut random);
            let uid = Uuid::from_u64_pair(random.bits(), random.bits());
            if let Some(pod) = accepted(&body, uid, &mut random) {
                batch.add(&pod, &body).with_context(|| format!("the definition is {body}"))?;
            }
        }
        tally.accepted += batch.pods.len();
        tally.routers += batch.judge(&traefik).await?;
        tally.documents += 1;
        progress(&tally);
    }
    Ok(tally)
}

fn settings() -> RoutingSettings {
    RoutingSettings::usual("http://127.0.0.1:1", "http://127.0.0.1:2")
}

/// Tenants whose names are most alike.
fn tenants() -> [(Tenant, &'static str); 4] {
    [
        (Tenant::new("tacc", "dev"), "dev.example.org"),
        (Tenant::new("tacc", "dev-two"), "dev-two.example.org"),
        (Tenant::new("tacc-dev", "two"), "two.example.org"),
        (Tenant::new("tacc", "dev-two-x"), "x.dev-two.example.org"),
    ]
}

/// The pod that the API would make of a body, running; `None` when it would refuse it. A domain counts as proven.
fn accepted(body: &Value, uid: Uuid, random: &mut Random) -> Option<RoutedPod> {
    let new = NewPod::read(body.clone()).ok()?;
    let tenants = tenants();
    let (tenant, tenant_host) = &tenants[random.below(tenants.len())];
    let pod_id = new.pod_id.as_str();
    let home = Home { tenant, tenant_host, pod_id };
    let policy = PodPolicy {
        resources: ResourceLimits::default(),
        compute_queues: vec![Queue { name: "default".to_owned(), most_gpus: 0 }],
        images: Vec::new(),
        main_tenants: Vec::new(),
    };
    let defaults = policy.resources.defaults();
    let stored = PodDefinition::with_resources(defaults.clone());
    let apply = Apply { home, defaults: &defaults, actor: "mallory", template: None };
    let mut definition = new.patch.apply(&stored, apply);
    let mut violations = Violations::default();
    patch::check_stored(&definition, &mut violations);
    patch::check_derived(&definition, home, &policy, &mut violations);
    let hosts = tenants.iter().map(|(_, host)| *host);
    networking::check_domains(&definition.networking, hosts, &mut violations);
    for entry in definition.networking.values_mut() {
        entry.custom_domain_verified = !entry.custom_domain.is_empty();
    }
    violations.0.is_empty().then(|| RoutedPod {
        k8_name: ids::k8_name(tenant, pod_id, uid),
        tenant: tenant.clone(),
        tenant_host: (*tenant_host).to_owned(),
        pod_id: pod_id.to_owned(),
        uid,
        status: Status::Available,
        live: true,
        networking: definition.networking,
        problem: None,
        permissions: [].into(),
    })
}

/// Pods of every kind, which no other pod may touch.
fn neighbours() -> Result<Vec<RoutedPod>> {
    let body = |id: &str| {
        serde_json::json!({"pod_id": id, "image": "busybox", "networking": {
            "default": {"protocol": "http", "tapis_auth": true, "tapis_auth_excluded_paths": ["/open"],
                "custom_domain": format!("{id}.example.com"), "cors_allow_origins": ["https://app.example"]},
            "bolt": {"protocol": "tcp", "port": 7687, "ip_allow_list": ["10.0.0.0/8", "::1"]},
            "data": {"protocol": "postgres", "port": 5432},
            "sql": {"protocol": "postgres", "port": 5432, "tls_mode": "terminate"},
        }})
    };
    let mut random = Random::of(0, "neighbours", 0);
    let neighbour = |(number, id): (usize, &str)| {
        let uid = Uuid::from_u128(number as u128 + 1);
        accepted(&body(id), uid, &mut random).with_context(|| format!("the neighbour {id} is refused"))
    };
    ["aaa", "neighbour", "zzz"].into_iter().enumerate().map(neighbour).collect()
}

/// Accepted pods of one document.
struct Batch {
    neighbours: Vec<RoutedPod>,
    /// The document of the neighbours alone.
    before: Members,
    table: RoutingTable,
    pods: BTreeMap<Uuid, (Members, Value)>,
    names: BTreeSet<String>,
    domains: BTreeSet<String>,
}

impl Batch {
    fn new(neighbours: &[RoutedPod]) -> Result<Self> {
        let table = table(neighbours)?;
        let before = members(&table.render())?;
        let (pods, names) = Default::default();
        let domains = neighbours.iter().flat_map(domains_of).collect();
        Ok(Self { neighbours: neighbours.to_vec(), before, table, pods, names, domains })
    }

    /// Adds a pod, and judges it beside its neighbours.
    fn add(&mut self, pod: &RoutedPod, body: &Value) -> Result<()> {
        let domains: Vec<String> = domains_of(pod).collect();
        // The API and the database keep names and proven domains apart.
        if domains.iter().any(|domain| self.domains.contains(domain))
            || !self.names.insert(pod.k8_name.clone())
        {
            return Ok(());
        }
        self.domains.extend(domains);
        let mut alone = table(&self.neighbours)?;
        alone.set(pod);
        ensure!(alone.left_out().is_empty(), "it was accepted and is left out: {:?}", alone.left_out());
        let after = members(&alone.render())?;
        let mut added = Members::new();
        for (place, text) in &after {
            match self.before.get(place) {
                Some(before) => ensure!(before == text, "{place:?} of another pod changed to {text}"),
                None => drop(added.insert(place.clone(), text.clone())),
            }
        }
        for place in self.before.keys() {
            ensure!(after.contains_key(place), "{place:?} of another pod is gone");
        }
        for (section, kind, name) in added.keys() {
            let own = name == &pod.k8_name || name.contains(&format!("{}-", pod.k8_name));
            let shared =
                kind == "middlewares" && name.rsplit('-').next().is_some_and(|digest| digest.len() == 32);
            ensure!(
                own || (shared && name.contains('-')) || name.ends_with(&pod.k8_name),
                "{section} {kind} {name} has no name of the pod's"
            );
        }
        alone.remove(pod.uid);
        ensure!(members(&alone.render())? == self.before, "it leaves something behind");
        self.table.set(pod);
        self.pods.insert(pod.uid, (added, body.clone()));
        Ok(())
    }

    /// Judges all of them together; answers how many routers Traefik has of them.
    async fn judge(&self, traefik: &Traefik) -> Result<usize> {
        ensure!(self.table.left_out().is_empty(), "left out: {:?}", self.table.left_out());
        let text = self.table.render();
        let all = members(&text)?;
        for (own, body) in self.pods.values() {
            for (place, text) in own {
                ensure!(all.get(place) == Some(text), "{place:?} is another one beside other pods; {body}");
            }
        }
        traefik.takes(text, &all).await
    }
}

/// The proven domains of a pod.
fn domains_of(pod: &RoutedPod) -> impl Iterator<Item = String> {
    pod.networking.values().filter_map(|entry| entry.domain()).map(str::to_owned)
}

fn table(pods: &[RoutedPod]) -> Result<RoutingTable> {
    let mut table = RoutingTable::new(settings()).map_err(anyhow::Error::msg)?;
    for pod in pods {
        table.set(pod);
    }
    Ok(table)
}
