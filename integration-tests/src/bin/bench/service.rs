//! The processes of the product, seen from outside.

use anyhow::{Context, Result};
use integration_tests::Env;
pub use integration_tests::process::{pid, resident_kib};
use tokio_postgres::{Client, NoTls};

/// A connection to a database of Postgres.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
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

/// The same to the nanosecond, of the threads that run: what a process that starts and ends none used between two looks.
pub fn exact_cpu_seconds(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let nanoseconds = text.split_whitespace().next().and_then(|text| text.parse::<f64>().ok());
        total += nanoseconds.unwrap_or_default() / 1e9;
    }
    anyhow::ensure!(total > 0.0, "the kernel does not count CPU time exactly");
    Ok(total)
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
