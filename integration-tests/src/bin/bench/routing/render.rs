//! Making the document, without a process around it.

use std::time::Instant;

use anyhow::{Result, ensure};
use pods_core::routing::{Packer, RoutedPod, RoutingSettings, RoutingTable};

use super::pod;
use crate::numbers::{judge, percentile};

const ROUNDS: usize = 7;
const CHANGES: usize = 500;

/// The whole document, and the document after one pod changed.
pub fn run(pods: usize) -> Result<bool> {
    println!("rendering, {pods} pods x 2 entries");
    let all: Vec<RoutedPod> = (0..pods).map(|number| pod(number, 5000)).collect();
    let (mut checked, mut rendered, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..ROUNDS {
        let mut table = RoutingTable::new(settings()).map_err(anyhow::Error::msg)?;
        let begun = Instant::now();
        for pod in &all {
            table.set(pod);
        }
        checked.push(milliseconds(begun));
        let begun = Instant::now();
        let pieces = table.pieces();
        rendered.push(milliseconds(begun));
        let mut packer = Packer::default();
        let begun = Instant::now();
        let gzip = packer.pack(&pieces).map_err(anyhow::Error::msg)?;
        packed.push(milliseconds(begun));
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        println!(
            "  {:.1} MB in {} pieces, {:.2} MB compressed; definitions to fragments {:.1} ms, document {:.1} ms, compression {:.1} ms",
            length as f64 / 1e6,
            pieces.len(),
            gzip.len() as f64 / 1e6,
            checked.last().unwrap_or(&f64::NAN),
            rendered.last().unwrap_or(&f64::NAN),
            packed.last().unwrap_or(&f64::NAN),
        );
        ensure!(table.left_out().is_empty(), "entries are left out");
        last = Some((table, packer));
    }
    let mut met = judge("rendering in full, median", percentile(&rendered, 50.0), 50.0, "ms");
    let Some((mut table, mut packer)) = last else { return Ok(false) };
    let mut changes = Vec::new();
    for change in 0..CHANGES {
        let changed = pod(change * 7919 % pods, 6000 + change as i32);
        let begun = Instant::now();
        ensure!(table.set(&changed), "a changed port is another document");
        packer.pack(&table.pieces()).map_err(anyhow::Error::msg)?;
        changes.push(milliseconds(begun));
    }
    met &= judge("one changed pod, rendered and compressed, p99", percentile(&changes, 99.0), 5.0, "ms");
    Ok(met)
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

fn settings() -> RoutingSettings {
    RoutingSettings {
        namespace: "pods".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        api_url: "http://pods-api:8000".to_owned(),
        edge_url: "http://pods-edge:8010".to_owned(),
        entry_point_http: "web".to_owned(),
        entry_point_https: "websecure".to_owned(),
        cert_resolver: None,
        cert_wildcard: false,
        domain_cert_resolver: None,
    }
}
