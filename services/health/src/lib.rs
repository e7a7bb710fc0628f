//! Health: every observation of Kubernetes, and what is recorded because of it.
//!
//! A watch keeps a view of the Pods; a change of it, a timer or the end of a log pushes a row into the queue; a look
//! at a row observes, decides (pure, [`decide`]) and records with compare-and-set. Replicas divide the rows by leases
//! ([`shards`]), so that each row has one observer. Nothing in Kubernetes is ever written, and no Secret is read.

pub mod config;
pub mod decide;
pub mod domains;
pub mod events;
mod expiry;
pub mod logs;
mod metrics;
pub mod nodes;
mod prune;
pub mod queue;
pub mod reconcile;
pub mod relay;
pub mod settled;
pub mod shards;
pub mod sweep;
pub mod view;
pub mod waiting;

use std::convert::Infallible;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{Api, Client};
use pods_db::Db;
use pods_runtime::{
    config::ExposeSecret,
    internal_http::{self, Health},
    metrics::Metrics,
    shutdown::Supervisor,
};
use tokio::sync::mpsc;

pub use config::Config;

/// Looks at rows that may go on at once; each uses a database connection.
const CONCURRENCY: usize = 4;

/// Runs the process until it is told to stop.
///
/// # Errors
/// A configuration that cannot work, or a task that ended although nobody asked it to.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let clients = Clients {
        calls: pods_kube::client::connect().await?,
        streams: pods_kube::client::connect_for_streams().await?,
    };
    let health = Health::new();
    let mut supervisor = Supervisor::new();
    let token = supervisor.token();
    health.watch_runtime();
    let metrics = start(&config, clients, &health, &mut supervisor).await?;
    let internal = internal_http::serve(config.health.internal_bind, health, metrics, token);
    supervisor.spawn("internal http", internal);
    tracing::info!(
        site = config.service.site_id,
        namespace = config.kubernetes.namespace,
        "pods-health watches"
    );
    supervisor.run().await
}

/// Connections to Kubernetes.
pub struct Clients {
    /// For calls and watches.
    pub calls: Client,
    /// For logs, of which there are many.
    pub streams: Client,
}

struct Apis {
    pods: Api<Pod>,
    events: Api<Event>,
    nodes: Api<Node>,
    logs: Api<Pod>,
}

impl Clients {
    fn apis(self, namespace: &str) -> Apis {
        Apis {
            pods: Api::namespaced(self.calls.clone(), namespace),
            events: Api::namespaced(self.calls.clone(), namespace),
            nodes: Api::all(self.calls),
            logs: Api::namespaced(self.streams, namespace),
        }
    }
}

/// Starts every task but the internal listener, and answers what that one shows.
///
/// # Errors
/// A configuration that cannot work. That Kubernetes, Postgres or NATS are down is none.
pub async fn start(
    config: &Config,
    clients: Clients,
    health: &Health,
    supervisor: &mut Supervisor,
) -> anyhow::Result<Metrics> {
    let token = supervisor.token();
    let site_id = config.service.site_id.clone();
    let db =
        Db::connect(config.database.url.expose_secret(), config.database.pool_size.max(CONCURRENCY + 2))?;
    let broker = pods_messages::connect(config.nats.url.expose_secret(), "pods-health").await?;
    let stream = broker.stream(&config.nats.stream, &site_id).context("the name of the NATS stream")?;

    let Apis { pods, events, nodes: node_api, logs: log_api } = clients.apis(&config.kubernetes.namespace);
    let view = view::View::default();
    let shards = shards::Shards::new(&site_id);
    let (pusher, queue, surveys) = queue::queue();
    let settled_rows = settled::Settled::default();
    let notes = events::Notes::default();
    let nodes = nodes::Nodes::new(config.health.node_lost_after);
    let (logs, begun) = logs::Logs::new(log_api, db.clone(), shards.clone(), pusher.clone());
    let reconciler = reconcile::Reconciler::new(reconcile::Parts {
        db: db.clone(),
        api: pods.clone(),
        events: events.clone(),
        notes: notes.clone(),
        view: view.clone(),
        shards: shards.clone(),
        logs: logs.clone(),
        nodes: nodes.clone(),
        settled: settled_rows.clone(),
        give_up_after: config.spawn.give_up_after,
        wake_interval: config.health.sweep_interval,
    });
    let sweep = sweep::Sweep {
        db: db.clone(),
        site_id: site_id.clone(),
        shards: shards.clone(),
        view: view.clone(),
        settled: settled_rows,
        queue: pusher.clone(),
        interval: config.health.sweep_interval,
    };

    // Before anything can be gained or lost, so that nothing is missed.
    let (under_shares, mut settled) = mpsc::channel::<Infallible>(1);
    supervisor.spawn("logs", holding(under_shares.clone(), logs.run(token.clone())));
    supervisor.spawn("sweep", health.beat("sweep").over(sweep.run(token.clone())));
    supervisor.spawn("pruning", prune::run(db.clone(), shards.clone(), token.clone()));
    let surveyor = reconciler.clone();
    let survey = move |uids, trigger| surveyor.clone().survey(uids, trigger);
    supervisor.spawn(
        "surveys",
        holding(under_shares.clone(), queue::survey(surveys, pusher.clone(), token.clone(), survey)),
    );
    let work = move |uid, trigger| metrics::look(reconciler.clone().look(uid, trigger));
    let looks = queue::run(queue, CONCURRENCY, health.beat("looks"), token.clone(), work);
    supervisor.spawn("looks", holding(under_shares, looks));
    let synced = health.flag("kubernetes");
    supervisor.spawn(
        "watch of pods",
        view::watch(pods, site_id.clone(), view.clone(), pusher.clone(), synced, token.clone()),
    );
    supervisor
        .spawn("watch of events", events::watch(events, notes, view.clone(), pusher.clone(), token.clone()));
    supervisor.spawn("watch of nodes", nodes::watch(node_api, nodes, view, pusher, token.clone()));
    let archive = logs::archive::run(db.clone(), shards.clone(), config.logs.keep(), begun, token.clone());
    supervisor.spawn("archive of logs", archive);
    let checker = domains::Checker::new(db.clone(), site_id.clone(), &config.domains)?;
    supervisor.spawn("custom domains", checker.run(shards.clone(), token.clone()));
    supervisor
        .spawn("relay", relay::run(db.clone(), stream.publisher(), health.beat("relay"), token.clone()));
    // What was read and decided is still written before another replica begins.
    let settled = async move {
        let _all_closed = settled.recv().await;
    };
    let metrics = metrics::of(&db, site_id, shards.clone());
    let shares = shards::run(shards, db, health.flag("database"), settled, token);
    supervisor.spawn("shares", health.beat("shares").over(shares));
    Ok(metrics)
}

/// Keeps a guard for as long as a task runs.
async fn holding<G, T>(guard: G, task: impl Future<Output = T>) -> T {
    let result = task.await;
    drop(guard);
    result
}
