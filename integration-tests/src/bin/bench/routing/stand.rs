//! A Traefik of the bench with the routers of a pod as the edge writes them, and an nginx for the pod: a container of
//! the small cluster would be what is measured.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{Env, proxy::free_port};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::load::{Target, paced};

const LIMIT: Duration = Duration::from_secs(30);

/// Who is asked whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nobody: an entry without `tapis_auth`.
    Nobody,
    /// An nginx that always says 200, instead of the edge.
    Nginx,
    /// The edge.
    Edge,
}

impl Asked {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nobody, Self::Nginx, Self::Edge];

    fn path(self) -> &'static str {
        match self {
            Self::Nobody => "/nobody",
            Self::Nginx => "/nginx",
            Self::Edge => "/edge",
        }
    }
}

/// The programs; they end when it is dropped.
pub struct Stand {
    programs: Vec<Child>,
    address: SocketAddr,
    host: String,
    _files: TempDir,
}

impl Drop for Stand {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _gone = program.kill();
            let _reaped = program.wait();
        }
    }
}

impl Stand {
    /// Starts everything for the host of a pod that is behind a login.
    pub async fn start(env: &Env, host: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (backend, asked, port) = (free_port()?, free_port()?, free_port()?);
        let document = reqwest::Client::builder().no_proxy().build()?;
        let document = document.get(format!("{}/traefik-config", env.edge_url)).send().await?;
        let document: Value = serde_json::from_str(&document.error_for_status()?.text().await?)?;
        let routes = files.path().join("routes.yaml");
        // JSON is YAML.
        std::fs::write(&routes, self::routes(&document, host, backend, asked)?.to_string())?;
        let mut stand = Self {
            programs: vec![nginx(&files, backend, asked)?],
            address: ([127, 0, 0, 1], port).into(),
            host: host.to_owned(),
            _files: files,
        };
        stand.programs.push(traefik(env, port, &routes)?);
        Ok(stand)
    }

    /// A request of a visitor with this cookie.
    pub fn target(&self, asked: Asked, cookie: &str) -> Target {
        let (path, host) = (asked.path(), &self.host);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nCookie: {cookie}\r\n\r\n");
        Target { address: self.address, request }
    }

    /// Waits until all answer.
    pub async fn ready(&self, cookie: &str) -> Result<()> {
        let begun = Instant::now();
        for asked in Asked::ALL {
            while let Err(error) = paced(&self.target(asked, cookie), 1, 1, 1) {
                ensure!(begun.elapsed() < LIMIT, "{asked:?}: {error:#}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

/// The same routers three times: as the edge wrote them, with nginx in the place of the edge, and without the question.
fn routes(document: &Value, host: &str, backend: u16, asked: u16) -> Result<Value> {
    let routers = document["http"]["routers"].as_object().context("a document has routers")?;
    let rule = format!("Host(`{host}`)");
    let written = routers.values().find(|router| router["rule"] == rule.as_str());
    let written = written.with_context(|| format!("the document has no router for {host}"))?;
    let names: Vec<&str> =
        written["middlewares"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut middlewares = Map::new();
    for name in &names {
        let middleware = document["http"]["middlewares"][*name].clone();
        ensure!(middleware.is_object(), "the middleware {name} is missing");
        middlewares.insert((*name).to_owned(), middleware);
    }
    let question = names.iter().find(|name| middlewares[**name]["forwardAuth"].is_object());
    let question = *question.with_context(|| format!("{host} has no login"))?;
    let mut other = middlewares[question].clone();
    other["forwardAuth"]["address"] = format!("http://127.0.0.1:{asked}/").into();
    middlewares.insert("nginx".to_owned(), other);
    let routers = Asked::ALL.map(|asked| {
        let chosen = names.iter().filter_map(|name| match asked {
            _ if *name != question => Some(*name),
            Asked::Nobody => None,
            Asked::Nginx => Some("nginx"),
            Asked::Edge => Some(*name),
        });
        let path = asked.path();
        let router = json!({
            "entryPoints": ["web"], "rule": format!("{rule} && PathPrefix(`{path}`)"), "service": "pod",
            "middlewares": chosen.collect::<Vec<_>>(),
        });
        (path.trim_start_matches('/').to_owned(), router)
    });
    let servers = json!([{ "url": format!("http://127.0.0.1:{backend}") }]);
    Ok(json!({ "http": {
        "routers": Map::from_iter(routers),
        "middlewares": middlewares,
        "services": { "pod": { "loadBalancer": { "servers": servers } } },
    } }))
}

/// Debian's nginx as a process without children, so that ending it ends it.
fn nginx(files: &TempDir, backend: u16, asked: u16) -> Result<Child> {
    let dir = files.path().display();
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {dir}/{kind}; "))
        .collect();
    let settings = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; {places}\n\
         server {{ listen 127.0.0.1:{backend}; location / {{ default_type text/plain; return 200 \"a pod\\n\"; }} }}\n\
         server {{ listen 127.0.0.1:{asked}; location / {{ return 200; }} }} }}\n"
    );
    let file = files.path().join("nginx.conf");
    std::fs::write(&file, settings)?;
    Command::new("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(files.path())
        .stdout(Stdio::null())
        .spawn()
        .context("nginx cannot be started: `cargo xtask bench routing` installs Debian's")
}

fn traefik(env: &Env, port: u16, routes: &std::path::Path) -> Result<Child> {
    let process = env.processes.get("traefik").context("the environment has a Traefik")?;
    let program = process.argv.iter().find(|word| word.ends_with("/traefik"));
    Command::new(program.context("the environment's Traefik is a program")?)
        .arg(format!("--entryPoints.web.address=127.0.0.1:{port}"))
        .args(["--entryPoints.web.transport.respondingTimeouts.readTimeout=0s"])
        .arg(format!("--providers.file.filename={}", routes.display()))
        .args(["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR"])
        .stdout(Stdio::null())
        .spawn()
        .context("Traefik cannot be started")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_differ_in_the_question_only() {
        let document = json!({ "http": {
            "routers": {
                "pods-shop": { "rule": "Host(`shop.example`)", "middlewares": ["list", "auth-shop", "compress"] },
                "pods-shop--login": { "rule": "Host(`shop.example`) && PathPrefix(`/x/`)", "middlewares": ["strip"] },
            },
            "middlewares": {
                "list": { "ipAllowList": {} },
                "auth-shop": { "forwardAuth": { "address": "http://edge/a", "trustForwardHeader": false } },
                "compress": { "compress": {} },
                "strip": {},
            },
        } });
        let made = routes(&document, "shop.example", 1, 2).unwrap();
        let chosen = |name: &str| made["http"]["routers"][name]["middlewares"].clone();
        assert_eq!(chosen("edge"), json!(["list", "auth-shop", "compress"]));
        assert_eq!(chosen("nginx"), json!(["list", "nginx", "compress"]));
        assert_eq!(chosen("nobody"), json!(["list", "compress"]));
        let middlewares = &made["http"]["middlewares"];
        assert_eq!(middlewares["auth-shop"], document["http"]["middlewares"]["auth-shop"]);
        assert_eq!(
            middlewares["nginx"],
            json!({ "forwardAuth": { "address": "http://127.0.0.1:2/", "trustForwardHeader": false } })
        );
        assert!(routes(&document, "other.example", 1, 2).is_err());
    }
}
