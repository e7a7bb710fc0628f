//! The role `edge`: what Traefik and the visitors of pods without a route ask.
//!
//! Served from memory: `GET /traefik-config` is the routing document of [`pods_core::routing`], every path below
//! `/visitor` (where the catch-all of that document leads) is the status page of the host that was asked for.
//! Both know of Postgres what [`feed`] has read; while it is away the pages go on, and a process that starts in the
//! meantime goes by what is on its disk.

pub mod arrivals;
pub mod auth;
pub mod board;
mod condition;
pub mod config;
pub mod disk;
pub mod document;
pub mod errors;
pub mod feed;
pub mod http;
pub mod page;
pub mod peers;
mod saver;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::web::Data;
use anyhow::Context;
use pods_core::routing::RoutingTable;
use pods_db::Db;
use pods_runtime::{config::ExposeSecret, internal_http::Health, shutdown::Supervisor};

pub use config::Config;

/// Feed and arrivals take turns; a second connection only bridges a lost one.
const CONNECTIONS: usize = 2;

/// Runs the edge until the process is asked to stop.
///
/// # Errors
/// When the configuration cannot work, the address is taken, or a task fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let table = RoutingTable::new(config.routing_settings())
        .map_err(|problem| anyhow::anyhow!("the configuration is wrong: {problem}"))?;
    let disk = disk::Disk::open(&config.edge.state_dir);
    let peers = peers::Peers::new(&config.edge.peers)?;
    let board = board::Board::new(table, disk.load(config.edge.copy_absence)).with_peers(peers);
    let board = Arc::new(board);
    let db =
        Db::connect(config.database.url.expose_secret(), config.database.pool_size.clamp(1, CONNECTIONS))
            .context("the database address cannot be used")?;
    let mut supervisor = Supervisor::new();
    let health = Health::new();
    health.watch_runtime();
    let metrics = crate::metrics::of_edge(&db);
    supervisor.spawn("arrivals", arrivals::record(Arc::clone(&board), db.clone(), supervisor.token()));
    let logins = Arc::new(auth::Logins::new(&config)?);
    logins.start(&mut supervisor);
    health.watch("revocations", logins.beat());
    // One of its own: what a page no longer waits for must not be in the feed's way.
    let readers = page::reader::Readers::new(db.share(CONNECTIONS)?, Some(logins.who()));
    let feed = feed::Feed::new(db, config.service.site_id.clone(), Arc::clone(&board), disk);
    supervisor.spawn("change feed", health.beat("change feed").over(feed.run(supervisor.token())));
    let site = http::Site { https_port: config.edge.https_port, version: config.service.version };
    let sources = http::Sources {
        board: board.into(),
        site: Data::new(site),
        logins: logins.into(),
        readers: Data::new(readers),
        health: Data::new(health),
        metrics: Data::new(metrics),
    };
    supervisor.spawn("edge http", http::serve(config.edge.bind, sources, supervisor.token()));
    supervisor.run().await
}
