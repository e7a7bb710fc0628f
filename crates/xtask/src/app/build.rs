//! Compiles the services and keeps a copy of them beside the profile.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Profile;
use crate::paths::Ctx;
use crate::proc::fingerprint;
use crate::{run, ui};

/// The programs of the application layer.
pub const PROGRAMS: &[&str] = &["pods-api", "pods-spawner", "pods-health", "dev-tapis"];
/// What the profile `scripted` has in addition.
const SCRIPTED: &[&str] = &["scripted-kube"];

/// A `cargo` that does not see what the outer cargo told this program.
pub fn cargo(ctx: &Ctx) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_BIN_")
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(&ctx.root);
    command
}

/// Where cargo puts what it builds.
pub fn target_dir(ctx: &Ctx) -> Result<PathBuf> {
    let out = run::output(cargo(ctx).args(["metadata", "--format-version", "1", "--no-deps", "--offline"]))?;
    let value: serde_json::Value = serde_json::from_str(&out).context("cargo metadata is unreadable")?;
    value["target_directory"].as_str().map(PathBuf::from).context("cargo metadata names no target folder")
}

/// Builds the programs of a profile and copies them beside it.
pub fn services(ctx: &Ctx, profile: &Profile, release: bool) -> Result<()> {
    let into = profile.dir.join("bin");
    let mut build = cargo(ctx);
    build.arg("build");
    // Always the same packages: with another choice their dependencies have other features, and nearly everything would
    // be compiled anew whenever the profile changes.
    for name in PROGRAMS.iter().chain(SCRIPTED) {
        build.args(["-p", name]);
    }
    if release {
        build.arg("--release");
    }
    ui::say("services", "cargo build (the first time takes some minutes)");
    run::shown(&mut build)?;
    let from = target_dir(ctx)?.join(if release { "release" } else { "debug" });
    fs::create_dir_all(&into)?;
    let names = PROGRAMS.iter().chain(SCRIPTED.iter().filter(|_| profile.is_scripted()));
    for name in names {
        let (source, copy) = (from.join(name), into.join(name));
        let stamp = into.join(format!("{name}.from"));
        let now = format!("{} {}", source.display(), fingerprint(&source));
        if copy.exists() && fs::read_to_string(&stamp).is_ok_and(|before| before == now) {
            continue;
        }
        // A copy, not the original: a later build must not change what a restarted service runs.
        let part = into.join(format!("{name}.part"));
        fs::copy(&source, &part).with_context(|| format!("no program {}", source.display()))?;
        fs::rename(&part, &copy)?;
        fs::write(&stamp, now)?;
    }
    Ok(())
}
