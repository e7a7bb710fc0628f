//! The programs of the environment: stopping, killing and starting them again.

use std::process::Command;

use anyhow::{Context, Result};

use crate::env::Env;

fn xtask(env: &Env, action: &str, name: &str) {
    let output = Command::new(&env.xtask)
        .args(["proc", action, name, "--profile", &env.profile])
        .output()
        .expect("xtask can be run");
    assert!(output.status.success(), "proc {action} {name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Stops a program, starts it again and waits until it serves.
pub fn restart(env: &Env, name: &str) {
    xtask(env, "restart", name);
}

/// The replicas of a process of the product, the one with the plain name first; empty when there is none.
pub fn replicas(env: &Env, name: &str) -> Vec<String> {
    let numbered = |known: &String| {
        known
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|n| n.parse::<u8>().is_ok())
    };
    env.processes.keys().filter(|known| *known == name || numbered(known)).cloned().collect()
}

/// Process id of a program of the environment.
///
/// # Errors
/// When it was never started.
pub fn pid(env: &Env, name: &str) -> Result<u32> {
    let process = env.processes.get(name).with_context(|| format!("the environment has no {name}"))?;
    let text = std::fs::read_to_string(&process.pid_file)
        .with_context(|| format!("{} is not readable", process.pid_file.display()))?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("no process id in {}", process.pid_file.display()))
}

/// Resident memory of a process, in KiB.
///
/// # Errors
/// When it is gone.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("VmRSS is a number")
}

/// Programs that do not run; ends when dropped, so that a failed test leaves a complete system.
pub struct Outage<'a> {
    env: &'a Env,
    names: Vec<String>,
    end: &'static str,
    over: bool,
}

impl<'a> Outage<'a> {
    /// Asks the program to stop.
    pub fn stop(env: &'a Env, name: &str) -> Self {
        Self::begin(env, vec![name.to_owned()], "stop", "start")
    }

    /// Asks every replica to stop.
    pub fn stop_all(env: &'a Env, name: &str) -> Self {
        Self::begin(env, replicas(env, name), "stop", "start")
    }

    /// SIGKILL.
    pub fn kill(env: &'a Env, name: &str) -> Self {
        Self::begin(env, vec![name.to_owned()], "kill", "start")
    }

    /// SIGKILL for every replica.
    pub fn kill_all(env: &'a Env, name: &str) -> Self {
        Self::begin(env, replicas(env, name), "kill", "start")
    }

    /// SIGSTOP: it keeps what it holds and does nothing.
    pub fn pause(env: &'a Env, name: &str) -> Self {
        Self::begin(env, vec![name.to_owned()], "pause", "cont")
    }

    /// SIGSTOP for every replica.
    pub fn pause_all(env: &'a Env, name: &str) -> Self {
        Self::begin(env, replicas(env, name), "pause", "cont")
    }

    fn begin(env: &'a Env, names: Vec<String>, action: &str, end: &'static str) -> Self {
        assert!(!names.is_empty(), "the environment has no such program to {action}");
        // Made before the first signal: if one fails, the others are brought back.
        let outage = Self { env, names, end, over: false };
        for name in &outage.names {
            xtask(env, action, name);
        }
        outage
    }

    /// The programs that do not run.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Brings it back and waits until it serves.
    pub fn end(mut self) {
        self.over = true;
        for name in &self.names {
            xtask(self.env, self.end, name);
        }
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if !self.over {
            for name in &self.names {
                let arguments = ["proc", self.end, name, "--profile", &self.env.profile];
                let _ = Command::new(&self.env.xtask).args(arguments).status();
            }
        }
    }
}
