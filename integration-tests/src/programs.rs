//! Programs of others as their users run them at the hosts of pods: curl, psql, and scripts with published drivers; and
//! the scripts that answer them inside of pods.

use std::{collections::BTreeMap, net::IpAddr, process::Stdio};

use tokio::process::Command;

use crate::{env::Env, script::PROXIES};

/// Runs as `python3 -c <this> <port>`: Bolt, with users from `POD_USER` and `POD_PASSWORD`.
pub const BOLT_STUB: &str = include_str!("../networking/bolt_stub.py");

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/networking");

/// Seconds for a program to connect: what no route leads anywhere may stay silent for ever.
const CONNECT_TIMEOUT: &str = "5";

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub code: u16,
    /// The headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The content.
    pub text: String,
}

impl Reply {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What curl gets from a pod's host over TLS: at one address of this machine where that matters, with more options.
///
/// # Errors
/// What curl says when there is no answer.
pub async fn curl(
    env: &Env,
    at: Option<IpAddr>,
    (host, path): (&str, &str),
    options: &[&str],
) -> Result<Reply, String> {
    let port = env.https_port;
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--http1.1", "--max-time", "10"]);
    command.arg("--cacert").arg(&env.ca_file).args(options);
    if let Some(at) = at {
        let at = if at.is_ipv6() { format!("[{at}]") } else { at.to_string() };
        command.args(["--resolve", &format!("{host}:{port}:{at}")]);
    }
    let said = run(command.arg(format!("https://{host}:{port}{path}"))).await?;
    let (head, text) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    let mut lines = head.split("\r\n");
    let code = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let known = headers.entry(name.to_ascii_lowercase()).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(value.trim());
    }
    Ok(Reply {
        code: code.ok_or_else(|| format!("no answer of HTTP: {said:?}"))?,
        headers,
        text: text.to_owned(),
    })
}

/// What a statement gives over a connection that is described as libpq takes it.
///
/// # Errors
/// What psql says when it cannot connect.
pub async fn psql(connection: &str, password: &str, statement: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args([
        "--no-psqlrc",
        "--no-align",
        "--tuples-only",
        "--no-password",
        "--command",
        statement,
        connection,
    ]);
    command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT);
    run(&mut command).await.map(|said| said.trim().to_owned())
}

/// A script with a published driver. It trusts the environment's authority and no other.
pub fn python(env: &Env, name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(&env.python);
    command.arg(format!("{SCRIPTS}/{name}"));
    command.env("SSL_CERT_FILE", &env.ca_file).env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT);
    command
}

/// What a program says, or what it complains about when it fails.
async fn run(command: &mut Command) -> Result<String, String> {
    for name in PROXIES {
        command.env_remove(name);
    }
    let output =
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the program is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
