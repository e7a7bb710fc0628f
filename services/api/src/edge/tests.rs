//! The edge as Traefik and visitors meet it. Tests with a database want `PODS_TEST_DATABASE_URL`.

mod database;
pub mod disk;
mod document;
mod pages;
mod readers;
mod replicas;
mod traefik;
pub mod visitors;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use pods_core::{
    Networking, Status, Tenant,
    routing::{RoutedPod, RoutingSettings, RoutingTable},
};
use pods_db::changes::committed::Extent;
use uuid::Uuid;

use super::{board::Board, disk::SavedRoutes};

fn settings() -> RoutingSettings {
    RoutingSettings::usual("http://127.0.0.1:1", "http://127.0.0.1:2")
}

fn table() -> RoutingTable {
    RoutingTable::new(settings()).unwrap()
}

pub fn host(pod_id: &str) -> String {
    format!("{pod_id}.pods.dev.example.org")
}

fn networking(pod_id: &str) -> BTreeMap<String, Networking> {
    BTreeMap::from([("default".to_owned(), Networking { url: host(pod_id), ..Networking::default() })])
}

pub fn pod(pod_id: &str, status: Status) -> RoutedPod {
    RoutedPod {
        tenant: Tenant::new("tacc", "dev"),
        tenant_host: "dev.example.org".to_owned(),
        pod_id: pod_id.to_owned(),
        uid: Uuid::new_v4(),
        k8_name: format!("pods-tacc-dev-{pod_id}"),
        status,
        live: status == Status::Available,
        networking: networking(pod_id),
        problem: None,
        permissions: Arc::from([]),
    }
}

/// A board as if these pods had just been read from the database.
pub fn board(pods: &[RoutedPod]) -> Arc<Board> {
    let board = Board::new(table(), None);
    board.replace(pods);
    board.publish(Extent::at(10)).unwrap();
    board.fed(Instant::now());
    Arc::new(board)
}

/// What was on disk when the process started.
fn saved(xid: i64) -> SavedRoutes {
    SavedRoutes {
        database: "db".to_owned(),
        extent: Extent::at(xid),
        pods: vec![pod("ondisk", Status::Available)],
        is_recent: true,
        is_confirmed: true,
    }
}
