//! `fuzz api`: generated requests against the API of the profile `test`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::app::{Profile, build, services};
use crate::given::Given;
use crate::paths::Ctx;
use crate::up::{self, Need};
use crate::{packages, test, ui};

/// Requests of the full form.
pub const FULL: u32 = 20_000;

/// Requests of the form that takes about a minute.
pub const SHORT: u32 = 3_000;

/// Brings the profile `test` up, fuzzes, and takes down what it started.
pub fn fuzz(ctx: &Ctx, name: &str, cases: Option<u32>, seed: Option<u32>) -> Result<()> {
    if name != "api" {
        bail!("nothing of the name {name} can be fuzzed: `cargo xtask fuzz api`");
    }
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
    let seed = seed
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_micros()));
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
