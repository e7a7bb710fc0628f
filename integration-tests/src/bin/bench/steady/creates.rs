//! Creates at a steady rate.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::scene::HTTPD;
use serde_json::json;

use super::stage::{MEASURED, Stage};
use crate::numbers::{judge, percentile};

/// How often the queue is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the bench; answers whether its targets are met.
pub async fn run(per_minute: usize, minutes: f64) -> Result<bool> {
    ensure!(per_minute > 0, "at least one a minute");
    let stage = Stage::new().await?;
    let wanted = (per_minute as f64 * minutes).round() as usize;
    println!("creates: {per_minute} a minute for {minutes} minutes, {wanted} pods");
    let settings = stage.kubernetes().await?["settings"].clone();
    let pretended: u64 = ["schedule_ms", "create_ms", "start_ms"]
        .iter()
        .map(|name| settings[*name].as_u64().unwrap_or_default())
        .sum();
    println!("  the scripted Kubernetes takes {pretended} ms of each start, for an image that it has");

    let cpu = stage.cpu()?;
    let begun = Instant::now();
    let (sent, queue) = tokio::join!(send(&stage, per_minute, wanted), watch_queue(&stage, wanted));
    let (sent, queue) = (sent?, queue?);
    let seconds = begun.elapsed().as_secs_f64();
    let sql = format!("SELECT count(*) FROM pods WHERE status = 'AVAILABLE' AND pod_id LIKE '{PREFIX}%'");
    stage.until_count("pods that are AVAILABLE", &sql, i64::try_from(wanted)?, LIMIT).await?;
    for (name, before) in &cpu {
        let percent = (stage.cpu()?.get(name).unwrap_or(before) - before) / seconds * 100.0;
        let mark = if MEASURED.contains(&name.as_str()) { "" } else { " (not ours to bound)" };
        println!("  {name:<16} {percent:>6.1} % of a core{mark}");
    }
    let met = report(&stage, &sent, &queue).await?;
    stage.finish().await?;
    Ok(met)
}

const PREFIX: &str = "steadynew";

/// A create: when it was sent, in seconds since 1970, and how long its answer took.
type Sent = BTreeMap<String, (f64, f64)>;

/// Sends them evenly, each whether or not those before are answered. Several users, as there would be.
async fn send(stage: &Stage, per_minute: usize, wanted: usize) -> Result<Sent> {
    let pause = Duration::from_secs_f64(60.0 / per_minute as f64);
    let mut tick = tokio::time::interval(pause);
    let mut tasks = tokio::task::JoinSet::new();
    let callers: Vec<_> = ["alice", "bob", "carol", "dave"]
        .iter()
        .map(|user| {
            let wish = integration_tests::env::TokenWish { user, ttl: Some(7200), ..Default::default() };
            integration_tests::Caller::new(user, &stage.env.base_url, stage.env.token(wish))
        })
        .collect();
    for number in 0..wanted {
        tick.tick().await;
        let caller = callers[number % callers.len()].clone();
        tasks.spawn(async move {
            let id = format!("{PREFIX}{number:05}");
            let (at, begun) = (chrono::Utc::now().timestamp_micros() as f64 / 1e6, Instant::now());
            caller.post("/v3/pods", json!({"pod_id": id, "image": HTTPD})).await.result();
            (id, (at, begun.elapsed().as_secs_f64()))
        });
    }
    let mut sent = Sent::new();
    while let Some(done) = tasks.join_next().await {
        let (id, times) = done.context("a create failed")?;
        sent.insert(id, times);
    }
    Ok(sent)
}

/// Pods that are not yet what was asked for, every few seconds, while creates come in.
async fn watch_queue(stage: &Stage, wanted: usize) -> Result<Vec<f64>> {
    let waiting = "SELECT count(*) FROM pods WHERE status IN ('REQUESTED', 'SPAWNING')";
    let created = "SELECT count(*) FROM pods";
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.tick().await;
    let mut seen = Vec::new();
    while stage.count(created).await? < i64::try_from(wanted)? {
        tick.tick().await;
        seen.push(stage.count(waiting).await? as f64);
    }
    Ok(seen)
}

async fn report(stage: &Stage, sent: &Sent, queue: &[f64]) -> Result<bool> {
    let sql = format!(
        "SELECT pod_id, extract(epoch FROM status_changed_ts)::float8 FROM pods WHERE pod_id LIKE '{PREFIX}%' ORDER BY pod_id"
    );
    let rows = stage.db.query(&sql, &[]).await?;
    let latencies: Vec<f64> = rows
        .iter()
        .filter_map(|row| {
            let (at, _) = sent.get(&row.get::<_, String>(0))?;
            Some((row.get::<_, f64>(1) - at) * 1000.0)
        })
        .collect();
    let answers: Vec<f64> = sent.values().map(|(_, taken)| taken * 1000.0).collect();
    let show = |what: &str, values: &[f64]| {
        let at = |percent| percentile(values, percent);
        println!(
            "  {what}: p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, most {:.0} ms",
            at(50.0),
            at(95.0),
            at(99.0),
            at(100.0)
        );
    };
    show("POST /pods answered", &answers);
    show("POST /pods -> AVAILABLE", &latencies);
    // By the order of the creates: the beginning against the end.
    let tenth = (latencies.len() / 10).max(1);
    let (first, last) = (&latencies[..tenth], &latencies[latencies.len() - tenth..]);
    show("  the first tenth", first);
    show("  the last tenth", last);
    let half = queue.len() / 2;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (early, late) = (mean(&queue[..half]), mean(&queue[half..]));
    println!(
        "  pods under way: {early:.1} on average in the first half, {late:.1} in the second, at most {:.0}",
        percentile(queue, 100.0)
    );
    let failed = stage.count("SELECT count(*) FROM pods WHERE status = 'ERROR'").await?;
    let mut met = judge("creates that failed", failed as f64, 0.0, "");
    // Three more than before are chance; a queue that grows has many more after minutes.
    met &= judge("growth of the queue from the first half to the second", late - early, 3.0, "pods");
    met &= judge(
        "median of the last tenth over the first",
        percentile(last, 50.0) / percentile(first, 50.0),
        1.5,
        "times",
    );
    Ok(met)
}
