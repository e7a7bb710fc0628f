//! Health is started anew, or its watch loses its place.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    fill::{fill, settle},
    stage::Stage,
};
use crate::{
    numbers::{judge, percentile},
    service,
};

const TIME_TARGET: f64 = 5.0;
const MEMORY_TARGET: f64 = 300.0;
/// Pods that end while health does not look: it is in sync when every one of them is recorded.
const CHANGED: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);
/// For so long a start is looked at by itself, because its phases may still become known.
const YOUNG: Duration = Duration::from_secs(60);

/// Runs the bench; answers whether its targets are met.
pub async fn run(pods: usize, rounds: usize) -> Result<bool> {
    ensure!(rounds > 0 && pods > 2 * rounds * CHANGED, "more pods than end in {rounds} rounds");
    let stage = Stage::new().await?;
    println!(
        "resync: {pods} pods, {CHANGED} of them end while nobody looks, {rounds} rounds; one replica of health"
    );
    fill(&stage, pods).await?;
    stage.stop(&["pods-health-2"])?;
    settle(&stage, pods).await?;
    // That thousands of pods have all started just now is not what a restart meets.
    tokio::time::sleep(YOUNG).await;
    let mut restarts = Vec::new();
    let mut cuts = Vec::new();
    let mut peaks = Vec::new();
    for round in 0..rounds {
        let (restart, peak) = restart(&stage, pods, 2 * round).await?;
        let cut = cut(&stage, 2 * round + 1).await?;
        let later = peak_mib(&stage)?;
        println!(
            "round {}: restart {restart:.2} s, watch lost {cut:.2} s, most memory {peak:.0} MiB after the restart, {later:.0} MiB in the end",
            round + 1
        );
        restarts.push(restart);
        cuts.push(cut);
        peaks.push(later.max(peak));
    }
    let worst = |values: &[f64]| percentile(values, 100.0);
    println!(
        "medians: restart {:.2} s, watch lost {:.2} s; spread {:.2} to {:.2} s and {:.2} to {:.2} s",
        percentile(&restarts, 50.0),
        percentile(&cuts, 50.0),
        percentile(&restarts, 0.0),
        worst(&restarts),
        percentile(&cuts, 0.0),
        worst(&cuts),
    );
    let mut met = judge("from the start of the process to the last row", worst(&restarts), TIME_TARGET, "s");
    met &= judge("from the answer of Kubernetes to the last row", worst(&cuts), TIME_TARGET, "s");
    met &= judge("most resident memory", worst(&peaks), MEMORY_TARGET, "MiB");
    stage.finish().await?;
    Ok(met)
}

/// Some pods end; answers how many are COMPLETE then.
async fn end_some(stage: &Stage, step: usize) -> Result<i64> {
    let from = 1 + step * CHANGED;
    let names: Vec<String> = (from..from + CHANGED).map(|number| format!("steady{number:05}")).collect();
    let labels = format!("tapis.io/pod-id in ({})", names.join(","));
    let done = stage.control("pods", &json!({"labels": labels, "scenario": "exit-0"})).await?;
    let count = done["pods"].as_array().map_or(0, Vec::len);
    ensure!(count == CHANGED, "{count} Pods ended");
    i64::try_from((step + 1) * CHANGED).context("a count of pods")
}

/// A pod that ended stays COMPLETE.
const COMPLETE: &str = "SELECT count(*) FROM pods WHERE status = 'COMPLETE'";

/// Seconds from the start of the process to the last row, and its most memory until all logs are followed.
async fn restart(stage: &Stage, pods: usize, step: usize) -> Result<(f64, f64)> {
    stage.kill("pods-health")?;
    // The shares of the killed replica run out; that wait is another target's.
    stage.db.batch_execute("UPDATE leases SET expires_ts = now() WHERE name LIKE 'health/%'").await?;
    let wanted = end_some(stage, step).await?;
    let begun = Instant::now();
    stage.start(&["pods-health"])?;
    let ready = begun.elapsed().as_secs_f64();
    stage.until_count("ended pods that are recorded", COMPLETE, wanted, LIMIT).await?;
    let taken = begun.elapsed().as_secs_f64();
    println!("  ready after {ready:.2} s");
    let ended = usize::try_from(wanted)?;
    settle(stage, pods - ended).await?;
    Ok((taken, peak_mib(stage)?))
}

/// Seconds from the moment that Kubernetes answers again, with a history that does not reach back.
async fn cut(stage: &Stage, step: usize) -> Result<f64> {
    let away = json!({"code": 503, "reason": "ServiceUnavailable", "message": "away"});
    for method in ["WATCH", "LIST"] {
        stage
            .control("faults", &json!({"method": method, "kind": "pods", "times": 1_000_000, "status": away}))
            .await?;
    }
    stage.control("watches", &json!({"cut": true, "kind": "pods"})).await?;
    let wanted = end_some(stage, step).await?;
    stage.control("watches", &json!({"cut": true, "kind": "pods", "gone": true})).await?;
    let begun = Instant::now();
    stage.control("faults", &json!({"clear": true})).await?;
    stage.until_count("ended pods that are recorded", COMPLETE, wanted, LIMIT).await?;
    Ok(begun.elapsed().as_secs_f64())
}

fn peak_mib(stage: &Stage) -> Result<f64> {
    Ok(service::peak_kib(service::pid(&stage.env, "pods-health")?)? as f64 / 1024.0)
}
