//! The product under observation: for the time of a test its processes run once each, with everything logged and
//! every trace recorded.

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    collector::Collector,
    env::Env,
    process::Outage,
    wait::{LIMIT, await_condition},
};

/// The processes with the path that says that they are ready and the key of `env.json` that says where.
const PROCESSES: [(&str, &str); 4] = [
    ("pods-api", "/readyz"),
    ("pods-edge", "/readyz"),
    ("pods-spawner", "/readyz"),
    ("pods-health", "/readyz"),
];

/// The observed processes. When it is dropped they end, and the environment's own run again.
pub struct Observed<'a> {
    running: Running,
    _outages: Vec<Outage<'a>>,
    folder: tempfile::TempDir,
    internal: BTreeMap<&'static str, String>,
    /// Where their traces go.
    pub collector: Collector,
}

/// Ends before the environment's own processes start again.
struct Running(Vec<(&'static str, Child)>);

impl<'a> Observed<'a> {
    /// Stops the environment's processes and starts the observed ones with `filter` for their log.
    pub async fn start(env: &'a Env, filter: &str) -> Self {
        let collector = Collector::start().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let outages = PROCESSES.iter().map(|(name, _)| Outage::stop_all(env, name)).collect();
        let internal = BTreeMap::from([
            ("pods-api", env.api_internal_url.clone()),
            ("pods-edge", env.edge_url.clone()),
            ("pods-spawner", env.spawner_internal_url.clone()),
            ("pods-health", env.health_internal_url.clone()),
        ]);
        let mut running = Running(Vec::new());
        for (name, _) in PROCESSES {
            let own = &env.processes[name];
            let log = File::create(folder.path().join(name)).expect("a log file");
            let errors = log.try_clone().expect("a log file can be shared");
            let child = Command::new(&own.argv[0])
                .args(&own.argv[1..])
                .envs(&own.env)
                .env("PODS__TELEMETRY__OTLP_ENDPOINT", collector.endpoint())
                .env("PODS__LOG__FORMAT", "json")
                .env("PODS__LOG__FILTER", filter)
                .stdin(Stdio::null())
                .stdout(log)
                .stderr(errors)
                .spawn()
                .expect("the process can be started");
            running.0.push((name, child));
        }
        let observed = Self { running, _outages: outages, folder, internal, collector };
        for (name, path) in PROCESSES {
            await_condition(&format!("{name} is ready"), LIMIT, || observed.ask(name, path)).await;
        }
        observed
    }

    /// An answer of the internal listener of a process, if it is a success.
    async fn ask(&self, name: &str, path: &str) -> Result<String, String> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| error.to_string())?;
        let url = format!("{}{path}", self.internal[name]);
        let answer = http.get(url).send().await.map_err(|error| format!("{error:?}"))?;
        let fine = answer.status().is_success();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if fine { Ok(text) } else { Err(text) }
    }

    /// What `/metrics` of a process shows.
    pub async fn metrics(&self, name: &str) -> String {
        await_condition(&format!("{name} shows its metrics"), LIMIT, || self.ask(name, "/metrics")).await
    }

    /// What `/healthz` of a process answers.
    pub async fn alive(&self, name: &str) -> Result<String, String> {
        self.ask(name, "/healthz").await
    }

    /// The names of the processes.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        PROCESSES.iter().map(|(name, _)| *name)
    }

    /// Everything that a process has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_file(name)).expect("the log is readable text")
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ends all processes in an orderly way; answers how long each took, or that it had to be killed.
    pub async fn stop(&mut self) -> BTreeMap<&'static str, Result<Duration, String>> {
        let mut ended = BTreeMap::new();
        for (name, mut child) in std::mem::take(&mut self.running.0) {
            let begun = std::time::Instant::now();
            signal(&child, "TERM");
            let waited = async {
                loop {
                    match child.try_wait() {
                        Ok(Some(status)) if status.success() => return Ok(begun.elapsed()),
                        Ok(Some(status)) => return Err(status.to_string()),
                        Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
                        Err(error) => return Err(error.to_string()),
                    }
                }
            };
            let result = tokio::time::timeout(Duration::from_secs(20), waited).await;
            let result = result.unwrap_or_else(|_| {
                let _ = child.kill();
                let _ = child.wait();
                Err("it did not end within 20 s".to_owned())
            });
            ended.insert(name, result);
        }
        ended
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "the signal can be sent");
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
