//! An edge of its own, on a database of its own in the environment's Postgres.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::Env;
use tokio_postgres::Client;

use super::pod;
use crate::{
    edge::{self, Edge},
    numbers::{judge_rounds, percentile, spread},
    service,
};

const DATABASE: &str = "pods_bench_routing";
const LIMIT: Duration = Duration::from_secs(120);
const CHANGES: usize = 50;
const ROUNDS: usize = 5;

/// Start, polls and changes of an edge with many pods.
pub async fn run(pods: usize, polls: usize) -> Result<bool> {
    let env = Env::load();
    let admin = service::connect(&env.database_url).await?;
    let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
    admin.batch_execute(&drop).await?;
    admin.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    let (server, _) = env.database_url.rsplit_once('/').context("the address of the database has a path")?;
    let result = measure(&env, &format!("{server}/{DATABASE}"), pods, polls).await;
    admin.batch_execute(&drop).await?;
    result
}

async fn measure(env: &Env, url: &str, pods: usize, polls: usize) -> Result<bool> {
    let migrated = edge::command(env, "migrate", url)?.stdout(Stdio::null()).status()?;
    ensure!(migrated.success(), "the bench's database cannot be set up");
    let db = service::connect(url).await?;
    fill(&db, &env.site_id, pods).await?;

    println!("an edge, {pods} pods x 2 entries");
    let begun = Instant::now();
    let edge = Edge::start(env, url).await?;
    println!("  from its start to its first document: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    let met = unchanged(&edge, polls).await?;
    changed(&edge, &db, pods).await?;
    println!("  resident memory: {:.0} MiB", service::resident_kib(edge.pid())? as f64 / 1024.0);
    Ok(met)
}

async fn unchanged(edge: &Edge, polls: usize) -> Result<bool> {
    let mut length = 0;
    for _ in 0..5 {
        length = edge.poll().await?.len();
    }
    let (mut cpu, mut times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (before, begun) = (service::exact_cpu_seconds(edge.pid())?, Instant::now());
        for _ in 0..polls {
            edge.poll().await?;
        }
        cpu.push((service::exact_cpu_seconds(edge.pid())? - before) * 1000.0 / polls as f64);
        times.push(begun.elapsed().as_secs_f64() * 1000.0 / polls as f64);
    }
    println!("  a poll is {:.2} MB and takes {}", length as f64 / 1e6, spread(&times, "ms"));
    Ok(judge_rounds("CPU time of an unchanged poll", &cpu, 1.0, "ms"))
}

/// From the commit until a poll has it, polling without a pause.
async fn changed(edge: &Edge, db: &Client, pods: usize) -> Result<()> {
    let mut times = Vec::new();
    let before = service::exact_cpu_seconds(edge.pid())?;
    for change in 0..CHANGES {
        let number = change * 7919 % pods;
        let entries = serde_json::to_string(&pod(number, 7000 + i32::try_from(change)?).networking)?;
        let old = edge.poll().await?;
        let sql = "UPDATE pods SET networking = $1::text::jsonb, revision = revision + 1 WHERE pod_id = $2";
        let rows = db.execute(sql, &[&entries, &format!("bench{number:05}")]).await?;
        ensure!(rows == 1, "the pod {number} is gone");
        let begun = Instant::now();
        while edge.poll().await? == old {
            ensure!(begun.elapsed() < LIMIT, "a change is not served");
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let at = |percent| percentile(&times, percent);
    println!(
        "  from a change to its document: median {:.1} ms, p99 {:.1} ms ({:.1} to {:.1}, {CHANGES} changes); {:.1} ms CPU time \
         for each, polls included",
        at(50.0),
        at(99.0),
        at(0.0),
        at(100.0),
        (service::exact_cpu_seconds(edge.pid())? - before) * 1000.0 / CHANGES as f64
    );
    Ok(())
}

/// Rows as the API and health write them; what routing does not read is left at its plainest.
async fn fill(db: &Client, site_id: &str, pods: usize) -> Result<()> {
    for batch in (0..pods).collect::<Vec<_>>().chunks(500) {
        let (mut uids, mut ids, mut names, mut entries) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for number in batch {
            let pod = pod(*number, 5000);
            uids.push(pod.uid.to_string());
            ids.push(pod.pod_id);
            names.push(pod.k8_name);
            entries.push(serde_json::to_string(&pod.networking)?);
        }
        db.execute(
            "INSERT INTO pods (uid, site_id, tenant_id, pod_id, k8_name, image, description, environment_variables, \
             networking, resources, compute_queue, time_to_stop_default, modified_fields, status_requested, status, \
             secret_map, volume_mounts, tenant_host, created_by, status_changed_ts, creation_ts, update_ts) \
             SELECT u::uuid, $5, 'dev', i, n, 'busybox', '', '{}', e::jsonb, '{}', 'default', -1, '[\"networking\"]', 'ON', \
             'AVAILABLE', '{}', '{}', 'dev.example.org', 'alice', now(), now(), now() \
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (u, i, n, e)",
            &[&uids, &ids, &names, &entries, &site_id],
        )
        .await
        .context("the bench's pods cannot be written")?;
        db.execute(
            "INSERT INTO pod_permissions (pod_uid, username, level) SELECT u::uuid, 'alice', 'ADMIN' FROM unnest($1::text[]) u",
            &[&uids],
        )
        .await?;
    }
    db.batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}
