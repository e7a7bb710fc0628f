//! Two replicas of health and of the spawner: how they share the work, and what happens when one dies, pauses or goes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use futures::future;
use integration_tests::{Scene, await_condition, database, env::short, process::Outage, wait::LIMIT};
use uuid::Uuid;

const SHARES: usize = 16;
/// A replica that was killed is missed when its leases end.
const TAKEOVER: Duration = Duration::from_secs(15);
/// One that goes in an orderly way tells the others.
const HANDOVER: Duration = Duration::from_secs(5);

/// A job that ends by itself some time after its replica has died, with a log that must not be lost.
fn job(seconds: f64) -> String {
    format!("echo begin; sleep {seconds}; echo end")
}

const TICKER: &str = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.5; done";

/// Waits until the shares are divided among so many replicas.
async fn await_division(scene: &Scene, replicas: usize, limit: Duration) -> BTreeMap<String, Vec<usize>> {
    await_condition(&format!("{replicas} replicas share the pods"), limit, || async {
        let shares = database::shares(&scene.env).await;
        let held: usize = shares.values().map(Vec::len).sum();
        let most = SHARES.div_ceil(replicas);
        match shares.len() == replicas && held == SHARES && shares.values().all(|held| held.len() <= most) {
            true => Ok(shares),
            false => Err(format!("{shares:?}")),
        }
    })
    .await
}

fn share_of(uid: Uuid) -> usize {
    usize::from(uid.as_bytes()[15]) % SHARES
}

/// The replica that holds shares and has this process id in its name.
fn holder(scene: &Scene, shares: &BTreeMap<String, Vec<usize>>, process: &str) -> String {
    let file = &scene.env.processes[process].pid_file;
    let pid = std::fs::read_to_string(file).expect("the process runs");
    let part = format!("-{}-", pid.trim());
    let names: Vec<&String> = shares.keys().filter(|name| name.contains(&part)).collect();
    assert_eq!(names.len(), 1, "the shares of {process} ({}) among {shares:?}", pid.trim());
    names[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_one_replica_of_health_is_killed_again_and_again() {
    let scene = Scene::new().await;
    let rounds = if short() { 3 } else { 20 };
    let mut tickers = Vec::new();
    for _ in 0..6 {
        tickers.push(scene.shell("ticker", TICKER).await);
    }
    for id in &tickers {
        scene.alice.await_status(id, "AVAILABLE").await;
    }
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let victim = if round % 2 == 0 { "pods-health" } else { "pods-health-2" };
        let shares = await_division(&scene, 2, LIMIT).await;
        let dead = shares[&holder(&scene, &shares, victim)].clone();
        let took = kill_once(&scene, victim, &dead, round).await;
        println!(
            "round {round}: {victim} killed, first status of its share after {:.2} s",
            took.as_secs_f64()
        );
        assert!(took < TAKEOVER, "round {round}: {took:?}");
        slowest = slowest.max(took);
    }
    println!("{rounds} rounds, the slowest takeover took {:.2} s", slowest.as_secs_f64());
    for id in &tickers {
        await_log_without_gaps(&scene, id).await;
        assert_eq!(scene.alice.pod(id).await["status"], "AVAILABLE");
        assert_eq!(scene.cluster.pods_of(id).await.len(), 1);
    }
}

/// Kills a replica while jobs run that end a moment later; answers after which time the first status of a pod of its
/// shares was written.
async fn kill_once(scene: &Scene, victim: &str, dead: &[usize], round: usize) -> Duration {
    // Enough of them that some are in the dead shares; they end before, while and after it is killed.
    let seconds = |number: usize| 4.0 + 0.5 * number as f64 + 0.1 * (round % 5) as f64;
    let scripts: Vec<String> = (0..12).map(|number| job(seconds(number))).collect();
    let jobs = future::join_all(scripts.iter().map(|script| scene.shell("job", script))).await;
    future::join_all(jobs.iter().map(|id| scene.alice.await_status(id, "AVAILABLE"))).await;
    let killed = SystemTime::now();
    let outage = Outage::kill(&scene.env, victim);
    // Not only ends: starts that nobody looked at before, too.
    let starts = future::join_all((0..4).map(|_| scene.httpd("start"))).await;
    for id in &jobs {
        let pod = scene.alice.await_status(id, "COMPLETE").await;
        assert_eq!(pod["status_container"]["exit_code"], 0, "{pod}");
        assert_eq!(scene.alice.logs(id).await, "begin\nend\n", "the end of the log of {id}");
    }
    for id in &starts {
        scene.alice.await_status(id, "AVAILABLE").await;
    }
    let mut first: Option<Duration> = None;
    for id in jobs.iter().chain(&starts) {
        let row = database::status_of(&scene.env, id).await;
        // Both statuses are health's to write; what was written before the kill says nothing.
        if let (true, Ok(after)) = (dead.contains(&share_of(row.uid)), row.changed.duration_since(killed)) {
            first = Some(first.map_or(after, |first| first.min(after)));
        }
    }
    outage.end();
    for id in jobs.iter().chain(&starts) {
        scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    }
    first.expect("of sixteen pods some are in the dead replica's shares")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_replica_that_goes_hands_its_shares_over_and_gets_some_when_it_comes() {
    let scene = Scene::new().await;
    let ticker = scene.shell("ticker", TICKER).await;
    scene.alice.await_status(&ticker, "AVAILABLE").await;
    await_division(&scene, 2, LIMIT).await;
    let outage = Outage::stop(&scene.env, "pods-health-2");
    await_division(&scene, 1, HANDOVER).await;
    outage.end();
    await_division(&scene, 2, HANDOVER).await;
    await_log_without_gaps(&scene, &ticker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_a_paused_replica_goes_on_without_the_shares_that_it_lost() {
    let scene = Scene::new().await;
    let paused = Duration::from_secs(if short() { 15 } else { 30 });
    let mut tickers = Vec::new();
    for _ in 0..8 {
        tickers.push(scene.shell("ticker", TICKER).await);
    }
    for id in &tickers {
        scene.alice.await_status(id, "AVAILABLE").await;
    }
    await_division(&scene, 2, LIMIT).await;
    let jobs = future::join_all((0..8).map(|_| scene.shell("job", "echo begin; sleep 3; echo end"))).await;
    future::join_all(jobs.iter().map(|id| scene.alice.await_status(id, "AVAILABLE"))).await;
    let pause = Outage::pause(&scene.env, "pods-health");
    let begun = Instant::now();
    // Its followers hold lines that were read and not written, its looks hold rows of before.
    await_condition("the other one has all shares", TAKEOVER, || async {
        let shares = database::shares(&scene.env).await;
        if shares.len() == 1 { Ok(()) } else { Err(format!("{shares:?}")) }
    })
    .await;
    for id in &jobs {
        scene.alice.await_status(id, "COMPLETE").await;
        assert_eq!(scene.alice.logs(id).await, "begin\nend\n", "the end of the log of {id}");
    }
    let gone_on = || async { if begun.elapsed() >= paused { Ok(()) } else { Err(String::new()) } };
    await_condition("the pause is long enough", LIMIT, gone_on).await;
    let mut before = Vec::new();
    for id in tickers.iter().chain(&jobs) {
        before.push(database::status_of(&scene.env, id).await);
    }
    pause.end();
    await_division(&scene, 2, LIMIT).await;
    for id in &tickers {
        await_log_without_gaps(&scene, id).await;
    }
    for (id, before) in tickers.iter().chain(&jobs).zip(before) {
        let now = database::status_of(&scene.env, id).await;
        assert_eq!(
            (now.status, now.changed),
            (before.status, before.changed),
            "{id}: nothing happened to it"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_of_two_replicas_one_stops_a_pod_whose_time_is_over() {
    let scene = Scene::new().await;
    await_division(&scene, 2, LIMIT).await;
    let ids = future::join_all((0..6).map(|_| scene.httpd("expiring"))).await;
    for id in &ids {
        scene.alice.await_status(id, "AVAILABLE").await;
        database::expire(&scene.env, id).await;
    }
    for id in &ids {
        scene.alice.await_status(id, "STOPPED").await;
        let lines = scene.alice.action_logs(id).await;
        let ends = lines.iter().filter(|line| line.contains("time to stop")).count();
        assert_eq!(ends, 1, "{lines:?}");
    }
}

/// Waits until the log has grown beyond what is stored now; every line is there once.
async fn await_log_without_gaps(scene: &Scene, id: &str) {
    let stored = scene.alice.logs(id).await.lines().count();
    await_condition(&format!("the log of {id} grows beyond {stored} lines"), LIMIT, || async {
        let log = scene.alice.logs(id).await;
        let lines: Vec<&str> = log.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("line {}", at + 1), "nothing missing, nothing twice in {id}:\n{log}");
        }
        if lines.len() > stored + 3 { Ok(()) } else { Err(format!("{} lines", lines.len())) }
    })
    .await;
}
