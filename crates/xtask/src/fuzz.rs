//! `fuzz api`: generated requests against the API of the profile `test`. `fuzz routing`: generated pod definitions against
//! Traefik alone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::app::{Profile, build, services};
use crate::given::Given;
use crate::paths::Ctx;
use crate::up::{self, Need};
use crate::{packages, run, test, ui};

/// Requests of the full form.
pub const FULL: u32 = 20_000;

/// Requests of the form that takes about a minute.
pub const SHORT: u32 = 3_000;

/// Pod definitions of the long form.
const DEFINITIONS: u32 = 100_000;

/// Fuzzes what has this name.
pub fn fuzz(ctx: &Ctx, name: &str, cases: Option<u32>, seed: Option<u32>) -> Result<()> {
    match name {
        "api" => profile_api(ctx, cases, seed),
        "routing" => routing(ctx, cases.unwrap_or(DEFINITIONS), seed_or_now(seed)),
        _ => bail!("nothing of the name {name} can be fuzzed: `cargo xtask fuzz api` or `routing`"),
    }
}

/// Needs nothing that runs: Traefik is started for it.
fn routing(ctx: &Ctx, cases: u32, seed: u32) -> Result<()> {
    let traefik = packages::tools(ctx)?.join("traefik");
    run::shown(build::cargo(ctx).args(["build", "-p", "integration-tests", "--bin", "fuzz-routing"]))?;
    ui::say("fuzz", format!("{cases} definitions, seed {seed}"));
    let (cases, seed) = (format!("--cases={cases}"), format!("--seed={seed}"));
    let program = build::target_dir(ctx)?.join("debug/fuzz-routing");
    run::shown(Command::new(program).args([cases, seed]).env("PODS_TEST_TRAEFIK", traefik))
}

/// Brings the profile `test` up, fuzzes, and takes down what it started.
fn profile_api(ctx: &Ctx, cases: Option<u32>, seed: Option<u32>) -> Result<()> {
    let profile = Profile::new(ctx, "test")?;
    let before = test::running(ctx)?;
    let result = up::with_shared(ctx, &Given::read(ctx), Need::Everything, |shared| {
        build::services(ctx, &profile, false)?;
        services::up(ctx, &profile, shared)
    })
    .and_then(|()| api(ctx, &profile.env_file(), cases.unwrap_or(FULL), seed));
    test::put_back(ctx, &before, true)?;
    result.map(drop)
}

/// Fuzzes the API of a running environment; answers the line that says what was done. Without a seed each run takes
/// another one, and says which.
pub fn api(ctx: &Ctx, env_file: &Path, cases: u32, seed: Option<u32>) -> Result<String> {
    let python = packages::fuzz_python(ctx)?.join("python");
    let seed = seed_or_now(seed);
    ui::say("fuzz", format!("{cases} requests, seed {seed}"));
    let mut child = Command::new(python)
        .arg("-u")
        .arg(ctx.root.join("integration-tests/fuzz/fuzz.py"))
        .args([cases.to_string(), seed.to_string()])
        .env("PODS_TEST_ENV", env_file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the fuzzer cannot be run")?;
    let output = child.stdout.take().context("no output of the fuzzer")?;
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        last = line?;
        println!("{last}");
    }
    if !child.wait()?.success() {
        bail!("the API did not answer as its document says: see above");
    }
    Ok(last)
}

fn seed_or_now(seed: Option<u32>) -> u32 {
    seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_micros()))
}
