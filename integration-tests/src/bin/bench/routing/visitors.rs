//! What a login costs each request: an entry behind one, with a session, beside the same entry without, and beside one
//! where an nginx that always says 200 is asked instead of the edge. They take turns, in another order each round.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::{
    Scene,
    browser::Browser,
    guarded::{self, SESSION},
};
use serde_json::json;

use super::{
    load::{flat_out, paced},
    stand::{Asked, Stand},
};
use crate::{
    numbers::{judge_rounds, percentile, spread},
    service,
};

/// Offered requests in a second.
const OFFERED: usize = 1000;
/// Connections of the visitors, with one request at a time on each.
const CONNECTIONS: usize = 32;
/// Connections that are always busy.
const BUSY: usize = 16;
/// CPU seconds of ours for 1000 requests.
const CPU: f64 = 0.1;
/// Milliseconds that p50 may grow by.
const ADDED: f64 = 1.0;

/// What was seen of one kind of request, round by round.
#[derive(Default)]
struct Seen {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// CPU seconds of the edges for 1000 requests.
    cpu: Vec<f64>,
    most: Vec<f64>,
}

/// Runs the bench; answers whether every target is met.
pub async fn run(rounds: usize, seconds: u64) -> Result<bool> {
    ensure!(rounds > 0 && seconds > 0, "at least one round of one second is needed");
    let scene = Scene::new().await;
    let (_, host) = guarded::pod(&scene, "bench", json!({})).await;
    let alice = Browser::new(&scene.env);
    let shown = alice.log_in(&alice.url(&host, "/"), "alice").await;
    ensure!(shown.code == 200, "alice cannot log in: {shown:?}");
    let session = alice.cookie(&host, SESSION).context("a login makes a session")?;
    let cookie = format!("{SESSION}={session}");
    let stand = Stand::start(&scene.env, &host).await?;
    stand.ready(&cookie).await?;
    let edges: Vec<u32> = integration_tests::process::replicas(&scene.env, "pods-edge")
        .iter()
        .map(|name| service::pid(&scene.env, name))
        .collect::<Result<_>>()?;

    let seen =
        tokio::task::spawn_blocking(move || measure(&stand, &cookie, &edges, rounds, seconds)).await??;
    Ok(report(&seen, seconds))
}

fn cpu_of(edges: &[u32]) -> Result<f64> {
    edges.iter().map(|pid| service::exact_cpu_seconds(*pid)).sum()
}

fn measure(stand: &Stand, cookie: &str, edges: &[u32], rounds: usize, seconds: u64) -> Result<[Seen; 3]> {
    let mut seen: [Seen; 3] = Default::default();
    // The first requests of a process are slower than all that follow.
    for asked in Asked::ALL {
        paced(&stand.target(asked, cookie), OFFERED, CONNECTIONS, 2)?;
    }
    for round in 0..rounds {
        for turn in 0..3 {
            let kind = (round + turn) % 3;
            let (target, seen) = (stand.target(Asked::ALL[kind], cookie), &mut seen[kind]);
            let before = cpu_of(edges)?;
            let times = paced(&target, OFFERED, CONNECTIONS, seconds)?;
            seen.cpu.push((cpu_of(edges)? - before) * 1000.0 / times.len() as f64);
            seen.p50.push(percentile(&times, 50.0));
            seen.p99.push(percentile(&times, 99.0));
            std::thread::sleep(Duration::from_millis(200));
            seen.most.push(flat_out(&target, BUSY, seconds)?);
        }
    }
    Ok(seen)
}

fn report(seen: &[Seen; 3], seconds: u64) -> bool {
    let [nobody, nginx, edge] = seen;
    println!(
        "visitors, {OFFERED} requests/s offered on {CONNECTIONS} connections, {seconds} s each, in turns"
    );
    for (what, seen) in [("without a login", nobody), ("nginx says 200", nginx), ("the edge decides", edge)] {
        println!("  {what}: p50 {}", spread(&seen.p50, "ms"));
        println!("  {what}: p99 {}", spread(&seen.p99, "ms"));
    }
    let added = |seen: &Seen| -> Vec<f64> {
        seen.p50.iter().zip(&nobody.p50).map(|(with, without)| with - without).collect()
    };
    println!("  added to p50 by nginx: {}", spread(&added(nginx), "ms"));
    let met = judge_rounds("added to p50 by the edge", &added(edge), ADDED, "ms");
    let met = judge_rounds("CPU time of the edge for 1000 requests", &edge.cpu, CPU, "s") && met;
    println!("as many requests as can be, on {BUSY} connections");
    for (what, seen) in [("without a login", nobody), ("nginx says 200", nginx), ("the edge decides", edge)] {
        println!("  {what}: {}", spread(&seen.most, "requests/s"));
    }
    met
}
