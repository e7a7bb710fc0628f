//! The stand-in on a free port, inside of a test's process.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use actix_web::dev::ServerHandle;
use anyhow::{Context, Result};
use uuid::Uuid;

use crate::{Config, Platform, serve};

/// A running platform with a state directory of its own, which goes with it.
pub struct InProcess {
    platform: Platform,
    address: SocketAddr,
    server: ServerHandle,
    _state: StateDir,
}

impl InProcess {
    /// Starts it on the current Tokio runtime. `configuration` gets the address, and answers the configuration without
    /// `bind` and `state_dir`.
    ///
    /// # Errors
    /// When the configuration is wrong, or neither a socket nor a directory can be had.
    pub fn start(configuration: impl FnOnce(SocketAddr) -> String) -> Result<Self> {
        let state = StateDir::make()?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let text = format!(
            "bind = \"unused\"\nstate_dir = {:?}\n{}",
            state.0.display().to_string(),
            configuration(address)
        );
        let config = Config::parse(&text)?;
        // Two of the same platform: what they share lives in the state directory.
        let server = serve(listener, Platform::open(config.clone())?)?;
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Self { platform: Platform::open(config)?, address, server: handle, _state: state })
    }

    /// The same platform, for minting tokens and granting roles without HTTP.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The platform is away from now on.
    pub async fn stop(&self) {
        self.server.stop(false).await;
    }
}

/// A directory that is deleted in the end.
struct StateDir(PathBuf);

impl StateDir {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("dev-tapis-{}", Uuid::new_v4()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
