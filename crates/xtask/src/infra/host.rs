//! What the local Kubernetes changes on the machine, and how every change is taken back.
//!
//! Bridge, firewall chains, mounts, network namespaces, cgroups, shims, kernel settings: none of it lives in the
//! checkout, and all of it stays when the programs are killed. Everything is found by name, so that it is removed
//! after a crash too, and whichever checkout left it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::node::{BRIDGE, NETWORK, REFUSED};
use crate::proc::{MARK, write_if_changed};
use crate::{run, ui};

/// Folders outside the checkout that Kubernetes' parts create.
const FOLDERS: &[&str] = &[
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/run/netns",
    "/opt/containerd",
];

/// Kernel settings that kubelet, kube-proxy and we change.
const SETTINGS: &[&str] = &[
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/vs/conntrack",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Who uses the machine's bridge and chains, and how the machine was before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// `.dev` of the checkout.
    pub dev: PathBuf,
    /// Its data.
    pub data: PathBuf,
    /// Its sockets.
    pub run: PathBuf,
    /// Folders that did not exist before.
    pub absent: Vec<PathBuf>,
    /// Kernel settings as they were.
    pub settings: BTreeMap<String, String>,
}

impl Owner {
    fn file() -> PathBuf {
        PathBuf::from("/run/pods-dev/owner.json")
    }

    /// The recorded owner.
    pub fn read() -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(Self::file()).ok()?).ok()
    }
}

/// Refuses while another checkout's environment runs on this machine.
pub fn check_free(dev: &Path) -> Result<()> {
    if let Some(owner) = Owner::read().filter(|owner| owner.dev != dev)
        && let Some((pid, name)) = marked(&owner.dev).into_iter().next()
    {
        bail!(
            "the checkout {} has its environment running here ({name}, pid {pid}): run `cargo xtask down` there first",
            owner.dev.parent().unwrap_or(&owner.dev).display()
        );
    }
    Ok(())
}

/// Takes the machine for this checkout, cleans up after another one that is dead.
pub fn claim(infra: &super::Infra, dev: &Path) -> Result<()> {
    if let Some(owner) = Owner::read() {
        if owner.dev == dev {
            return Ok(());
        }
        check_free(dev)?;
        ui::say("machine", format!("cleaning up after {}", owner.dev.display()));
        clean(&owner.data, &owner.run)?;
        restore(&owner);
    }
    let absent = FOLDERS.iter().map(PathBuf::from).filter(|path| !path.exists()).collect();
    let read =
        |key: &&str| Some(((*key).to_owned(), fs::read_to_string(setting(key)).ok()?.trim().to_owned()));
    let owner = Owner {
        dev: dev.to_path_buf(),
        data: infra.state.data.clone(),
        run: infra.state.run.clone(),
        absent,
        settings: SETTINGS.iter().filter_map(read).collect(),
    };
    write_if_changed(&Owner::file(), &serde_json::to_string_pretty(&owner)?)
}

/// Gives the machine back: kernel settings as they were, folders that were not there removed.
pub fn release(dev: &Path) {
    if let Some(owner) = Owner::read()
        && owner.dev == dev
    {
        restore(&owner);
    }
}

fn restore(owner: &Owner) {
    for (key, value) in &owner.settings {
        if fs::read_to_string(setting(key)).is_ok_and(|now| now.trim() != value) {
            let _ = fs::write(setting(key), value);
        }
    }
    for folder in &owner.absent {
        let _ = fs::remove_dir_all(folder);
    }
    let _ = fs::remove_dir_all("/run/pods-dev");
}

fn setting(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// Removes containers, mounts, network namespaces, cgroups, the bridge and the chains of a node whose kubelet is
/// stopped. Finds nothing on a clean machine and then changes nothing.
pub fn clean(data: &Path, run_dir: &Path) -> Result<()> {
    end_containers(run_dir)?;
    unmount(data, run_dir)?;
    namespaces()?;
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        run::quiet(Command::new("ip").args(["link", "delete", BRIDGE]))?;
    }
    for family in ["iptables", "ip6tables"] {
        chains(family)?;
    }
    cgroups();
    for dir in [run_dir.join("addresses"), run_dir.join("containerd")] {
        let _ = fs::remove_dir_all(dir);
    }
    if let Ok(results) = fs::read_dir("/var/lib/cni/results") {
        for entry in results.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{NETWORK}-")) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    Ok(())
}

/// Processes (pid, name) that carry the mark of a checkout's `.dev`.
pub fn marked(dev: &Path) -> Vec<(i32, String)> {
    let wanted = format!("{MARK}={}", dev.display()).into_bytes();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    processes()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry == wanted)
        })
        .map(|pid| {
            (pid, fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned())
        })
        .collect()
}

/// Is `pid` the process `ancestor` or one of its descendants?
pub fn descends(pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    while at > 1 {
        if at == ancestor {
            return true;
        }
        let Ok(text) = fs::read_to_string(format!("/proc/{at}/stat")) else { return false };
        let parent = text.rfind(')').and_then(|end| text[end + 2..].split(' ').nth(1)?.parse().ok());
        at = parent.unwrap_or_default();
    }
    false
}

fn processes() -> Vec<i32> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Processes whose current folder is `dir`.
pub fn working_in(dir: &Path) -> Vec<i32> {
    let in_dir = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir);
    processes().into_iter().filter(in_dir).collect()
}

/// SIGKILL for a list of processes.
pub fn end(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn cgroup_roots() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut roots = vec![base.join("kubepods")];
    if let Ok(dir) = fs::read_dir(base) {
        roots.extend(dir.flatten().map(|entry| entry.path().join("kubepods")));
    }
    roots.retain(|path| path.is_dir());
    roots
}

fn subfolders(root: &Path, found: &mut Vec<PathBuf>) {
    if let Ok(dir) = fs::read_dir(root) {
        for entry in dir.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            subfolders(&entry.path(), found);
        }
    }
    found.push(root.to_path_buf());
}

fn container_processes(run_dir: &Path) -> Vec<i32> {
    let mut folders = Vec::new();
    for root in cgroup_roots() {
        subfolders(&root, &mut folders);
    }
    let mut pids: Vec<i32> = folders
        .iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .collect();
    let socket = run_dir.join("containerd.sock").display().to_string();
    pids.extend(processes().into_iter().filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        args.first().is_some_and(|program| program.ends_with(b"containerd-shim-runc-v2"))
            && args.contains(&socket.as_bytes())
    }));
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn end_containers(run_dir: &Path) -> Result<()> {
    let pids = container_processes(run_dir);
    if pids.is_empty() {
        return Ok(());
    }
    ui::say("machine", format!("ending {} processes of containers", pids.len()));
    run::wait_for("machine", "the containers' end", Duration::from_secs(30), || {
        let pids = container_processes(run_dir);
        end(&pids);
        pids.is_empty()
    })
}

/// Unmounts everything below the environment's folders, the newest first.
fn unmount(data: &Path, run_dir: &Path) -> Result<()> {
    for _ in 0..5 {
        let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
        let mut points: Vec<PathBuf> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(|point| PathBuf::from(point.replace("\\040", " ")))
            .filter(|point| point.starts_with(data) || point.starts_with(run_dir))
            .collect();
        if points.is_empty() {
            return Ok(());
        }
        points.reverse();
        for point in &points {
            if !run::succeeds(Command::new("umount").arg(point)) {
                run::succeeds(Command::new("umount").arg("-l").arg(point));
            }
        }
    }
    bail!("mounts below {} cannot be removed", data.display())
}

/// Removes the named network namespaces whose pods had an address of ours.
fn namespaces() -> Result<()> {
    let Ok(dir) = fs::read_dir("/run/netns") else { return Ok(()) };
    for entry in dir.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("cni-") {
            continue;
        }
        let addresses = Command::new("ip").args(["-n", &name, "-br", "-4", "addr"]).output();
        let text = addresses.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
        // Without an address: half made, or its mount is gone already.
        let foreign = text
            .lines()
            .any(|line| !line.starts_with("lo") && line.contains('.') && !line.contains(" 10.244."));
        if !foreign {
            run::succeeds(Command::new("umount").arg(entry.path()));
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Rewrites a family's rules without the chains of Kubernetes and of our network.
fn chains(family: &str) -> Result<()> {
    let Ok(rules) = run::output(&mut Command::new(format!("{family}-save"))) else { return Ok(()) };
    let kept = without_ours(&rules);
    if kept == rules {
        return Ok(());
    }
    ui::say("machine", format!("removing {family} chains"));
    run::with_input(&mut Command::new(format!("{family}-restore")), &(kept + "\n")).map(drop)
}

fn without_ours(rules: &str) -> String {
    let network = format!("name: \\\"{NETWORK}\\\"");
    let ours: Vec<&str> = rules
        .lines()
        .filter(|line| line.contains(&network))
        .flat_map(|line| line.split(' ').filter(|word| word.starts_with("CNI-")))
        .collect();
    let gone = |line: &str| {
        let chain = line.trim_start_matches(':').split(' ').find(|word| word.starts_with("CNI-"));
        let own = [REFUSED, "KUBE-", &network].iter().any(|mark| line.contains(mark));
        own || chain.is_some_and(|chain| ours.contains(&chain))
    };
    rules.lines().filter(|line| !gone(line)).collect::<Vec<_>>().join("\n")
}

fn cgroups() {
    for _ in 0..20 {
        let mut folders = Vec::new();
        for root in cgroup_roots() {
            subfolders(&root, &mut folders);
        }
        if folders.is_empty() {
            return;
        }
        for folder in folders {
            let _ = fs::remove_dir(folder);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rules_stay() {
        let rules = "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:CNI-aa - [0:0]\n:CNI-bb - [0:0]\n\
                     -A POSTROUTING -m comment --comment \"name: \\\"pods-dev\\\" id: \\\"x\\\"\" -j CNI-aa\n\
                     -A CNI-aa -d 10.0.0.0/8 -j ACCEPT\n-A POSTROUTING -j KUBE-POSTROUTING\n\
                     -A POSTROUTING -m comment --comment \"name: \\\"podman\\\"\" -j CNI-bb\n-A CNI-bb -j ACCEPT\nCOMMIT\n\
                     -A OUTPUT -d 10.96.0.0/16 -m comment --comment \"pods-dev services\" -j REJECT";
        let kept = without_ours(rules);
        assert_eq!(
            kept,
            "*nat\n:POSTROUTING ACCEPT [0:0]\n:CNI-bb - [0:0]\n\
             -A POSTROUTING -m comment --comment \"name: \\\"podman\\\"\" -j CNI-bb\n-A CNI-bb -j ACCEPT\nCOMMIT"
        );
    }
}
