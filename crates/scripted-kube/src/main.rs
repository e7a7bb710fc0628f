//! `scripted-kube`: a Kubernetes that is only pretended, for measurements and fault tests on this machine.
#![expect(clippy::print_stderr, reason = "a program of the development environment talks to its log")]

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, ensure};
use clap::Parser;
use scripted_kube::{Cluster, serve, state::Mode};
use tokio::{net::TcpListener, signal::unix::SignalKind};

#[derive(Parser)]
#[command(about = "A scripted Kubernetes API server; never listens beyond this machine")]
struct Options {
    /// Where to listen; a loopback address.
    #[arg(long)]
    listen: SocketAddr,
    /// A kubeconfig to write.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Namespaces that exist.
    #[arg(long, required = true)]
    namespace: Vec<String>,
    /// How many nodes there are; each takes 250 Pods.
    #[arg(long, default_value_t = 50)]
    nodes: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(options.listen.ip().is_loopback(), "{} is no loopback address", options.listen);
    let cluster = Cluster::new(Mode::Scripted, false);
    {
        let mut state = cluster.state();
        options.namespace.iter().for_each(|name| state.add_namespace(name));
        (0..options.nodes).for_each(|number| state.add_node(&format!("scripted-{number:03}")));
    }
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr().context("no local address")?;
    if let Some(file) = &options.kubeconfig {
        let namespace = options.namespace.first().map(String::as_str).unwrap_or_default();
        std::fs::write(file, serve::kubeconfig(address, namespace))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    eprintln!("scripted-kube serves {} nodes on http://{address}", options.nodes);
    let mut terminated = tokio::signal::unix::signal(SignalKind::terminate()).context("no signals")?;
    tokio::select! {
        never = serve::serve(cluster.clone(), listener) => match never {},
        () = cluster.run() => {}
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
