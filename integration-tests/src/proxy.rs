//! One more Traefik with the environment's own settings, some of them changed.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::env::Env;

const OPTION: &str = "--configfile=";

/// Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// Port for plain HTTP.
    pub http_port: u16,
    /// Port for TLS.
    pub https_port: u16,
    _settings: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A port that nobody uses at the moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Proxy {
    /// Starts it, on ports of its own. The first text of each change must be in the settings, and becomes the second.
    ///
    /// # Errors
    /// When a text is not there, or the program does not start.
    pub fn start(env: &Env, changes: &[(&str, &str)]) -> Result<Self> {
        let process = env.processes.get("traefik").context("the environment has a Traefik")?;
        let file = process.argv.last().and_then(|option| option.strip_prefix(OPTION));
        let mut settings = std::fs::read_to_string(file.context("Traefik has a settings file")?)?;
        let (http_port, https_port) = (free_port()?, free_port()?);
        let address = |port: u16| format!("address: \":{port}\"");
        let own = |port: u16| format!("address: \"127.0.0.1:{port}\"");
        let ports = [(address(env.http_port), own(http_port)), (address(env.https_port), own(https_port))];
        let ports = ports.iter().map(|(from, to)| (from.as_str(), to.as_str()));
        for (from, to) in ports.chain(changes.iter().copied()) {
            ensure!(settings.contains(from), "{from:?} is not in the settings of Traefik: {settings}");
            settings = settings.replace(from, to);
        }
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("traefik.yaml");
        std::fs::write(&file, settings)?;
        let (program, arguments) = process.argv.split_first().context("Traefik is a program")?;
        let child = Command::new(program)
            .args(&arguments[..arguments.len() - 1])
            .arg(format!("{OPTION}{}", file.display()))
            .envs(&process.env)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Traefik cannot be started")?;
        Ok(Self { child, http_port, https_port, _settings: folder })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}
