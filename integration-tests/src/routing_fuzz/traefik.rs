//! The real Traefik, fed by a server of ours.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::members::Members;

/// A document of thousands of routers takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Ends when it is dropped.
pub struct Traefik {
    child: Child,
    api: u16,
    document: Arc<Mutex<Vec<u8>>>,
    client: reqwest::Client,
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn binary() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache =
        || variable("PODS_CACHE_DIR").or_else(|| variable("HOME").map(|home| home.join(".cache/pods-dev")));
    let path = variable("PODS_TEST_TRAEFIK").or_else(|| Some(cache()?.join("venv/tools/bin/traefik")));
    path.filter(|path| path.exists())
        .context("set PODS_TEST_TRAEFIK to a traefik 3 binary, or run `cargo xtask up` once")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Traefik {
    /// Starts it with an empty document.
    pub async fn start() -> Result<Self> {
        let document = Arc::new(Mutex::new(b"{}".to_vec()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = listener.local_addr()?;
        tokio::spawn(serve(listener, Arc::clone(&document)));
        let (web, websecure, api) = (free_port()?, free_port()?, free_port()?);
        let child = Command::new(binary()?)
            .arg(format!("--entryPoints.web.address=127.0.0.1:{web}"))
            .arg(format!("--entryPoints.websecure.address=127.0.0.1:{websecure}"))
            .arg(format!("--entryPoints.traefik.address=127.0.0.1:{api}"))
            .arg(format!("--providers.http.endpoint=http://{endpoint}/"))
            .args(["--providers.http.pollInterval=200ms", "--providers.providersThrottleDuration=50ms"])
            .args(["--api.insecure=true", "--global.checkNewVersion=false", "--log.level=FATAL"])
            .arg("--global.sendAnonymousUsage=false")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Traefik cannot be started")?;
        let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
        Ok(Self { child, api, document, client })
    }

    /// Gives it a document and waits until it has all routers of it and only those, each without an error. Answers how
    /// many there are.
    pub async fn takes(&self, document: Vec<u8>, members: &Members) -> Result<usize> {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document;
        let expected: BTreeSet<String> = members
            .keys()
            .filter(|(_, kind, _)| kind == "routers")
            .map(|(section, _, name)| format!("{section} {name}"))
            .collect();
        let begun = Instant::now();
        let mut found = BTreeSet::new();
        while begun.elapsed() < LIMIT {
            found = self.routers().await.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
            if found == expected {
                return self.judge(members).await.map(|()| found.len());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let missing: Vec<_> = expected.difference(&found).take(5).collect();
        bail!(
            "Traefik refuses a document: it has {} of {} routers, not {missing:?}",
            found.len(),
            expected.len()
        )
    }

    async fn judge(&self, members: &Members) -> Result<()> {
        for (name, router) in self.routers().await? {
            let text = || {
                let (section, name) = name.split_once(' ').unwrap_or_default();
                members.get(&(section.to_owned(), "routers".to_owned(), name.to_owned()))
            };
            ensure!(
                router["status"] == "enabled" && router["error"].is_null(),
                "Traefik says of the router {name}: {}; it was told {:?}",
                router["error"],
                text()
            );
        }
        for section in ["http", "tcp"] {
            for kind in ["middlewares", "services"] {
                for object in self.list(&format!("{section}/{kind}")).await? {
                    ensure!(object["error"].is_null(), "Traefik says of one of the {kind}: {object}");
                }
            }
        }
        Ok(())
    }

    async fn routers(&self) -> Result<Vec<(String, Value)>> {
        let mut routers = Vec::new();
        for section in ["http", "tcp"] {
            for router in self.list(&format!("{section}/routers")).await? {
                let name = router["name"].as_str().unwrap_or_default();
                if let Some(name) = name.strip_suffix("@http") {
                    routers.push((format!("{section} {name}"), router));
                }
            }
        }
        Ok(routers)
    }

    async fn list(&self, what: &str) -> Result<Vec<Value>> {
        let url = format!("http://127.0.0.1:{}/api/{what}?per_page=1000000", self.api);
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }
}

/// Answers every request with the document.
async fn serve(listener: tokio::net::TcpListener, document: Arc<Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let document = Arc::clone(&document);
        tokio::spawn(async move {
            let (read, mut write) = stream.split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if !line.is_empty() {
                    continue;
                }
                let body = document.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                if write.write_all(head.as_bytes()).await.is_err() || write.write_all(&body).await.is_err() {
                    return;
                }
            }
        });
    }
}
