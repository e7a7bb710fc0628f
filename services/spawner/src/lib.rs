//! The spawner: every write to Kubernetes, nothing else.
//!
//! A wake-up names a pod and says nothing about it. Under the pod's lock the spawner reads the row and everything in
//! Kubernetes that carries its uid, decides ([`decide`]) and acts ([`cluster`]), until both agree or something has to
//! happen first. Doing it twice changes nothing.

pub mod cluster;
mod config;
pub mod decide;
mod metrics;
mod ready;
mod shutdown_volume;
mod values;
pub mod worker;
pub mod world;

pub use config::{Config, SpawnConfig, SpawnerConfig};

use anyhow::Context;
use pods_db::Db;
use pods_messages::ConsumerConfig;
use pods_runtime::{
    config::ExposeSecret,
    internal_http::{self, Health},
    shutdown::Supervisor,
};
use pods_secrets::KeyRing;
use tracing::info;

use crate::{cluster::Cluster, worker::Worker};

/// Runs the process until it is asked to stop.
///
/// # Errors
/// When the configuration cannot work, or a part of the process failed. That Postgres, NATS or Kubernetes is down is no
/// error: it is waited for.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let site = config.service.site_id.clone();
    let concurrency = config.spawner.concurrency.max(1);
    let settings = config.build_settings()?;
    let keys = KeyRing::parse(config.secrets.read()?).context("the keys of [secrets] cannot be used")?;
    let db = Db::connect(config.database.url.expose_secret(), config.database.pool_size)?;
    let client = pods_kube::client::connect().await?;
    let broker = pods_messages::connect(config.nats.url.expose_secret(), "pods-spawner").await?;
    let stream = broker.stream(&config.nats.stream, &site)?;
    let cluster = Cluster::new(&client, &config.kubernetes.namespace, settings.network_policy.enabled);
    let worker = Worker::new(&site, &db, cluster, keys, settings, concurrency)?;
    let consumer = stream.consumer(ConsumerConfig::default());

    let health = Health::new();
    health.watch_runtime();
    health.watch("wake-ups", &consumer.beat());
    let metrics = metrics::of(&db);
    let mut supervisor = Supervisor::new();
    let token = supervisor.token();
    let volume = shutdown_volume::Switch::new(config.spawn.shutdown_volume);
    let worker = worker.until(token.clone()).with_shutdown_volume(volume.state());
    supervisor.spawn("version of Kubernetes", volume.run(client.clone(), token.clone()));
    supervisor.spawn("late objects", worker::orphans::run(worker.clone(), db.clone(), token.clone()));
    supervisor.spawn("ready", ready::watch(&health, consumer.state(), db, client, token.clone()));
    let internal = internal_http::serve(config.spawner.internal_bind, health, metrics, token.clone());
    supervisor.spawn("internal-http", internal);
    supervisor.spawn("wake-ups", async move {
        let handle = move |delivery| {
            let worker = worker.clone();
            metrics::observed(delivery, |delivery| async move { worker.handle(delivery).await })
        };
        consumer.run(token, concurrency, handle).await;
        Ok(())
    });
    info!(site, namespace = config.kubernetes.namespace, concurrency, "the spawner is up");
    supervisor.run().await
}
