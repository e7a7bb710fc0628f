//! Starting and stopping the services of a profile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Profile, Shared, config, envfile, namespace, traefik};
use crate::paths::Ctx;
use crate::proc::{Ready, Spec};
use crate::ready::http_code;
use crate::{jetstream, run, ui};

/// Programs of a profile in the order of their start.
pub const NAMES: &[&str] = &["dev-tapis", "pods-api", "pods-edge", "pods-spawner", "pods-health", "traefik"];

/// Brings a profile's programs up on shared parts that run.
pub fn up(ctx: &Ctx, profile: &Profile, shared: &Shared) -> Result<()> {
    let bin = profile.dir.join("bin");
    shared.ensure_database(&profile.database())?;
    config::write(profile, shared)?;
    let access = namespace::ensure(profile, shared)?;
    fs::create_dir_all(profile.dir.join("edge"))?;

    let tapis_config = config::dev_tapis_file(profile);
    let tapis = Spec::new("dev-tapis", &profile.logs(), [program(&bin, "dev-tapis"), "serve".into()])
        .args(&["--config", &tapis_config.display().to_string()])
        .ready(Ready::Http(format!("{}/v3/tenants", profile.local_url("dev-tapis"))))
        .port(&profile.port("dev-tapis"))
        .depends_on(&[&bin.join("dev-tapis"), &tapis_config]);
    profile.procs.ensure(&tapis)?;

    ui::say("migrate", "database schema");
    let mut migrate = Command::new(bin.join("pods-api"));
    migrate.arg("migrate").env("PODS_CONFIG", profile.config_file());
    run::quiet(&mut migrate).context("pods-api migrate")?;

    ui::say("seed", "standard templates");
    let mut seed = Command::new(bin.join("pods-api"));
    seed.arg("seed").env("PODS_CONFIG", profile.config_file());
    for folder in ["templates", "templates/dev"] {
        seed.arg("--dir").arg(ctx.root.join(folder));
    }
    run::quiet(&mut seed).context("pods-api seed")?;

    let service = |name: &str, file: &str, args: &[&str], ports: &[&str], ready: String| {
        let mut spec = Spec::new(name, &profile.logs(), [program(&bin, file)])
            .args(args)
            .env("PODS_CONFIG", profile.config_file().display().to_string())
            .ready(Ready::Http(ready))
            .depends_on(&[&bin.join(file), &profile.config_file()]);
        for port in ports {
            spec = spec.port(&profile.port(port));
        }
        spec
    };
    let ready = |port: &str, path: &str| format!("{}{path}", profile.local_url(port));
    let specs = [
        service(
            "pods-api",
            "pods-api",
            &["serve"],
            &["api", "api-internal"],
            ready("api-internal", "/readyz"),
        ),
        service("pods-edge", "pods-api", &["edge"], &["edge"], ready("edge", "/healthz")),
        service(
            "pods-spawner",
            "pods-spawner",
            &[],
            &["spawner-internal"],
            ready("spawner-internal", "/readyz"),
        )
        .env("KUBECONFIG", access.spawner.display().to_string()),
        service("pods-health", "pods-health", &[], &["health-internal"], ready("health-internal", "/readyz"))
            .env("KUBECONFIG", access.health.display().to_string()),
        traefik::spec(ctx, profile, shared)?,
    ];
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
    let web = profile.port("web").number;
    run::wait_for("traefik", "routes to the platform and to the API", Duration::from_secs(30), || {
        // Without a token the API says 401; before it has a route, the catch-all or Traefik says 404.
        [("tenants", 200), ("pods", 401)]
            .iter()
            .all(|(path, code)| http_code(&format!("http://dev.localhost:{web}/v3/{path}")) == Some(*code))
    })?;
    ui::say(&profile.name, format!("serves on {}", profile.base_url("dev")));
    Ok(())
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
    namespace::remove(profile, shared)?;
    shared.drop_database(&profile.database())?;
    jetstream::delete_stream(&shared.nats_url(), &profile.stream())?;
    for part in ["edge", "dev-tapis", "log", "proc"] {
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
