//! The configuration files of a profile.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Profile, Shared, TENANTS, namespace::SERVICE_ACCOUNT, text};
use crate::infra::{images, kube::GATEWAY, random_word};
use crate::proc::{write_atomically, write_if_changed};
use crate::run;

/// People of the development platform; the password is the name.
pub const USERS: &[&str] = &["alice", "bob", "carol", "dave"];

/// An allowed image of a registry that a test runs, and that does not have it.
const ABSENT_IMAGE: &str = "localhost:19099/nope";

/// Compute queues of the profile `test`: for GPUs that this machine has not, and for nodes that the fault tests play.
const TEST_QUEUES: &str = r#"
[[compute_queues]]
queue_name = "gpu"
gpu_resources = [{ activation_resource = "nvidia.com/gpu", max_gpu_request = 1 }]

[[compute_queues]]
queue_name = "scarce"
gpu_resources = [{ activation_resource = "faults.example/card", max_gpu_request = 1 }]

[[compute_queues]]
queue_name = "nowhere"
node_selector = "faults.example/node,nowhere"

[[compute_queues]]
queue_name = "played"
node_selector = "faults.example/node,played"
tolerations = [{ key = "faults.example/played", operator = "Exists" }]

[[compute_queues]]
queue_name = "full"
node_selector = "faults.example/node,full"
tolerations = [{ key = "faults.example/played", operator = "Exists" }]

[[compute_queues]]
queue_name = "cordoned"
node_selector = "faults.example/node,cordoned"
tolerations = [{ key = "faults.example/played", operator = "Exists" }]

[[compute_queues]]
queue_name = "silent"
node_selector = "faults.example/node,silent"
tolerations = [{ key = "faults.example/played", operator = "Exists" }]
"#;

/// What the pretended Kubernetes makes of a pod with the image `scripted/<name>`.
const SCENARIOS: &[&str] = &[
    "run",
    "run-1",
    "run-5",
    "run-30",
    "exit-0",
    "exit-1",
    "exit-3",
    "exit-0-after-5",
    "exit-1-after-5",
    "crash",
    "oom",
    "cannot-start",
    "create-error",
    "image-not-found",
    "image-denied",
    "image-unreachable",
    "image-invalid",
    "image-slow",
    "image-slow-5",
    "mount-failed",
    "sandbox-failed",
    "unschedulable-cpu",
    "unschedulable-gpu",
    "evicted-memory",
    "evicted-disk",
    "storage-limit",
    "preempted",
    "node-refused",
    "not-ready",
    "liveness",
    "startup-probe",
    "ignores-term",
    "stuck-terminating",
    "logs-1",
    "logs-10",
    "logs-1000",
    "slow-start-5",
    "quota",
    "denied",
    "invalid",
];

/// Writes `pods.toml` and `dev-tapis.toml`.
pub fn write(profile: &Profile, shared: &Shared) -> Result<()> {
    let password = secret(&profile.dir.join("service-password"))?;
    sealing_key(&key_file(profile))?;
    sealing_key(&session_key_file(profile))?;
    write_if_changed(&profile.config_file(), &pods(profile, shared, &password)?)?;
    write_if_changed(&dev_tapis_file(profile), &dev_tapis(profile, &password))
}

/// The configuration of the pretended platform.
pub fn dev_tapis_file(profile: &Profile) -> std::path::PathBuf {
    profile.dir.join("dev-tapis.toml")
}

/// The key that the profile's stored secrets are sealed with. It stays when the profile is erased: a database that was
/// given from outside stays too.
fn key_file(profile: &Profile) -> std::path::PathBuf {
    profile.dir.join("secrets.key")
}

/// The key that the sessions of visitors are sealed with.
fn session_key_file(profile: &Profile) -> std::path::PathBuf {
    profile.dir.join("sessions.key")
}

/// Makes the key once, readable for its owner only.
fn sealing_key(file: &Path) -> Result<()> {
    let place = || format!("cannot write {}", file.display());
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(place)?;
    }
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut created = match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::metadata(file)?.len() > 0 => {
            return Ok(());
        }
        // An earlier run was interrupted between creating the file and writing it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::OpenOptions::new().write(true).open(file).with_context(place)?
        }
        other => other.with_context(place)?,
    };
    let key = run::output(Command::new("openssl").args(["rand", "-base64", "32"]))?;
    created.write_all(key.trim().as_bytes()).with_context(place)
}

fn secret(file: &Path) -> Result<String> {
    if let Ok(found) = fs::read_to_string(file) {
        return Ok(found.trim().to_owned());
    }
    let word = random_word()?;
    write_atomically(file, &word)?;
    Ok(word)
}

/// The configuration file that all services share.
fn pods(profile: &Profile, shared: &Shared, password: &str) -> Result<String> {
    let sections = [
        "# Written by cargo xtask up. Any key can be overridden by PODS__SECTION__KEY in the environment.\n"
            .to_owned(),
        connections(profile, shared)?,
        platform(profile, password),
        processes(profile),
        starts(profile),
        network(shared),
        domains(profile),
    ];
    Ok(sections.join("\n"))
}

/// Where the stores and Kubernetes are.
fn connections(profile: &Profile, shared: &Shared) -> Result<String> {
    Ok(format!(
        r#"[service]
site_id = "dev"

[log]
format = "text"
filter = "info"

[database]
url = "{database}"
pool_size = 8

[nats]
url = "{nats}"
stream = "{stream}"

[kubernetes]
namespace = "{namespace}"
cluster_domain = "cluster.local"
"#,
        database = shared.database_url(&profile.database())?,
        nats = shared.nats_url(),
        stream = profile.stream(),
        namespace = profile.namespace(),
    ))
}

/// The pretended platform, and the key of stored secrets.
fn platform(profile: &Profile, password: &str) -> String {
    format!(
        r#"[tapis]
base_url = "{tapis}"
security_kernel_url = "{tapis}"
service_name = "pods"
service_tenant_id = "admin"
service_password = "{password}"

[secrets]
keys = [{{ id = "dev", file = {key:?} }}]

[logins]
keys = [{{ id = "dev", file = {session_key:?} }}]
"#,
        tapis = profile.local_url("dev-tapis"),
        key = text(&key_file(profile)),
        session_key = text(&session_key_file(profile)),
    )
}

/// Where each process listens. A second replica gets its address from its environment.
fn processes(profile: &Profile) -> String {
    format!(
        r#"[api]
bind = "{api}"
internal_bind = "{api_internal}"
pods_https_port = {https}
cors_allow_origins = ["http://localhost:3000"]

# Off: benches and fuzzing send thousands of requests a second.
[api.rate_limit]
per_second = 0

[edge]
bind = "{edge}"
api_url = "http://{api}"
self_url = "http://{edge}"
https_port = {https}
entry_point_http = "web"
entry_point_https = "websecure"
state_dir = {edge_state:?}
# It is the only replica.
peers = []

[spawner]
internal_bind = "{spawner}"

[health]
internal_bind = "{health}"
node_lost_after = "60s"
sweep_interval = "5s"
"#,
        api = profile.bind("api"),
        api_internal = profile.bind("api-internal"),
        edge = profile.bind("edge"),
        https = profile.port("websecure").number,
        edge_state = text(&profile.dir.join("edge")),
        spawner = profile.bind("spawner-internal"),
        health = profile.bind("health-internal"),
    )
}

/// How pods are started, and from which images.
fn starts(profile: &Profile) -> String {
    let mut names = images::ALLOWED.to_vec();
    let scripted: Vec<String> = SCENARIOS.iter().map(|name| format!("scripted/{name}")).collect();
    if profile.is_scripted() {
        names.extend(scripted.iter().map(String::as_str));
    }
    if profile.name == "test" {
        names.push(ABSENT_IMAGE);
    }
    let quoted = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    format!(
        r#"[spawn]
give_up_after = "20s"
image_pull_policy = "IfNotPresent"
termination_grace_seconds = 2
service_account = "{SERVICE_ACCOUNT}"

# The documented defaults ask for so much that seven pods fill a small machine.
[resources]
minimum_pod_cpu_val = 1
minimum_pod_mem_val = 1
default_pod_cpu_request = 1
default_pod_mem_request = 1

[images]
allow = [{images}]
main_tenants = [{main_tenants}]

[[compute_queues]]
queue_name = "default"
default = true
# No node of this machine has one: such a pod is accepted and waits.
gpu_resources = [{{ activation_resource = "nvidia.com/gpu", max_gpu_request = 1 }}]
{queues}"#,
        queues = if profile.name == "test" { TEST_QUEUES } else { "" },
        images = quoted(&names),
        main_tenants = quoted(TENANTS),
    )
}

/// Traefik and the DNS server run on this machine and are seen by pods at the bridge. In a cluster of the user's it is not
/// known where they are seen, and rules would shut them out.
fn network(shared: &Shared) -> String {
    match shared.cluster {
        Some(_) => format!(
            r#"
# The network of the development cluster does not enforce policies; they are written all the same.
[network_policy]
proxy = [{{ cidr = "{GATEWAY}/32" }}]
dns = [{{ cidr = "{GATEWAY}/32" }}]
"#
        ),
        None => "\n[network_policy]\nenabled = false\n".to_owned(),
    }
}

/// Tests prove domains with a DNS server of their own, and wait for the end of the time of grace.
fn domains(profile: &Profile) -> String {
    if !profile.has_dns() {
        return String::new();
    }
    format!(
        r#"
[domains]
servers = ["{}"]
timeout = "1s"
recheck = "2s"
grace = "30s"
"#,
        profile.bind("dns")
    )
}

fn dev_tapis(profile: &Profile, password: &str) -> String {
    let mut file = format!(
        "# Written by cargo xtask up. A stand-in for the Tapis platform, for development only.\n\
         bind = \"{}\"\nstate_dir = {:?}\nsite_id = \"dev\"\n",
        profile.bind("dev-tapis"),
        text(&profile.dir.join("dev-tapis")),
    );
    for tenant in TENANTS {
        file.push_str(&format!(
            "\n[[tenants]]\ntenant_id = \"{tenant}\"\nbase_url = \"{}\"\n",
            profile.base_url(tenant)
        ));
    }
    file.push_str(&format!(
        "\n[[tenants]]\ntenant_id = \"admin\"\nbase_url = \"{}\"\nadmin = true\n",
        profile.local_url("dev-tapis")
    ));
    for user in USERS {
        file.push_str(&format!("\n[[users]]\nusername = \"{user}\"\npassword = \"{user}\"\n"));
    }
    file.push_str("\n[[users]]\nusername = \"root\"\npassword = \"root\"\nroles = [\"pods_admin\"]\n");
    for service in ["pods", "files"] {
        let word = if service == "pods" { password } else { "files" };
        file.push_str(&format!("\n[[services]]\nname = \"{service}\"\npassword = \"{word}\"\n"));
    }
    file
}
