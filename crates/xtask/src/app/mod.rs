//! One profile of the application layer: its own services, Traefik, database, namespace and stream.

pub mod build;
pub mod config;
pub mod envfile;
pub mod namespace;
pub mod services;
pub mod traefik;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::given::Given;
use crate::infra::kube::Cluster;
use crate::infra::{Infra, nats, postgres};
use crate::paths::Ctx;
use crate::ports;
use crate::proc::{Port, Procs};

/// The tenants of the development platform; `admin` is the one services belong to.
pub const TENANTS: &[&str] = &["dev", "dev-two"];

/// The names of the profiles.
pub const PROFILES: &[&str] = &["dev", "test", SCRIPTED];

/// Debian's DNS server.
pub const DNSMASQ: &str = "/usr/sbin/dnsmasq";

/// The profile without Traefik and with a pretended Kubernetes of its own.
const SCRIPTED: &str = "scripted";

/// A profile: `dev` for people, `test` for the end-to-end suite, `scripted` for thousands of pods.
#[derive(Clone, Debug)]
pub struct Profile {
    /// One of [`PROFILES`].
    pub name: String,
    /// `.dev/<name>`.
    pub dir: PathBuf,
    /// Records of its programs.
    pub procs: Procs,
    /// Where spawner and health reach Kubernetes when that is not the API server itself.
    pub kube_server: Option<String>,
    offset: u16,
}

impl Profile {
    /// The profile of that name.
    pub fn new(ctx: &Ctx, name: &str) -> Result<Self> {
        let offset = match name {
            "dev" => 0,
            "test" => 1000,
            SCRIPTED => 2000,
            other => bail!("no profile {other}: there are {}", PROFILES.join(", ")),
        };
        let dir = ctx.dev.join(name);
        Ok(Self {
            name: name.to_owned(),
            procs: Procs::new(dir.join("proc"), &ctx.dev),
            kube_server: None,
            dir,
            offset,
        })
    }

    /// One of its ports.
    pub fn port(&self, name: &str) -> Port {
        ports::app(&self.name, self.offset, name)
    }

    /// `http://127.0.0.1:<port>` of one of its services.
    pub fn local_url(&self, port: &str) -> String {
        format!("http://127.0.0.1:{}", self.port(port).number)
    }

    /// `127.0.0.1:<port>` of one of its services.
    pub fn bind(&self, port: &str) -> String {
        format!("127.0.0.1:{}", self.port(port).number)
    }

    /// Where a tenant's users reach the platform.
    pub fn base_url(&self, tenant: &str) -> String {
        let port = if self.is_scripted() { "api" } else { "web" };
        format!("http://{tenant}.localhost:{}", self.port(port).number)
    }

    /// Whether its Kubernetes is pretended: then it has neither Traefik nor edge, and users reach the API itself.
    pub fn is_scripted(&self) -> bool {
        self.name == SCRIPTED
    }

    /// The kubeconfig that the pretended Kubernetes writes.
    pub fn scripted_kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig.yaml")
    }

    /// Whether health asks a DNS server of the profile's own about custom domains, whose records the tests write.
    pub fn has_dns(&self) -> bool {
        self.name == "test" && Path::new(DNSMASQ).exists()
    }

    /// Records of that server.
    pub fn dns_dir(&self) -> PathBuf {
        self.dir.join("dns")
    }

    fn suffixed(&self, base: &str, separator: &str) -> String {
        if self.name == "dev" { base.to_owned() } else { format!("{base}{separator}{}", self.name) }
    }

    /// Name of its database.
    pub fn database(&self) -> String {
        self.suffixed("pods", "_")
    }

    /// Name of its stream, in capitals.
    pub fn stream(&self) -> String {
        self.suffixed("PODS", "_").to_uppercase()
    }

    /// Kubernetes namespace of its users' pods.
    pub fn namespace(&self) -> String {
        format!("pods-{}", self.name)
    }

    /// Where its programs' output goes.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its configuration file, shared by all services.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("pods.toml")
    }

    /// Its document for the tests.
    pub fn env_file(&self) -> PathBuf {
        self.dir.join("env.json")
    }
}

/// The shared parts as a profile sees them: ours, or the ones somebody gave.
#[derive(Clone, Debug)]
pub struct Shared<'a> {
    /// The shared layer.
    pub infra: &'a Infra,
    /// What was given from outside.
    pub given: &'a Given,
    /// kubectl, traefik.
    pub tools: PathBuf,
    /// Our cluster; absent when a kubeconfig was given.
    pub cluster: Option<&'a Cluster<'a>>,
}

impl Shared<'_> {
    /// The administrator's kubeconfig.
    pub fn admin(&self) -> Result<PathBuf> {
        match (self.cluster, &self.given.kubeconfig) {
            (Some(cluster), _) => cluster.admin(),
            (None, Some(path)) => Ok(path.clone()),
            (None, None) => bail!("no Kubernetes"),
        }
    }

    /// `kubectl` as administrator.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(self.tools.join("kubectl"));
        command.arg("--kubeconfig").arg(self.admin()?);
        Ok(command)
    }

    /// The address of a profile's database.
    pub fn database_url(&self, name: &str) -> Result<String> {
        match &self.given.database_url {
            None => Ok(postgres::url(self.infra, name)),
            Some(url) if name == "pods" => Ok(url.clone()),
            Some(url) => with_database(url, name),
        }
    }

    /// Creates a profile's database when it is absent.
    pub fn ensure_database(&self, name: &str) -> Result<()> {
        match &self.given.database_url {
            None => postgres::database(self.infra, name),
            Some(url) if name == "pods" => {
                crate::run::quiet(Command::new("psql").args([url, "-qc", "select 1"]))
                    .context("DATABASE_URL cannot be used")
            }
            Some(url) => {
                let there = with_database(url, name)?;
                if !crate::run::succeeds(Command::new("psql").args([&there, "-qc", "select 1"])) {
                    let sql = format!("create database {name}");
                    crate::run::quiet(Command::new("psql").args([url, "-qc", &sql]))
                        .with_context(|| format!("cannot create the database {name} with DATABASE_URL"))?;
                }
                Ok(())
            }
        }
    }

    /// Drops a profile's database (never the one that was given).
    pub fn drop_database(&self, name: &str) -> Result<()> {
        match &self.given.database_url {
            None => postgres::drop_database(self.infra, name),
            Some(_) if name == "pods" => Ok(()),
            Some(url) => {
                let sql = format!("drop database if exists {name} with (force)");
                crate::run::quiet(Command::new("psql").args([url, "-qc", &sql]))
            }
        }
    }

    /// The address of NATS.
    pub fn nats_url(&self) -> String {
        self.given.nats_url.clone().unwrap_or_else(nats::url)
    }
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> Result<String> {
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let authority = rest.find("://").map(|at| at + 3).context("DATABASE_URL is not an address")?;
    let end = rest[authority..].find('/').map_or(rest.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{}/{name}{query}", &rest[..end]))
}

/// Text of a path, for configuration files.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_on_the_same_server() {
        assert_eq!(with_database("postgres://u:p@h:1/a?x=y", "b").unwrap(), "postgres://u:p@h:1/b?x=y");
        assert_eq!(with_database("postgres://u:p@h:1", "b").unwrap(), "postgres://u:p@h:1/b");
    }
}
