//! A pod that writes logs as fast as the node lets it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration_tests::{Scene, scene::BUSYBOX};
use serde_json::json;

use crate::{
    latency::{P50, P99, statuses},
    numbers::{judge, percentile},
    service,
};

/// Resident memory of a replica of health, in MiB.
const MEMORY: f64 = 150.0;
/// What is kept of a log.
const RING: usize = 10 * 1024 * 1024;
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// The end of the flood may be so far away when it should be over.
const END_LIMIT: Duration = Duration::from_secs(90);
const LINE: &str =
    "0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghij";
const LAST: &str = "after the flood";
/// Lines after the flood, one a second.
const LAST_LINES: usize = 14;

/// Runs the bench; answers whether all targets are met.
pub async fn run(seconds: u64, writers: usize) -> Result<bool> {
    ensure!(seconds > 0 && writers > 0, "somebody has to write for a while");
    let scene = Scene::new().await;
    let memory = Memory::begin(&scene)?;
    let mut ids = Vec::new();
    for _ in 0..writers {
        let id = scene.id("flood");
        // The kubelet begins another file when one is large, every ten seconds, and shows the newest only: lines that come
        // after the flood for longer than that are in it whatever happens. `yes` is cut off within a line, and the shell says so.
        let script = format!(
            "exec 2>/dev/null; timeout {seconds} yes '{LINE}'; echo; for i in $(seq 1 {LAST_LINES}); do echo {LAST} $i; sleep 1; done"
        );
        let limits = json!({ "ephemeral_storage_limit": -1 });
        let body =
            json!({ "pod_id": id, "image": BUSYBOX, "command": ["sh", "-c", script], "resources": limits });
        scene.create(&scene.alice, body).await;
        ids.push(id);
    }
    for id in &ids {
        scene.alice.await_status(id, "AVAILABLE").await;
    }
    let begun = Instant::now();
    let flood = Duration::from_secs(seconds);
    let latencies = statuses(&scene, || begun.elapsed() < flood).await?;
    for id in &ids {
        scene.alice.await_status_within(id, "COMPLETE", END_LIMIT).await;
    }
    let peaks = memory.end().await?;

    println!("{writers} pod(s) writing for {seconds} s, {} starts of others meanwhile", latencies.len());
    let mut met = true;
    for (name, mib) in peaks {
        met &= judge(&format!("most memory of {name}"), mib, MEMORY, "MiB");
    }
    met &= judge("status latency, p50", percentile(&latencies, 50.0), P50, "ms");
    met &= judge("status latency, p99", percentile(&latencies, 99.0), P99, "ms");
    for id in &ids {
        met &= kept(&scene, id).await;
    }
    Ok(met)
}

/// Whether the newest lines of a flood are kept, cut at a line.
async fn kept(scene: &Scene, id: &str) -> bool {
    let log = scene.alice.logs(id).await;
    let fits = log.len() <= RING;
    let newest = log.ends_with(&format!("\n{LAST} {LAST_LINES}\n"));
    let broken = log.lines().enumerate().find(|(_, line)| !LINE.starts_with(line) && !line.starts_with(LAST));
    if let Some((number, line)) = broken {
        println!("  line {} of {} is no line of the container: {line:?}", number + 1, log.lines().count());
    }
    let whole = broken.is_none();
    println!(
        "  kept: {:.1} MiB (at most 10: {fits}), the newest lines: {newest}, whole lines only: {whole}",
        log.len() as f64 / 1_048_576.0
    );
    fits && newest && whole && log.len() > RING / 2
}

/// Looks at the memory of every replica of health.
struct Memory {
    task: tokio::task::JoinHandle<Vec<u64>>,
    stop: tokio::sync::oneshot::Sender<()>,
    names: Vec<String>,
}

impl Memory {
    fn begin(scene: &Scene) -> Result<Self> {
        let names: Vec<String> =
            scene.env.processes.keys().filter(|name| name.starts_with("pods-health")).cloned().collect();
        ensure!(!names.is_empty(), "the environment has no health");
        let pids = names.iter().map(|name| service::pid(&scene.env, name)).collect::<Result<Vec<u32>>>()?;
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut peaks = vec![0; pids.len()];
            while stopped.try_recv().is_err() {
                for (peak, pid) in peaks.iter_mut().zip(&pids) {
                    *peak = service::resident_kib(*pid).unwrap_or(u64::MAX).max(*peak);
                }
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
            peaks
        });
        Ok(Self { task, stop, names })
    }

    /// The most that each had, in MiB; endless when it died.
    async fn end(self) -> Result<Vec<(String, f64)>> {
        let _stopped = self.stop.send(());
        let peaks = self.task.await?;
        Ok(self.names.into_iter().zip(peaks.into_iter().map(|kib| kib as f64 / 1024.0)).collect())
    }
}
