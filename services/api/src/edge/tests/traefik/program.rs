//! The program itself.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Ends with the test, however that ends.
pub struct Traefik {
    child: Child,
    pub web: u16,
    pub websecure: u16,
    api: u16,
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache =
        || variable("PODS_CACHE_DIR").or_else(|| variable("HOME").map(|home| home.join(".cache/pods-dev")));
    let path = variable("PODS_TEST_TRAEFIK").or_else(|| Some(cache()?.join("venv/tools/bin/traefik")));
    path.filter(|path| path.exists()).expect(
        "set PODS_TEST_TRAEFIK to a traefik 3 binary, or run `cargo xtask up` once, which installs one",
    )
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The whole answer to one request, or nothing while nobody listens.
pub async fn get(port: u16, host: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

impl Traefik {
    /// One that gets its routes at `endpoint`.
    pub fn start(endpoint: &str) -> Self {
        Self::start_with(endpoint, (free_port(), free_port()), &[], &[])
    }

    /// One with these ports for plain HTTP and TLS, more options and more environment.
    pub fn start_with(
        endpoint: &str,
        (web, websecure): (u16, u16),
        options: &[String],
        environment: &[(&str, String)],
    ) -> Self {
        let api = free_port();
        let child = Command::new(binary())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .arg(format!("--entryPoints.web.address=127.0.0.1:{web}"))
            .arg(format!("--entryPoints.websecure.address=127.0.0.1:{websecure}"))
            .arg(format!("--entryPoints.traefik.address=127.0.0.1:{api}"))
            .arg(format!("--providers.http.endpoint={endpoint}"))
            .args(["--providers.http.pollInterval=1s", "--api.insecure=true"])
            .args([
                "--global.checkNewVersion=false",
                "--global.sendAnonymousUsage=false",
                "--log.level=ERROR",
            ])
            // The last word counts.
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, web, websecure, api }
    }

    /// Routers as Traefik sees them, with what it thinks of them.
    pub async fn routers(&self, section: &str) -> Vec<(String, Value)> {
        let path = format!("/api/{section}/routers?per_page=1000");
        let answer = get(self.api, "localhost", &path).await.unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("[]", |(_, body)| body);
        let list: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
        let name = |router: &Value| router["name"].as_str().unwrap_or_default().to_owned();
        list.into_iter()
            .map(|router| (name(&router), router))
            .filter(|(name, _)| name.ends_with("@http"))
            .collect()
    }
}
