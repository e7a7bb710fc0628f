//! The control plane of the local Kubernetes: etcd, API server, controller manager, scheduler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::Infra;
use super::pki::{Authority, Pair, rsa_pair};
use crate::proc::{Ready, Spec, write_if_changed};
use crate::{ports, run, ui};

/// Name of the only node.
pub const NODE: &str = "pods-dev";
/// Address of the bridge: the node, the gateway of the pods, the DNS server.
pub const GATEWAY: &str = "10.244.0.1";
/// Addresses of the pods, with room for 500 of them.
pub const POD_NETWORK: &str = "10.244.0.0/22";
/// Addresses of the Services.
pub const SERVICES: &str = "10.96.0.0/16";

/// The local cluster: where its programs and certificates are.
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    /// The shared layer it belongs to.
    pub infra: &'a Infra,
    /// Kubernetes' programs.
    pub bin: PathBuf,
    /// kubectl and friends.
    pub tools: PathBuf,
    /// Signs every certificate of the cluster.
    pub authority: Authority,
}

impl<'a> Cluster<'a> {
    /// Prepares certificates; starts nothing.
    pub fn open(infra: &'a Infra, bin: PathBuf, tools: &Path) -> Result<Self> {
        let authority = Authority::open(infra.dir.join("pki"), "pods-dev-kubernetes")?;
        Ok(Self { infra, bin, tools: tools.to_path_buf(), authority })
    }

    /// Address of the API server.
    pub fn server() -> String {
        format!("https://127.0.0.1:{}", ports::infra("kube-apiserver").number)
    }

    /// A kubeconfig for a user known by certificate; `group` may be empty.
    pub fn kubeconfig(&self, user: &str, group: &str) -> Result<PathBuf> {
        self.write_kubeconfig(user, group, &Self::server(), "")
    }

    /// The same for a user without a group, with another address that leads to the API server.
    pub fn kubeconfig_by_way_of(&self, user: &str, server: &str) -> Result<PathBuf> {
        self.write_kubeconfig(user, "", server, "-indirect")
    }

    fn write_kubeconfig(&self, user: &str, group: &str, server: &str, suffix: &str) -> Result<PathBuf> {
        let subject = if group.is_empty() { format!("/CN={user}") } else { format!("/O={group}/CN={user}") };
        let name = user.replace(':', "-");
        let pair = self.authority.issue(&format!("user-{name}"), &subject, &[])?;
        let file = self.infra.dir.join(format!("kubeconfig/{name}{suffix}.yaml"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: pods-dev\n\
             clusters:\n- name: pods-dev\n  cluster:\n    server: {}\n    certificate-authority: {}\n\
             users:\n- name: {user}\n  user:\n    client-certificate: {}\n    client-key: {}\n\
             contexts:\n- name: pods-dev\n  context:\n    cluster: pods-dev\n    user: {user}\n",
            server,
            self.authority.ca().display(),
            pair.cert.display(),
            pair.key.display(),
        );
        write_if_changed(&file, &text)?;
        Ok(file)
    }

    /// The administrator's kubeconfig.
    pub fn admin(&self) -> Result<PathBuf> {
        self.kubeconfig("admin", "system:masters")
    }

    /// `kubectl` as administrator.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(self.tools.join("kubectl"));
        command.arg("--kubeconfig").arg(self.admin()?);
        Ok(command)
    }

    /// Starts etcd and the API server, waits for them, then starts what works on them.
    pub fn control_plane(&self) -> Result<()> {
        self.etcd()?;
        ui::say("kubernetes", "waiting for the API server");
        self.api_server()?;
        self.controllers()
    }

    fn etcd(&self) -> Result<()> {
        let data = self.infra.state.data.join("etcd");
        fs::create_dir_all(&data)?;
        run::quiet(Command::new("chmod").arg("700").arg(&data))?;
        let (port, peer) = (ports::infra("etcd"), ports::infra("etcd-peer"));
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{}", port.number), format!("http://127.0.0.1:{}", peer.number));
        let spec = self
            .spec("etcd", Path::new("/usr/bin/etcd"))
            .args(&["--name", NODE, "--unsafe-no-fsync", "--logger=zap", "--log-level=warn"])
            .args(&[&format!("--data-dir={}", data.display())])
            .args(&[
                &format!("--listen-client-urls={client_url}"),
                &format!("--advertise-client-urls={client_url}"),
            ])
            .args(&[
                &format!("--listen-peer-urls={peer_url}"),
                &format!("--initial-advertise-peer-urls={peer_url}"),
            ])
            .args(&[&format!("--initial-cluster={NODE}={peer_url}"), "--auto-compaction-retention=1"])
            .ready(Ready::Http(format!("{client_url}/health")))
            .port(&port)
            .port(&peer);
        self.infra.procs.ensure(&spec)
    }

    fn api_server(&self) -> Result<()> {
        let port = ports::infra("kube-apiserver");
        let names = [
            "IP:127.0.0.1",
            "IP:10.96.0.1",
            &format!("IP:{GATEWAY}"),
            "DNS:localhost",
            "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned);
        let serving = self.authority.issue("apiserver", "/CN=kube-apiserver", &names)?;
        let kubelet = self.authority.issue("apiserver-kubelet", "/O=system:masters/CN=apiserver", &[])?;
        let (sa_key, sa_public) = rsa_pair(&self.infra.dir.join("pki"))?;
        let ca = self.authority.ca();
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let spec = self
            .spec("kube-apiserver", &self.bin.join("kube-apiserver"))
            .args(&[&format!("--etcd-servers=http://127.0.0.1:{}", ports::infra("etcd").number)])
            .args(&["--bind-address=127.0.0.1", &format!("--secure-port={}", port.number)])
            .args(&[
                &format!("--advertise-address={GATEWAY}"),
                &format!("--service-cluster-ip-range={SERVICES}"),
            ])
            .args(&[&file("tls-cert-file", &serving.cert), &file("tls-private-key-file", &serving.key)])
            .args(&[&file("client-ca-file", &ca), &file("kubelet-certificate-authority", &ca)])
            .args(&[
                &file("kubelet-client-certificate", &kubelet.cert),
                &file("kubelet-client-key", &kubelet.key),
            ])
            .args(&["--service-account-issuer=https://kubernetes.default.svc"])
            .args(&[&file("service-account-key-file", &sa_public)])
            .args(&[&file("service-account-signing-key-file", &sa_key)])
            .args(&["--authorization-mode=Node,RBAC", "--allow-privileged=true"])
            .args(&["--kubelet-preferred-address-types=InternalIP", "--event-ttl=30m"])
            .ready(Ready::Http(format!("{}/readyz", Self::server())))
            .port(&port);
        self.infra.procs.ensure(&spec)
    }

    fn controllers(&self) -> Result<()> {
        let (sa_key, _) = rsa_pair(&self.infra.dir.join("pki"))?;
        let manager = self.kubeconfig("system:kube-controller-manager", "")?;
        let spec = self
            .spec("kube-controller-manager", &self.bin.join("kube-controller-manager"))
            .args(&[&format!("--kubeconfig={}", manager.display()), "--leader-elect=false"])
            .args(&[&format!("--service-account-private-key-file={}", sa_key.display())])
            .args(&[&format!("--root-ca-file={}", self.authority.ca().display())])
            .args(&["--use-service-account-credentials=true", "--port=0", "--secure-port=0"])
            .args(&["--allocate-node-cidrs=false", "--node-monitor-grace-period=20s"]);
        self.infra.procs.ensure(&spec)?;
        let scheduler = self.kubeconfig("system:kube-scheduler", "")?;
        let spec = self
            .spec("kube-scheduler", &self.bin.join("kube-scheduler"))
            .args(&[&format!("--kubeconfig={}", scheduler.display()), "--leader-elect=false"])
            .args(&["--port=0", "--secure-port=0"]);
        self.infra.procs.ensure(&spec)
    }

    /// Certificate of the kubelet's own server.
    pub fn kubelet_serving(&self) -> Result<Pair> {
        self.authority.issue(
            "kubelet",
            &format!("/CN={NODE}"),
            &[format!("IP:{GATEWAY}"), format!("DNS:{NODE}")],
        )
    }

    /// A program of the cluster, restarted when its file changes.
    pub fn spec(&self, name: &str, program: &Path) -> Spec {
        Spec::new(name, &self.infra.logs(), [program.display().to_string()]).depends_on(&[program])
    }

    /// Waits until the node takes pods.
    pub fn wait_node(&self) -> Result<()> {
        run::wait_for("kubernetes", "the node to be Ready", Duration::from_secs(90), || {
            let Ok(mut kubectl) = self.kubectl() else { return false };
            let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            run::output(kubectl.args(["get", "node", NODE, "-o", path])).is_ok_and(|status| status == "True")
        })
    }
}
