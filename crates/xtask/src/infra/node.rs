//! The node of the local Kubernetes: bridge, containerd, kubelet, kube-proxy, cluster DNS.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::kube::{Cluster, GATEWAY, NODE, POD_NETWORK, SERVICES};
use super::{host, images};
use crate::proc::{Ready, Spec, write_if_changed};
use crate::{ports, run, ui};

/// The bridge that joins the pods.
pub const BRIDGE: &str = "pods-dev0";
/// Name of the CNI network: its firewall rules and cached results carry it.
pub const NETWORK: &str = "pods-dev";

/// Comment of the firewall rules that belong to no program.
pub const REFUSED: &str = "pods-dev services";

/// Starts everything that a node has, in the order in which one part needs the other.
pub fn ensure(cluster: &Cluster, xtask: &Path) -> Result<()> {
    bridge()?;
    refuse_unknown_services()?;
    containerd(cluster)?;
    images::ensure(cluster.infra)?;
    proxy(cluster)?;
    dns(cluster, xtask)?;
    kubelet(cluster)
}

fn bridge() -> Result<()> {
    if !Path::new("/sys/class/net").join(BRIDGE).exists() {
        ui::say("network", format!("bridge {BRIDGE} with {GATEWAY}"));
        run::quiet(Command::new("ip").args(["link", "add", BRIDGE, "type", "bridge"]))?;
    }
    run::quiet(Command::new("ip").args(["addr", "replace", &format!("{GATEWAY}/22"), "dev", BRIDGE]))?;
    run::quiet(Command::new("ip").args(["link", "set", BRIDGE, "up"]))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on IP forwarding")
}

/// kube-proxy has translated the addresses of the Services that it knows when these rules are asked. Without them a
/// connection to one that it does not know yet would leave the machine, and whatever is out there may answer it.
fn refuse_unknown_services() -> Result<()> {
    for chain in ["OUTPUT", "FORWARD"] {
        let rule = [chain, "-d", SERVICES, "-m", "comment", "--comment", REFUSED, "-j", "REJECT"];
        let iptables = |action: &str| {
            let mut command = Command::new("iptables");
            command.args(["-w", "10", action]).args(rule);
            command
        };
        if !run::succeeds(&mut iptables("-C")) {
            run::quiet(&mut iptables("-I"))?;
        }
    }
    Ok(())
}

/// containerd's socket.
pub fn socket(infra: &super::Infra) -> std::path::PathBuf {
    infra.state.run.join("containerd.sock")
}

fn containerd(cluster: &Cluster) -> Result<()> {
    let infra = cluster.infra;
    let (data, run_dir) = (infra.state.data.join("containerd"), infra.state.run.join("containerd"));
    let cni = infra.dir.join("cni");
    let network = format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "{NETWORK}",
  "plugins": [{{
    "type": "bridge", "bridge": "{BRIDGE}", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": {{
      "type": "host-local", "dataDir": "{}",
      "ranges": [[{{ "subnet": "{POD_NETWORK}", "gateway": "{GATEWAY}" }}]],
      "routes": [{{ "dst": "0.0.0.0/0" }}]
    }}
  }}]
}}
"#,
        infra.state.run.join("addresses").display()
    );
    write_if_changed(&cni.join("10-pods-dev.conflist"), &network)?;
    let config = infra.dir.join("containerd.toml");
    let text = format!(
        r#"# Written by cargo xtask up.
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  max_concurrent_downloads = 3
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#,
        root = data.display(),
        state = run_dir.display(),
        socket = socket(infra).display(),
        pause = images::PAUSE,
        cni = cni.display(),
    );
    write_if_changed(&config, &text)?;
    let spec = cluster
        .spec("containerd", Path::new("/usr/bin/containerd"))
        .args(&["--config", &config.display().to_string(), "--log-level", "warn"])
        .ready(Ready::File(socket(infra)))
        .depends_on(&[&config]);
    infra.procs.ensure(&spec)?;
    run::wait_for("containerd", "an answer", std::time::Duration::from_secs(30), || {
        run::succeeds(images::ctr(infra).args(["version"]))
    })
}

fn kubelet(cluster: &Cluster) -> Result<()> {
    let infra = cluster.infra;
    let root = infra.state.data.join("kubelet");
    fs::create_dir_all(root.join("plugins"))?;
    let serving = cluster.kubelet_serving()?;
    let (port, healthz) = (ports::infra("kubelet"), ports::infra("kubelet-healthz"));
    let driver = "cgroupfs";
    let config = infra.dir.join("kubelet.yaml");
    let text = format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {GATEWAY}
port: {port}
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: {healthz}
tlsCertFile: {cert}
tlsPrivateKeyFile: {key}
authentication:
  anonymous: {{ enabled: false }}
  webhook: {{ enabled: true }}
  x509: {{ clientCAFile: {ca} }}
authorization: {{ mode: Webhook }}
cgroupDriver: {driver}
failSwapOn: false
clusterDNS: ["{GATEWAY}"]
clusterDomain: cluster.local
resolvConf: ""
maxPods: 500
serializeImagePulls: false
registryPullQPS: 0
registryBurst: 1000
eventRecordQPS: 50
eventBurst: 100
kubeAPIQPS: 50
kubeAPIBurst: 100
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
volumePluginDir: {plugins}
nodeStatusUpdateFrequency: 5s
evictionHard:
  memory.available: "0%"
  nodefs.available: "0%"
  nodefs.inodesFree: "0%"
  imagefs.available: "0%"
"#,
        port = port.number,
        healthz = healthz.number,
        cert = serving.cert.display(),
        key = serving.key.display(),
        ca = cluster.authority.ca().display(),
        plugins = root.join("plugins/flex").display(),
    );
    write_if_changed(&config, &text)?;
    let kubeconfig = cluster.kubeconfig(&format!("system:node:{NODE}"), "system:nodes")?;
    let endpoint = format!("unix://{}", socket(infra).display());
    let spec = cluster
        .spec("kubelet", &cluster.bin.join("kubelet"))
        .args(&[&format!("--config={}", config.display()), &format!("--kubeconfig={}", kubeconfig.display())])
        .args(&["--container-runtime=remote", &format!("--container-runtime-endpoint={endpoint}")])
        .args(&[&format!("--node-ip={GATEWAY}"), &format!("--hostname-override={NODE}")])
        .args(&[
            &format!("--root-dir={}", root.display()),
            &format!("--cert-dir={}", root.join("pki").display()),
        ])
        .ready(Ready::Http(format!("http://127.0.0.1:{}/healthz", healthz.number)))
        .port(&port)
        .port(&healthz)
        .depends_on(&[&config]);
    infra.procs.ensure(&spec)
}

fn proxy(cluster: &Cluster) -> Result<()> {
    let (healthz, metrics) = (ports::infra("kube-proxy-healthz"), ports::infra("kube-proxy-metrics"));
    let kubeconfig = cluster.kubeconfig("system:kube-proxy", "")?;
    let spec = cluster
        .spec("kube-proxy", &cluster.bin.join("kube-proxy"))
        .args(&[&format!("--kubeconfig={}", kubeconfig.display()), "--proxy-mode=iptables"])
        .args(&["--conntrack-max-per-core=0", &format!("--hostname-override={NODE}")])
        // Pods share one bridge: without it a pod's answer to another pod would not pass the translation again.
        .args(&["--masquerade-all=true", "--iptables-min-sync-period=100ms"])
        .args(&[&format!("--healthz-bind-address=127.0.0.1:{}", healthz.number)])
        .args(&[&format!("--metrics-bind-address=127.0.0.1:{}", metrics.number)])
        .port(&healthz)
        .port(&metrics);
    cluster.infra.procs.ensure(&spec)
}

fn dns(cluster: &Cluster, xtask: &Path) -> Result<()> {
    let infra = cluster.infra;
    let hosts = infra.state.run.join("cluster-hosts");
    if !hosts.exists() {
        fs::write(&hosts, "")?;
    }
    let upstream = infra.dir.join("upstream-resolv.conf");
    fs::copy("/etc/resolv.conf", &upstream).context("cannot read /etc/resolv.conf")?;
    let spec = Spec::new("dnsmasq", &infra.logs(), ["/usr/sbin/dnsmasq"])
        .args(&[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--log-facility=-",
        ])
        .args(&[&format!("--listen-address={GATEWAY}"), "--bind-interfaces", "--port=53"])
        .args(&["--no-hosts", &format!("--addn-hosts={}", hosts.display()), "--local-ttl=0"])
        .args(&["--local=/cluster.local/", "--local=/svc/", "--domain-needed", "--bogus-priv"])
        .args(&[&format!("--resolv-file={}", upstream.display()), "--no-poll"])
        .ready(Ready::Tcp(format!("{GATEWAY}:53").parse().expect("a constant address")));
    infra.procs.ensure(&spec)?;
    let spec = Spec::new("dns-feed", &infra.logs(), [xtask.display().to_string()])
        .args(&["dns-feed", "--kubectl", &cluster.tools.join("kubectl").display().to_string()])
        .args(&["--kubeconfig", &cluster.admin()?.display().to_string()])
        .args(&["--hosts", &hosts.display().to_string()])
        .args(&["--pid-file", &infra.procs.pid_file("dnsmasq").display().to_string()]);
    infra.procs.ensure(&spec)
}

/// Stops the node's programs and takes away what they left on the machine.
pub fn remove(infra: &super::Infra) -> Result<()> {
    for name in ["kubelet", "kube-proxy", "dns-feed", "dnsmasq"] {
        infra.procs.stop(name)?;
    }
    host::clean(&infra.state.data, &infra.state.run)?;
    infra.procs.stop("containerd")?;
    // Shims end a little later than their containers and let go of mounts then.
    host::clean(&infra.state.data, &infra.state.run)
}
