//! Commands for one program: its log, its signals.

use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::app::Profile;
use crate::infra::Infra;
use crate::paths::Ctx;
use crate::proc::Procs;
use crate::run;

/// What to do to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Start it as it was started last and wait until it serves.
    Start,
    /// SIGTERM, and SIGKILL after 20 seconds.
    Stop,
    /// SIGKILL.
    Kill,
    /// Stop and start.
    Restart,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Cont,
}

/// The records that know `name`: the profile's, else the shared ones.
fn find(ctx: &Ctx, profile: &str, name: &str) -> Result<Procs> {
    let own = Profile::new(ctx, profile)?.procs;
    if own.get(name).is_some() {
        return Ok(own);
    }
    let shared = Infra::existing(ctx).map(|infra| infra.procs).filter(|procs| procs.get(name).is_some());
    shared.with_context(|| {
        let mut names: Vec<String> = own.all().into_iter().map(|record| record.spec.name).collect();
        if let Some(infra) = Infra::existing(ctx) {
            names.extend(infra.procs.all().into_iter().map(|record| record.spec.name));
        }
        format!("no program {name} in profile {profile}; there are: {}", names.join(", "))
    })
}

/// Does it.
pub fn proc(ctx: &Ctx, profile: &str, action: Action, name: &str, no_wait: bool) -> Result<()> {
    let procs = find(ctx, profile, name)?;
    let start = || -> Result<()> {
        let record = procs.get(name).with_context(|| format!("nothing was started under the name {name}"))?;
        if record.alive() {
            return procs.wait_ready(&record);
        }
        let record = procs.launch(&record.spec)?;
        if no_wait { Ok(()) } else { procs.wait_ready(&record) }
    };
    match action {
        Action::Start => start(),
        Action::Stop => procs.stop(name),
        Action::Kill => procs.kill(name),
        Action::Restart => {
            procs.stop(name)?;
            start()
        }
        Action::Pause => procs.pause(name, true),
        Action::Cont => procs.pause(name, false),
    }
}

/// Shows a program's output.
pub fn logs(ctx: &Ctx, profile: &str, name: &str, follow: bool, lines: usize) -> Result<()> {
    let procs = find(ctx, profile, name)?;
    let record = procs.get(name).context("no record")?;
    let mut tail = Command::new("tail");
    tail.arg("-n").arg(lines.to_string());
    if follow {
        tail.arg("-F");
    }
    run::shown(tail.arg(&record.spec.log))
}
