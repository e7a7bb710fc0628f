//! Starting and stopping the services of a profile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::namespace::Access;
use super::{DNSMASQ, Profile, Shared, config, envfile, namespace, traefik};
use crate::paths::Ctx;
use crate::proc::{Ready, Spec};
use crate::ready::http_code;
use crate::{jetstream, run, ui};

/// How many of spawner and health run.
pub const REPLICAS: usize = 2;

/// The pretended Kubernetes of the profile `scripted`.
const SCRIPTED: &str = "scripted-kube";

/// The DNS server that health asks about custom domains in the profile `test`.
const DNS: &str = "pods-dns";

/// Programs of a profile in the order of their start.
pub const NAMES: &[&str] = &[
    SCRIPTED,
    "dev-tapis",
    "pods-api",
    "pods-edge",
    DNS,
    "pods-spawner",
    "pods-spawner-2",
    "pods-health",
    "pods-health-2",
    "traefik",
];

/// Name of a replica, or of what belongs to it: the first has the plain name, the second ends in `-2`.
pub fn replica(name: &str, number: usize) -> String {
    if number == 1 { name.to_owned() } else { format!("{name}-{number}") }
}

/// Brings a profile's programs up on shared parts that run.
pub fn up(ctx: &Ctx, profile: &Profile, shared: &Shared) -> Result<()> {
    shared.ensure_database(&profile.database())?;
    config::write(profile, shared)?;
    let access = if profile.is_scripted() {
        profile.procs.ensure(&scripted_kube(profile))?;
        let kubeconfig = profile.scripted_kubeconfig();
        Access { spawner: kubeconfig.clone(), health: kubeconfig.clone(), api: kubeconfig }
    } else {
        namespace::ensure(profile, shared)?
    };
    fs::create_dir_all(profile.dir.join("edge"))?;
    profile.procs.ensure(&dev_tapis(profile))?;
    prepare_database(ctx, profile)?;

    let mut specs = services(profile, &access);
    if profile.has_dns() {
        fs::create_dir_all(profile.dns_dir())?;
        specs.insert(0, dns(profile));
    }
    if !profile.is_scripted() {
        specs.push(traefik::spec(ctx, profile, shared)?);
    }
    let mut failures = Vec::new();
    for spec in &specs {
        match profile.procs.ensure(spec) {
            Ok(()) => ui::say(&spec.name, "serves"),
            Err(error) => failures.push(error),
        }
    }
    envfile::write(ctx, profile, shared)?;
    if let Some(error) = failures.into_iter().reduce(|first, next| first.context(format!("{next:#}"))) {
        return Err(error.context(format!("profile {} is not complete", profile.name)));
    }
    await_routes(profile)?;
    ui::say(&profile.name, format!("serves on {}", profile.base_url("dev")));
    Ok(())
}

/// The pretended platform.
fn dev_tapis(profile: &Profile) -> Spec {
    let bin = profile.dir.join("bin");
    let config = config::dev_tapis_file(profile);
    Spec::new("dev-tapis", &profile.logs(), [program(&bin, "dev-tapis"), "serve".into()])
        .args(&["--config", &config.display().to_string()])
        .ready(Ready::Http(format!("{}/v3/tenants", profile.local_url("dev-tapis"))))
        .port(&profile.port("dev-tapis"))
        .depends_on(&[&bin.join("dev-tapis"), &config])
}

/// The pretended Kubernetes. What it holds ends with it.
fn scripted_kube(profile: &Profile) -> Spec {
    let bin = profile.dir.join("bin");
    Spec::new(SCRIPTED, &profile.logs(), [program(&bin, SCRIPTED)])
        .args(&["--listen", &profile.bind(SCRIPTED), "--namespace", &profile.namespace()])
        .args(&["--kubeconfig", &profile.scripted_kubeconfig().display().to_string()])
        .ready(Ready::Http(format!("{}/readyz", profile.local_url(SCRIPTED))))
        .port(&profile.port(SCRIPTED))
        .depends_on(&[&bin.join(SCRIPTED)])
}

/// Says what the files in its folder say, and that there is nothing else. It reads them when it starts.
fn dns(profile: &Profile) -> Spec {
    let port = profile.port("dns");
    Spec::new(DNS, &profile.logs(), [DNSMASQ])
        .args(&["--keep-in-foreground", "--pid-file=", "--user=root", "--log-facility=-", "--no-hosts"])
        .args(&["--conf-file=/dev/null", &format!("--conf-dir={},*.conf", profile.dns_dir().display())])
        .args(&["--listen-address=127.0.0.1", "--bind-interfaces", &format!("--port={}", port.number)])
        .args(&["--no-resolv", "--address=/#/"])
        .ready(Ready::Tcp(([127, 0, 0, 1], port.number).into()))
        .port(&port)
}

/// Schema and standard templates.
fn prepare_database(ctx: &Ctx, profile: &Profile) -> Result<()> {
    let api = profile.dir.join("bin/pods-api");
    ui::say("migrate", "database schema");
    let mut migrate = Command::new(&api);
    migrate.arg("migrate").env("PODS_CONFIG", profile.config_file());
    run::quiet(&mut migrate).context("pods-api migrate")?;

    ui::say("seed", "standard templates");
    let mut seed = Command::new(&api);
    seed.arg("seed").env("PODS_CONFIG", profile.config_file());
    for folder in ["templates", "templates/dev"] {
        seed.arg("--dir").arg(ctx.root.join(folder));
    }
    run::quiet(&mut seed).context("pods-api seed")
}

/// The product's own processes.
fn services(profile: &Profile, access: &Access) -> Vec<Spec> {
    let api = service(profile, "pods-api", "pods-api", &["api-internal", "api"], "/readyz")
        .env("KUBECONFIG", access.api.display().to_string());
    let mut specs = vec![api.args(&["serve"])];
    if !profile.is_scripted() {
        specs.push(service(profile, "pods-edge", "pods-api", &["edge"], "/healthz").args(&["edge"]));
    }
    for (program, port, kubeconfig) in [
        ("pods-spawner", "spawner-internal", &access.spawner),
        ("pods-health", "health-internal", &access.health),
    ] {
        for number in 1..=REPLICAS {
            let port = replica(port, number);
            let spec = service(profile, &replica(program, number), program, &[&port], "/readyz")
                .env("KUBECONFIG", kubeconfig.display().to_string());
            // The configuration file has the address of the first.
            let section = program.trim_start_matches("pods-").to_uppercase();
            let bind = format!("PODS__{section}__INTERNAL_BIND");
            specs.push(if number == 1 { spec } else { spec.env(&bind, profile.bind(&port)) });
        }
    }
    specs
}

/// A process of the product; the first of its ports says whether it is ready.
fn service(profile: &Profile, name: &str, file: &str, ports: &[&str], ready: &str) -> Spec {
    let bin = profile.dir.join("bin");
    let spec = Spec::new(name, &profile.logs(), [program(&bin, file)])
        .env("PODS_CONFIG", profile.config_file().display().to_string())
        .ready(Ready::Http(format!("{}{ready}", profile.local_url(ports[0]))))
        .depends_on(&[&bin.join(file), &profile.config_file()]);
    ports.iter().fold(spec, |spec, port| spec.port(&profile.port(port)))
}

fn await_routes(profile: &Profile) -> Result<()> {
    let base = profile.base_url("dev");
    // Without a token the API says 401; before it has a route, the catch-all or Traefik says 404.
    let paths: &[(&str, u16)] = &[("pods", 401), ("tenants", 200)];
    // The pretended platform is behind Traefik only.
    let paths = if profile.is_scripted() { &paths[..1] } else { paths };
    run::wait_for(&profile.name, "routes to the platform and to the API", Duration::from_secs(30), || {
        paths.iter().all(|(path, code)| http_code(&format!("{base}/v3/{path}")) == Some(*code))
    })
}

fn program(bin: &Path, name: &str) -> String {
    bin.join(name).display().to_string()
}

/// Stops the services of a profile, the last started first.
pub fn stop(profile: &Profile) -> Result<()> {
    for name in NAMES.iter().rev() {
        profile.procs.stop(name)?;
    }
    Ok(())
}

/// Is any program of the profile running?
pub fn running(profile: &Profile) -> bool {
    profile.procs.all().iter().any(crate::proc::Record::alive)
}

/// Deletes what a stopped profile keeps in the shared parts and in its folder.
pub fn erase(profile: &Profile, shared: &Shared) -> Result<()> {
    ui::say(&profile.name, "deleting its namespace, database, stream and files");
    if !profile.is_scripted() {
        namespace::remove(profile, shared)?;
    }
    shared.drop_database(&profile.database())?;
    jetstream::delete_stream(&shared.nats_url(), &profile.stream())?;
    for part in ["dns", "edge", "dev-tapis", "log", "proc"] {
        let _ = fs::remove_dir_all(profile.dir.join(part));
    }
    Ok(())
}

/// A token of the pretended platform, alone on a line.
pub fn token(profile: &Profile, args: &[String]) -> Result<String> {
    let tool = profile.dir.join("bin/dev-tapis");
    if !tool.exists() {
        anyhow::bail!("profile {} was never started here: `cargo xtask up` first", profile.name);
    }
    run::output(
        Command::new(tool).arg("token").arg("--config").arg(config::dev_tapis_file(profile)).args(args),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_have_names_of_their_own_and_are_stopped() {
        for program in ["pods-spawner", "pods-health"] {
            for number in 1..=REPLICAS {
                assert!(NAMES.contains(&replica(program, number).as_str()), "{program} {number}");
            }
        }
        assert_eq!(replica("pods-health", 2), "pods-health-2");
    }
}
