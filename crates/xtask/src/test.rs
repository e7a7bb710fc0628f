//! `test` and `bench`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::app::{Profile, build, services};
use crate::given::Given;
use crate::infra::{Infra, is_root};
use crate::paths::Ctx;
use crate::up::{self, Need};
use crate::{chaos, fuzz, packages, run, ui};

/// What went wrong so far, and the runner's summaries.
#[derive(Default)]
struct Report {
    failed: Vec<String>,
    summaries: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, result: Result<()>) {
        if let Err(error) = result {
            ui::say("test", format!("FAILED: {name}: {error:#}"));
            self.failed.push(name.to_owned());
        }
    }
}

/// Every check; `fast` leaves out what needs Kubernetes, `full` lets fault tests and fuzzer take their
/// long form.
pub fn test(ctx: &Ctx, fast: bool, full: bool) -> Result<()> {
    let mut report = Report::default();
    let tools = cargo_tools(ctx)?;
    statics(ctx, &tools, &mut report);
    let before = running(ctx)?;
    let tested = suites(ctx, fast, full, &mut report);
    report.step("suites", tested);
    let tested_well = report.failed.is_empty();
    report.step("taking down what was started", put_back(ctx, &before, tested_well));
    println!();
    for summary in &report.summaries {
        println!("{summary}");
    }
    if report.failed.is_empty() {
        println!("all checks passed in {:.0} s", ui::elapsed());
        return Ok(());
    }
    println!("logs of the services: {}", Profile::new(ctx, "test")?.logs().display());
    bail!("failed: {}", report.failed.join(", "))
}

fn statics(ctx: &Ctx, tools: &CargoTools, report: &mut Report) {
    let mut step = |name: &str, command: &mut Command| {
        ui::say("test", name);
        let result = run::shown(command);
        report.step(name, result);
    };
    step("cargo fmt --check", build::cargo(ctx).args(["fmt", "--all", "--check"]));
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    step("cargo clippy", build::cargo(ctx).args(clippy));
    let doc = ["doc", "--workspace", "--no-deps", "--quiet"];
    step("cargo doc", build::cargo(ctx).env("RUSTDOCFLAGS", "-D warnings").args(doc));
    if tools.deny {
        let deny = ["deny", "--log-level", "error", "check", "bans", "licenses", "sources"];
        step("cargo deny", build::cargo(ctx).env("PATH", &tools.path).args(deny));
    } else {
        report.failed.push("cargo deny (could not be installed)".to_owned());
    }
}

fn suites(ctx: &Ctx, fast: bool, full: bool, report: &mut Report) -> Result<()> {
    let given = Given::read(ctx);
    let tools = cargo_tools(ctx)?;
    if is_root() && packages::is_debian() {
        packages::ensure(ctx, packages::TESTS)?;
    }
    let mut command = nextest(ctx, &tools);
    command.args(["--workspace", "--exclude", "integration-tests"]);
    up::with_shared(ctx, &given, Need::Stores, |shared| {
        shared.ensure_database("pods_unit")?;
        command.env("PODS_TEST_DATABASE_URL", shared.database_url("pods_unit")?);
        command.env("PODS_TEST_NATS_URL", shared.nats_url());
        command.env("PODS_TEST_NATS_SERVER", shared.tools.join("nats-server"));
        command.env("PODS_TEST_TRAEFIK", shared.tools.join("traefik"));
        Ok(())
    })?;
    ui::say("test", "unit and service tests");
    let result = summarised(&mut command, report);
    report.step("unit and service tests", result);
    if fast {
        ui::say("test", "--fast: the end-to-end suite was NOT run");
        return Ok(());
    }
    let python = packages::test_python(ctx)?;
    ui::say("test", format!("tapipy in {}", python.display()));
    packages::test_node(ctx)?;
    packages::fuzz_python(ctx)?;
    let profile = Profile::new(ctx, "test")?;
    let mut build = build::cargo(ctx);
    run::shown(build.args(["test", "--no-run", "--quiet", "-p", "integration-tests"]))?;
    up::with_shared(ctx, &given, Need::Everything, |shared| {
        // An earlier run may have been killed: the suite starts on empty stores.
        services::stop(&profile)?;
        services::erase(&profile, shared)?;
        build::services(ctx, &profile, false)?;
        services::up(ctx, &profile, shared)
    })?;
    ui::say("test", "end-to-end tests");
    let mut command = nextest(ctx, &tools);
    command.args(["-p", "integration-tests"]).env("PODS_TEST_ENV", profile.env_file());
    // The Rust client takes the machine's proxy, which is not for this machine's own ports.
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    if !full {
        ui::say(
            "test",
            "fault tests and fuzzer take their short form (`cargo xtask test --full` for the long one)",
        );
        command.env("PODS_FAULTS", "short");
    }
    let result = summarised(&mut command, report);
    report.step("end-to-end tests", result);
    let cases = if full { fuzz::FULL } else { fuzz::SHORT };
    let result =
        fuzz::api(ctx, &profile.env_file(), cases, None).map(|summary| report.summaries.push(summary));
    report.step("fuzz api", result);
    ui::say("test", "chaos, one minute");
    report.step("chaos", chaos::chaos(ctx, &chaos::Options::short()));
    Ok(())
}

fn nextest(ctx: &Ctx, tools: &CargoTools) -> Command {
    let mut command = build::cargo(ctx);
    command.env("PATH", &tools.path).args(["nextest", "run", "--no-fail-fast", "--no-tests", "pass"]);
    command
}

/// Runs nextest with its output on the terminal and keeps the summary.
fn summarised(command: &mut Command, report: &mut Report) -> Result<()> {
    let line = run::describe(command);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run `{line}`"))?;
    let stderr = child.stderr.take().context("no error output")?;
    let mut summary = false;
    for text in BufReader::new(stderr).lines() {
        let text = text?;
        eprintln!("{text}");
        summary = summary || text.trim_start().starts_with("Summary [");
        if summary {
            report.summaries.push(text);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Which programs ran before: what the tests start in addition is stopped afterwards.
pub struct Before {
    infra: bool,
    cluster: bool,
    dev: bool,
    test: bool,
    scripted: bool,
}

/// Looks which programs run.
pub fn running(ctx: &Ctx) -> Result<Before> {
    let infra = Infra::existing(ctx);
    let alive = |name: &str| {
        infra.as_ref().and_then(|infra| infra.procs.get(name)).is_some_and(|record| record.alive())
    };
    Ok(Before {
        infra: alive("postgres") || alive("nats"),
        cluster: alive("kubelet"),
        dev: services::running(&Profile::new(ctx, "dev")?),
        test: services::running(&Profile::new(ctx, "test")?),
        scripted: services::running(&Profile::new(ctx, "scripted")?),
    })
}

/// Takes down what was started; what failed tests left is kept to be looked at.
pub fn put_back(ctx: &Ctx, before: &Before, erase: bool) -> Result<()> {
    for (name, ran) in [("test", before.test), ("scripted", before.scripted)] {
        if !ran && services::running(&Profile::new(ctx, name)?) {
            up::down(ctx, Some(name), erase)?;
        }
    }
    if !before.infra && !before.cluster && !before.dev && !before.test && !before.scripted {
        up::down(ctx, None, false)?;
    }
    Ok(())
}

/// Cargo's own helpers, from the machine or from the cache.
#[derive(Clone, Debug)]
pub struct CargoTools {
    path: String,
    deny: bool,
}

/// Finds nextest and cargo-deny, installs them into the cache when they are absent.
pub fn cargo_tools(ctx: &Ctx) -> Result<CargoTools> {
    let root = ctx.cache.join("cargo-tools");
    let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let has = |name: &str| run::succeeds(Command::new("cargo").args([name, "--version"]).env("PATH", &path));
    let install = |name: &str| -> Result<()> {
        let log = root.join("install.log");
        let mut command = build::cargo(ctx);
        command.args(["install", "--locked", "--root"]).arg(&root).arg(name);
        command.env("CARGO_TARGET_DIR", ctx.cache.join("cargo-tools-target"));
        let result = run::logged("tools", &format!("cargo install {name}"), &log, &mut command);
        let _ = fs::remove_dir_all(ctx.cache.join("cargo-tools-target"));
        result
    };
    if !has("nextest") {
        install("cargo-nextest")?;
    }
    if !has("deny")
        && let Err(error) = install("cargo-deny")
    {
        ui::say("tools", format!("cargo-deny could not be installed: {error:#}"));
    }
    Ok(CargoTools { deny: has("deny"), path })
}

/// Runs a bench of `integration-tests` against the profile `test`, or `scripted` for those with thousands of pods, built
/// for release.
pub fn bench(ctx: &Ctx, name: &str, arguments: &[String]) -> Result<()> {
    let profile = Profile::new(ctx, if name == "steady" { "scripted" } else { "test" })?;
    let given = Given::read(ctx);
    let before = running(ctx)?;
    if name == "routing" {
        packages::ensure(ctx, packages::BENCH)?;
    }
    let mut build = build::cargo(ctx);
    run::shown(build.args(["build", "--release", "-p", "integration-tests", "--bin", "bench"]))?;
    let program: PathBuf = build::target_dir(ctx)?.join("release/bench");
    let result = up::with_shared(ctx, &given, Need::of(&profile), |shared| {
        build::services(ctx, &profile, true)?;
        services::up(ctx, &profile, shared)
    })
    .and_then(|()| run_bench(&program, &profile, name, arguments));
    put_back(ctx, &before, true)?;
    result
}

fn run_bench(program: &Path, profile: &Profile, name: &str, arguments: &[String]) -> Result<()> {
    run::shown(Command::new(program).arg(name).args(arguments).env("PODS_TEST_ENV", profile.env_file()))
}
