//! What goes wrong meanwhile. Each lane is an actor of its own with its own part of the seed; what one lane stops no
//! other lane touches, so that the order in which they come does not matter.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use integration_tests::{Env, process};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch, time::timeout};

use crate::{random::Random, report::Counts};

/// Programs that a lane kills, in pairs of lanes so that two are down at once now and then.
const LANES: [&[&str]; 2] =
    [&["pods-api", "pods-spawner", "pods-health-2"], &["pods-edge", "pods-spawner-2", "pods-health"]];
const SHARED: &[&str] = &["nats", "postgres", "kube-apiserver"];
/// How long bringing a program back may take.
const BACK_LIMIT: Duration = Duration::from_secs(90);

/// Everything that the lanes share.
pub struct Faults {
    /// The environment.
    pub env: Env,
    /// When the run began.
    pub begun: Instant,
    /// Becomes true when no more faults are to come.
    pub over: watch::Receiver<bool>,
    /// Faults by kind.
    pub counts: Counts,
    /// Where the connections to the API server can be cut; none when they cannot.
    pub cutter: Cutter,
}

/// How connections to the API server are cut.
#[derive(Debug, Clone)]
pub enum Cutter {
    /// A gate that all of them go through: whoever connects to this address cuts them.
    Gate(String),
    /// The scripted API server's own controls.
    Scripted(String),
    /// They cannot be cut.
    Nothing,
}

impl Faults {
    fn log(&self, kind: &str, which: &str, text: &str) {
        self.counts.add(kind, which);
        println!("{:8.1} s  {text}", self.begun.elapsed().as_secs_f64());
    }

    /// Waits; `true` when the run is over.
    async fn rest(&self, time: Duration) -> bool {
        timeout(time, self.over.clone().wait_for(|over| *over)).await.is_ok()
    }
}

/// Kills, stops and pauses the product's own processes.
pub async fn processes(faults: Arc<Faults>, seed: u64, lane: usize) {
    let mut random = Random::of(seed, "processes", lane);
    loop {
        let pause = random.between(Duration::from_secs(2), Duration::from_secs(12));
        let name = LANES[lane][random.below(LANES[lane].len())];
        let action = *random.choose(&[(7, "kill"), (2, "stop"), (2, "pause")]);
        let most = if action == "pause" { 20 } else { 8 };
        let away = random.between(Duration::ZERO, Duration::from_secs(most));
        if faults.rest(pause).await {
            return;
        }
        if !faults.env.processes.contains_key(name) {
            continue;
        }
        outage(&faults, name, action, away).await;
    }
}

/// Stops and kills what everything stands on.
pub async fn shared(faults: Arc<Faults>, seed: u64) {
    let mut random = Random::of(seed, "shared", 0);
    loop {
        let pause = random.between(Duration::from_secs(8), Duration::from_secs(25));
        let name = SHARED[random.below(SHARED.len())];
        let action = *random.choose(&[(2, "stop"), (1, "kill")]);
        let away = random.between(Duration::from_secs(1), Duration::from_secs(12));
        if faults.rest(pause).await {
            return;
        }
        match (&faults.cutter, name) {
            (Cutter::Scripted(url), "kube-apiserver") => {
                faults.log("away", name, &format!("{name} is away for {:.1} s", away.as_secs_f64()));
                control(url, "reachable", r#"{"reachable":false}"#).await;
                faults.rest(away).await;
                while !control(url, "reachable", r#"{"reachable":true}"#).await {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            _ => outage(&faults, name, action, away).await,
        }
    }
}

/// Cuts the connections to the API server, watches and all.
pub async fn streams(faults: Arc<Faults>, seed: u64) {
    let mut random = Random::of(seed, "streams", 0);
    loop {
        let pause = random.between(Duration::from_secs(3), Duration::from_secs(15));
        let gone = random.percent(30);
        if faults.rest(pause).await {
            return;
        }
        let cut = match &faults.cutter {
            Cutter::Gate(address) => cut_at(address).await,
            Cutter::Scripted(url) => {
                control(url, "watches", &format!(r#"{{"cut":true,"gone":{gone}}}"#)).await
            }
            Cutter::Nothing => return,
        };
        if cut {
            faults.log("cut", "connections to Kubernetes", "connections to the API server are cut");
        }
    }
}

async fn cut_at(address: &str) -> bool {
    match TcpStream::connect(address).await {
        Ok(mut stream) => stream.write_all(b"cut\n").await.is_ok(),
        Err(_) => false,
    }
}

async fn control(url: &str, what: &str, body: &str) -> bool {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build() else {
        return false;
    };
    let request = http.post(format!("{url}/_control/{what}")).body(body.to_owned());
    request.send().await.is_ok_and(|answer| answer.status().is_success())
}

async fn outage(faults: &Arc<Faults>, name: &'static str, action: &'static str, away: Duration) {
    let text = format!("{action} {name}, back after {:.1} s", away.as_secs_f64());
    faults.log(action, name, &text);
    signal(faults, action, name).await;
    faults.rest(away).await;
    let back = if action == "pause" { "cont" } else { "start" };
    let begun = Instant::now();
    while !signal(faults, back, name).await {
        if begun.elapsed() > BACK_LIMIT {
            faults.log("failure", name, &format!("{name} could not be brought back"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A signal by way of the environment's own command; it blocks, so it has a thread.
async fn signal(faults: &Arc<Faults>, action: &'static str, name: &str) -> bool {
    let (faults, name) = (Arc::clone(faults), name.to_owned());
    let done = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(&faults.env.xtask);
        command.args(["proc", action, &name, "--profile", &faults.env.profile]);
        if action == "start" {
            command.arg("--no-wait");
        }
        command.output().is_ok_and(|output| output.status.success())
    });
    done.await.unwrap_or(false)
}

/// Brings every program back and waits until it serves; the names of those that do not.
pub fn all_back(env: &Env, cutter: &Cutter) -> Vec<String> {
    let mut missing = Vec::new();
    let ours = ["pods-api", "pods-edge", "pods-spawner", "pods-health"];
    // A scripted API server is no program that is started and stopped: it only pretends to be away.
    let scripted = matches!(cutter, Cutter::Scripted(_));
    let names = SHARED.iter().filter(|name| !scripted || **name != "kube-apiserver").chain(&ours);
    let names = names.flat_map(|name| process::replicas(env, name));
    for name in names {
        for action in ["cont", "start"] {
            let done = Command::new(&env.xtask)
                .args(["proc", action, &name, "--profile", &env.profile])
                .output()
                .is_ok_and(|output| output.status.success());
            // Nothing to continue is fine: it is started then.
            if !done && action == "start" {
                missing.push(name.clone());
            }
        }
    }
    missing
}
