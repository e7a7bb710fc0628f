//! nats-server with JetStream on disk.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Infra;
use crate::proc::{Ready, Spec, write_if_changed};
use crate::{ports, ui};

/// Starts it; returns when it serves.
pub fn ensure(infra: &Infra, tools: &Path) -> Result<()> {
    let store = infra.state.data.join("nats");
    fs::create_dir_all(&store)?;
    let (port, monitor) = (ports::infra("nats"), ports::infra("nats-monitor"));
    let conf = infra.dir.join("nats.conf");
    write_if_changed(
        &conf,
        &format!(
            "# Written by cargo xtask up.\nlisten: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\n\
             jetstream {{ store_dir: {:?}, max_file_store: 4G, max_memory_store: 256M }}\n",
            port.number,
            monitor.number,
            store.display().to_string()
        ),
    )?;
    let program = tools.join("nats-server");
    let spec =
        Spec::new("nats", &infra.logs(), [&program.display().to_string(), "-c", &conf.display().to_string()])
            .ready(Ready::Http(format!("http://127.0.0.1:{}/healthz", monitor.number)))
            .port(&port)
            .port(&monitor)
            .depends_on(&[&conf, &program]);
    infra.procs.ensure(&spec)?;
    ui::say("nats", format!("serves on {}", url()));
    Ok(())
}

/// The address of the server.
pub fn url() -> String {
    format!("nats://127.0.0.1:{}", ports::infra("nats").number)
}
