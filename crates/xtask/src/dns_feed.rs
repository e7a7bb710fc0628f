//! Keeps the hosts file of the cluster's DNS server equal to the Services of the cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

/// What the feed works with.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Path of kubectl.
    #[arg(long)]
    kubectl: PathBuf,
    /// Credentials that may watch Services.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The hosts file to write.
    #[arg(long)]
    hosts: PathBuf,
    /// The DNS server's pid: told with SIGHUP to read the file again.
    #[arg(long)]
    pid_file: PathBuf,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default, rename = "resourceVersion")]
    version: String,
}

#[derive(Deserialize, Default)]
struct ServiceSpec {
    #[serde(default, rename = "clusterIP")]
    address: String,
}

#[derive(Deserialize)]
struct Service {
    metadata: Meta,
    #[serde(default)]
    spec: ServiceSpec,
}

#[derive(Deserialize)]
struct List {
    metadata: Meta,
    items: Vec<Service>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: serde_json::Value,
}

type Names = BTreeMap<(String, String), String>;

/// Lists, watches, and starts over when the watch ends.
pub fn serve(options: &Options) -> Result<()> {
    loop {
        if let Err(error) = follow(options) {
            eprintln!("dns-feed: {error:#}; starting over");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn kubectl(options: &Options, path: &str) -> Command {
    let mut command = Command::new(&options.kubectl);
    command.arg("--kubeconfig").arg(&options.kubeconfig).args(["get", "--raw", path]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn follow(options: &Options) -> Result<()> {
    let out = kubectl(options, "/api/v1/services").output().context("cannot run kubectl")?;
    if !out.status.success() {
        bail!("cannot list Services");
    }
    let list: List = serde_json::from_slice(&out.stdout).context("the list of Services is unreadable")?;
    let mut names = Names::new();
    for service in list.items {
        put(&mut names, service);
    }
    publish(options, &names)?;
    let path =
        format!("/api/v1/services?watch=1&resourceVersion={}&timeoutSeconds=600", list.metadata.version);
    let mut child = kubectl(options, &path).spawn().context("cannot run kubectl")?;
    let stdout = child.stdout.take().context("kubectl without output")?;
    let result = watch(options, &mut names, stdout);
    let _ = child.kill();
    let _ = child.wait();
    result
}

fn watch(options: &Options, names: &mut Names, stdout: impl std::io::Read) -> Result<()> {
    for event in serde_json::Deserializer::from_reader(stdout).into_iter::<Event>() {
        let event = event.context("the watch is unreadable")?;
        if event.kind == "ERROR" {
            bail!("the watch ended: {}", event.object);
        }
        let service: Service = serde_json::from_value(event.object)?;
        if event.kind == "DELETED" {
            names.remove(&(service.metadata.namespace, service.metadata.name));
        } else {
            put(names, service);
        }
        publish(options, names)?;
    }
    Ok(())
}

fn put(names: &mut Names, service: Service) {
    let key = (service.metadata.namespace, service.metadata.name);
    if service.spec.address.parse::<std::net::IpAddr>().is_ok() {
        names.insert(key, service.spec.address);
    } else {
        // Headless: nothing to answer from here.
        names.remove(&key);
    }
}

fn publish(options: &Options, names: &Names) -> Result<()> {
    let text = hosts(names);
    if fs::read_to_string(&options.hosts).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let part = options.hosts.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(&part, &options.hosts)?;
    tell(&options.pid_file);
    Ok(())
}

fn hosts(names: &Names) -> String {
    names
        .iter()
        .map(|((namespace, name), address)| {
            format!("{address} {name}.{namespace}.svc.cluster.local {name}.{namespace}.svc\n")
        })
        .collect()
}

fn tell(pid_file: &Path) {
    let pid =
        fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::HUP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_service() {
        let json = r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"clusterIP":"10.96.0.7"}}"#;
        let mut names = Names::new();
        put(&mut names, serde_json::from_str(json).unwrap());
        put(
            &mut names,
            serde_json::from_str(&json.replace("10.96.0.7", "None").replace("\"a\"", "\"b\"")).unwrap(),
        );
        assert_eq!(hosts(&names), "10.96.0.7 a.n.svc.cluster.local a.n.svc\n");
    }
}
