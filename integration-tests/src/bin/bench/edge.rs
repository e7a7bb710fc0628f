//! An edge process of a bench, with a database of the bench's choice.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{Env, proxy::free_port};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// Ends when it is dropped.
pub struct Edge {
    child: Child,
    /// Where it listens.
    pub url: String,
    client: reqwest::Client,
    _state: TempDir,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The program of the edge in one of its roles, with the environment's settings and another database.
pub fn command(env: &Env, role: &str, database: &str) -> Result<Command> {
    let process = env.processes.get("pods-edge").context("the environment has an edge")?;
    let program = process.argv.first().context("the edge is a program")?;
    let mut command = Command::new(program);
    command.arg(role).envs(&process.env).env("PODS__DATABASE__URL", database);
    Ok(command)
}

impl Edge {
    /// Starts one and waits for its first document.
    pub async fn start(env: &Env, database: &str) -> Result<Self> {
        let state = tempfile::tempdir()?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let url = format!("http://{address}");
        let child = command(env, "edge", database)?
            .env("PODS__EDGE__BIND", &address)
            .env("PODS__EDGE__SELF_URL", &url)
            .env("PODS__EDGE__STATE_DIR", state.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // As Traefik: it takes gzip and keeps its connection.
        let client = reqwest::Client::builder().no_proxy().build()?;
        let edge = Self { child, url, client, _state: state };
        let begun = Instant::now();
        while edge.poll().await.is_err() {
            ensure!(begun.elapsed() < LIMIT, "the edge does not serve a document within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(edge)
    }

    /// The document as it was sent.
    pub async fn poll(&self) -> Result<Vec<u8>> {
        let request =
            self.client.get(format!("{}/traefik-config", self.url)).header("accept-encoding", "gzip");
        Ok(request.send().await?.error_for_status()?.bytes().await?.into())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}
