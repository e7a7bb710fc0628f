//! The processes of the product, seen from outside.

use anyhow::{Context, Result};
use integration_tests::Env;

/// Process id of a program of the environment.
pub fn pid(env: &Env, name: &str) -> Result<u32> {
    let process = env.processes.get(name).with_context(|| format!("the environment has no {name}"))?;
    let text = std::fs::read_to_string(&process.pid_file)
        .with_context(|| format!("{} is not readable", process.pid_file.display()))?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("no process id in {}", process.pid_file.display()))
}

/// CPU time that a process used so far, in seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    /// `sysconf(_SC_CLK_TCK)` of every Linux on x86 and ARM.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name in parentheses may contain anything; the fields after it are plain.
    let (_, fields) = stat.rsplit_once(')').context("a stat line has a name in parentheses")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let (user, system) = (ticks().context("no utime")?, ticks().context("no stime")?);
    Ok((user + system) / TICKS)
}

/// Resident memory of a process, in KiB.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("VmRSS is a number")
}

/// Sends a signal to a program by way of `cargo xtask proc`.
pub fn signal(env: &Env, action: &str, name: &str) -> Result<()> {
    let output = std::process::Command::new(&env.xtask)
        .args(["proc", action, name, "--profile", &env.profile])
        .output()
        .context("xtask cannot be run")?;
    anyhow::ensure!(
        output.status.success(),
        "proc {action} {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The most resident memory that a process has had, in KiB.
pub fn peak_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).context("VmHWM is a number")
}
