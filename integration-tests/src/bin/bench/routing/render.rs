//! Making the document, without a process around it.

use std::time::Instant;

use anyhow::{Result, ensure};
use pods_core::routing::{Packer, RoutedPod, RoutingSettings, RoutingTable};

use super::pod;
use crate::numbers::{judge_rounds, percentile, spread};

const ROUNDS: usize = 7;
const CHANGES: usize = 200;

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
        ensure!(table.left_out().is_empty(), "entries are left out");
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        last = Some((table, packer, (length, pieces.len(), gzip.len())));
    }
    let Some((mut table, mut packer, (length, count, compressed))) = last else { return Ok(false) };
    println!(
        "  {:.1} MB in {count} pieces, {:.2} MB compressed",
        length as f64 / 1e6,
        compressed as f64 / 1e6
    );
    println!("  checking all definitions and making their pieces, as at a start: {}", spread(&checked, "ms"));
    let mut met = judge_rounds("writing the whole document", &rendered, 50.0, "ms");
    println!("  compressing the whole document: {}", spread(&packed, "ms"));
    let mut worst = Vec::new();
    let mut usual = Vec::new();
    for round in 0..ROUNDS {
        let mut changes = Vec::new();
        for change in 0..CHANGES {
            let number = round * CHANGES + change;
            let changed = pod(number * 7919 % pods, 6000 + i32::try_from(number)?);
            let begun = Instant::now();
            ensure!(table.set(&changed), "a changed port is another document");
            packer.pack(&table.pieces()).map_err(anyhow::Error::msg)?;
            changes.push(milliseconds(begun));
        }
        worst.push(percentile(&changes, 99.0));
        usual.push(percentile(&changes, 50.0));
    }
    println!("  one changed pod, checked, written and compressed, p50: {}", spread(&usual, "ms"));
    met &= judge_rounds("the same, p99", &worst, 5.0, "ms");
    Ok(met)
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

fn settings() -> RoutingSettings {
    RoutingSettings::usual("http://pods-api:8000", "http://pods-edge:8010")
}
