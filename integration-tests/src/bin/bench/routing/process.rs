//! An edge of its own, on a database of its own in the environment's Postgres.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::Env;
use tokio_postgres::{Client, NoTls};

use super::pod;
use crate::numbers::{judge, percentile};

const DATABASE: &str = "pods_bench_routing";
const LIMIT: Duration = Duration::from_secs(120);
const CHANGES: usize = 50;

/// Ends when it is dropped.
struct Edge {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Start, polls and changes of an edge with many pods.
pub async fn run(pods: usize, polls: usize) -> Result<bool> {
    let env = Env::load();
    let admin = connect(&env.database_url).await?;
    let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
    admin.batch_execute(&drop).await?;
    admin.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    let (server, _) = env.database_url.rsplit_once('/').context("the address of the database has a path")?;
    let result = measure(&env, &format!("{server}/{DATABASE}"), pods, polls).await;
    admin.batch_execute(&drop).await?;
    result
}

async fn measure(env: &Env, url: &str, pods: usize, polls: usize) -> Result<bool> {
    let process = env.processes.get("pods-edge").context("the environment has an edge")?;
    let program = process.argv.first().context("the edge is a program")?;
    let command = |role: &str| {
        let mut command = Command::new(program);
        command.arg(role).envs(&process.env).env("PODS__DATABASE__URL", url);
        command
    };
    let migrated = command("migrate").stdout(Stdio::null()).status()?;
    ensure!(migrated.success(), "the bench's database cannot be set up");
    let db = connect(url).await?;
    fill(&db, &env.site_id, pods).await?;

    println!("an edge, {pods} pods x 2 entries");
    let state = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let begun = Instant::now();
    let child = command("edge")
        .env("PODS__EDGE__BIND", format!("127.0.0.1:{port}"))
        .env("PODS__EDGE__SELF_URL", format!("http://127.0.0.1:{port}"))
        .env("PODS__EDGE__STATE_DIR", state.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // As Traefik: it takes gzip and keeps its connection.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let edge = Edge { child, url: format!("http://127.0.0.1:{port}/traefik-config"), client };
    while edge.poll().await.is_err() {
        ensure!(begun.elapsed() < LIMIT, "the edge does not serve a document within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("  from its start to its first document: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    let met = unchanged(&edge, polls).await?;
    changed(&edge, &db, pods).await?;
    println!("  resident memory: {:.0} MiB", edge.resident()? / 1024.0);
    Ok(met)
}

async fn unchanged(edge: &Edge, polls: usize) -> Result<bool> {
    let mut length = 0;
    for _ in 0..5 {
        length = edge.poll().await?.len();
    }
    let before = edge.cpu()?;
    for _ in 0..polls {
        edge.poll().await?;
    }
    let each = (edge.cpu()? - before) / polls as f64;
    println!("  a poll is {:.2} MB", length as f64 / 1e6);
    Ok(judge("CPU time of an unchanged poll", each * 1000.0, 1.0, "ms"))
}

/// From the commit until a poll has it, polling without a pause.
async fn changed(edge: &Edge, db: &Client, pods: usize) -> Result<()> {
    let mut times = Vec::new();
    let before = edge.cpu()?;
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
    println!(
        "  from a change to its document: p50 {:.1} ms, p99 {:.1} ms; {:.1} ms CPU time for each, polls included",
        percentile(&times, 50.0),
        percentile(&times, 99.0),
        (edge.cpu()? - before) * 1000.0 / CHANGES as f64
    );
    Ok(())
}

impl Edge {
    /// The answer as it was sent.
    async fn poll(&self) -> Result<Vec<u8>> {
        let request = self.client.get(&self.url).header("accept-encoding", "gzip");
        Ok(request.send().await?.error_for_status()?.bytes().await?.into())
    }

    /// User and system time, in seconds.
    fn cpu(&self) -> Result<f64> {
        // The statistics tick a hundred times a second; these are exact.
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        let mut total = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = text.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
            total += nanoseconds.unwrap_or_default() / 1e9;
        }
        if total == 0.0 {
            bail!("the kernel does not count CPU time: {text:?}");
        }
        Ok(total)
    }

    fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
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
