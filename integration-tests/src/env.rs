//! The running environment, as `cargo xtask` describes it.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde::Deserialize;

/// What `env.json` of a profile says.
#[derive(Debug, Clone, Deserialize)]
pub struct Env {
    /// The profile's name.
    pub profile: String,
    /// The site.
    pub site_id: String,
    /// Base URL of the tenant `dev`.
    pub base_url: String,
    /// The tenants; the first is `dev`.
    pub tenants: Vec<Tenant>,
    /// Port for plain HTTP.
    pub http_port: u16,
    /// Port for TLS.
    pub https_port: u16,
    /// The authority that signed the proxy's certificate.
    pub ca_file: PathBuf,
    /// The administrator's access to Kubernetes.
    pub kubeconfig: PathBuf,
    /// Namespace of the users' pods.
    pub namespace: String,
    /// The services' database.
    pub database_url: String,
    /// The broker.
    pub nats_url: String,
    /// The stream of wake-ups.
    pub stream: String,
    /// The edge process itself, past Traefik.
    pub edge_url: String,
    /// Folder with the records of the DNS server that is asked about custom domains.
    #[serde(default)]
    pub dns_dir: PathBuf,
    /// The internal listener of the API.
    pub api_internal_url: String,
    /// The internal listener of the first spawner.
    pub spawner_internal_url: String,
    /// The internal listener of the first health.
    pub health_internal_url: String,
    /// The control of a Kubernetes that is only pretended; `None` of a real one.
    #[serde(default)]
    pub scripted_url: Option<String>,
    /// `cargo xtask` as a program.
    pub xtask: PathBuf,
    /// A Python that has tapipy.
    pub python: PathBuf,
    /// A folder with the TypeScript clients, for `NODE_PATH`.
    pub node_modules: PathBuf,
    /// The programs by name.
    pub processes: BTreeMap<String, Process>,
}

/// A tenant.
#[derive(Debug, Clone, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: String,
    /// Where its users reach the platform.
    pub base_url: String,
}

/// How a program was started.
#[derive(Debug, Clone, Deserialize)]
pub struct Process {
    /// File with its process id.
    pub pid_file: PathBuf,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its additional environment.
    pub env: BTreeMap<String, String>,
}

/// What a token is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenWish<'a> {
    /// Whose.
    pub user: &'a str,
    /// In which tenant; empty means `dev`.
    pub tenant: &'a str,
    /// A role to grant.
    pub role: Option<&'a str>,
    /// Life in seconds; negative makes one that has expired.
    pub ttl: Option<i64>,
    /// A refresh token instead of an access token.
    pub refresh: bool,
}

/// Whether the long checks take their one-minute form: `PODS_FAULTS=short`.
pub fn short() -> bool {
    std::env::var("PODS_FAULTS").is_ok_and(|form| form == "short")
}

impl Env {
    /// Reads the file that `PODS_TEST_ENV` names.
    pub fn load() -> Self {
        let Some(file) = std::env::var_os("PODS_TEST_ENV") else {
            panic!(
                "PODS_TEST_ENV is not set: these tests need a running system, start them with `cargo xtask test`"
            );
        };
        // The first one wins; a test binary may load more than once.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{} cannot be read ({error}): is the environment up?", file.display())
        });
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Host of the tenant `dev` without its port; pods live below it.
    pub fn tenant_host(&self) -> &str {
        let rest = self.base_url.split("://").nth(1).unwrap_or(&self.base_url);
        rest.split([':', '/']).next().unwrap_or(rest)
    }

    /// The host of a pod's networking entry.
    pub fn pod_host(&self, pod_id: &str, entry: &str) -> String {
        match entry {
            "default" => format!("{pod_id}.pods.{}", self.tenant_host()),
            other => format!("{pod_id}-{other}.pods.{}", self.tenant_host()),
        }
    }

    /// A tenant other than `dev`.
    pub fn other_tenant(&self) -> &Tenant {
        self.tenants.iter().find(|tenant| tenant.id != "dev").expect("the environment has a second tenant")
    }

    /// A token of the development platform.
    pub fn token(&self, wish: TokenWish<'_>) -> String {
        let tenant = if wish.tenant.is_empty() { "dev" } else { wish.tenant };
        let mut command = Command::new(&self.xtask);
        command.args(["token", "--profile", &self.profile, "--user", wish.user, "--tenant", tenant]);
        command.args(wish.role.into_iter().flat_map(|role| ["--role", role]));
        command.args(wish.ttl.map(|ttl| format!("--ttl={ttl}")));
        command.args(wish.refresh.then_some("--kind=refresh"));
        let output = command.output().expect("xtask can be run");
        assert!(output.status.success(), "no token: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
