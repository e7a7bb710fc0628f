//! The profile `scripted`: its processes, its database, and the control of its Kubernetes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::{Caller, Env, env::TokenWish};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::service;

/// The processes that are measured.
pub const MEASURED: &[&str] = &["pods-health", "pods-health-2", "pods-spawner", "pods-spawner-2"];

/// Tables that the benches empty, with what hangs on them.
const EMPTIED: &str = "TRUNCATE pods, outbox, changes CASCADE";

/// Everything that a bench needs.
pub struct Stage {
    /// The environment.
    pub env: Env,
    /// The services' database.
    pub db: Client,
    /// A user.
    pub alice: Caller,
    http: reqwest::Client,
    control: String,
}

impl Stage {
    /// Looks at the running profile and empties it.
    pub async fn new() -> Result<Self> {
        let env = Env::load();
        let control = env.scripted_url.clone();
        let control = control.context("this bench wants the profile `scripted`: cargo xtask bench steady")?;
        let (db, connection) = tokio_postgres::connect(&env.database_url, NoTls).await?;
        tokio::spawn(connection);
        let token = env.token(TokenWish { user: "alice", ttl: Some(7200), ..TokenWish::default() });
        let alice = Caller::new("alice", &env.base_url, token);
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
        let stage = Self { env, db, alice, http, control };
        stage.stop(MEASURED)?;
        stage.empty().await?;
        stage.start(MEASURED)?;
        Ok(stage)
    }

    /// Stops what is measured, removes every pod, and starts it again.
    pub async fn finish(&self) -> Result<()> {
        self.stop(MEASURED)?;
        self.empty().await?;
        self.start(MEASURED)
    }

    async fn empty(&self) -> Result<()> {
        self.db.batch_execute(EMPTIED).await.context("the database cannot be emptied")?;
        self.control("reset", &json!({})).await?;
        self.control("settings", &json!({"heartbeat_ms": 300_000})).await.map(drop)
    }

    /// Stops programs.
    pub fn stop(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| service::signal(&self.env, "stop", name))
    }

    /// Starts programs, each until it is ready.
    pub fn start(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| service::signal(&self.env, "start", name))
    }

    /// Kills a program.
    pub fn kill(&self, name: &str) -> Result<()> {
        service::signal(&self.env, "kill", name)
    }

    /// `POST /_control/<path>`.
    pub async fn control(&self, path: &str, body: &Value) -> Result<Value> {
        self.control_raw(path, body.to_string()).await
    }

    /// The same with a body that is JSON in lines.
    pub async fn control_raw(&self, path: &str, body: String) -> Result<Value> {
        let request = self.http.post(format!("{}/_control/{path}", self.control)).body(body);
        let answer = request.send().await.context("the scripted Kubernetes does not answer")?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the scripted Kubernetes refuses {path}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// What the scripted Kubernetes holds and was asked.
    pub async fn kubernetes(&self) -> Result<Value> {
        let answer = self.http.get(format!("{}/_control/state", self.control)).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// What the scripted Kubernetes has at a path of its API.
    pub async fn kube_get(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.control)).send().await?.error_for_status()?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// The first column of the first row, a number.
    pub async fn count(&self, sql: &str) -> Result<i64> {
        Ok(self.db.query_one(sql, &[]).await?.try_get(0)?)
    }

    /// Waits until a statement counts a number; answers how long that took.
    pub async fn until_count(&self, what: &str, sql: &str, wanted: i64, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let found = self.count(sql).await?;
            if found == wanted {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > limit {
                bail!("{what}: {found} instead of {wanted} after {} s", limit.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// CPU seconds of the measured programs that run, and of what they stand on.
    pub fn cpu(&self) -> Result<BTreeMap<String, f64>> {
        let names = MEASURED.iter().copied().chain(["pods-api", "scripted-kube", "nats"]);
        let running = names.filter_map(|name| Some((name, service::pid(&self.env, name).ok()?)));
        running.map(|(name, pid)| Ok((name.to_owned(), service::cpu_seconds(pid)?))).collect()
    }
}
