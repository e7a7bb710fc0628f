//! Running other programs: quietly, with their output, or long ones with a sign of life.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ui;

/// `program args...` as one readable line.
pub fn describe(cmd: &Command) -> String {
    let mut line = cmd.get_program().to_string_lossy().into_owned();
    for arg in cmd.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// Runs a short command, fails with its error output.
pub fn quiet(cmd: &mut Command) -> Result<()> {
    output(cmd).map(drop)
}

/// Runs a short command and returns its standard output, trimmed.
pub fn output(cmd: &mut Command) -> Result<String> {
    cmd.stdin(Stdio::null());
    let out = cmd.output().with_context(|| format!("cannot run `{}`", describe(cmd)))?;
    if !out.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            describe(cmd),
            out.status,
            tail(&String::from_utf8_lossy(&out.stderr), 8)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Runs a short command with `input` on its standard input and returns its standard output.
pub fn with_input(cmd: &mut Command, input: &str) -> Result<String> {
    cmd.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = cmd.spawn().with_context(|| format!("cannot run `{}`", describe(cmd)))?;
    let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
    let text = input.to_owned();
    // A thread of its own, so that a program that answers while it reads cannot block both sides.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let out = child.wait_with_output()?;
    // A program that ends without reading everything is judged by its status, not by the broken pipe.
    let _ = writer.join();
    if !out.status.success() {
        bail!(
            "`{}` failed ({}): {}",
            describe(cmd),
            out.status,
            tail(&String::from_utf8_lossy(&out.stderr), 8)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// True when the command can be run and ends with success; its output is dropped.
pub fn succeeds(cmd: &mut Command) -> bool {
    cmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    cmd.status().is_ok_and(|status| status.success())
}

/// Runs a command with the terminal as its output.
pub fn shown(cmd: &mut Command) -> Result<()> {
    let line = describe(cmd);
    let status = cmd.stdin(Stdio::null()).status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a long command with its output in `log`, and says every ten seconds that it is still at work.
pub fn logged(part: &str, what: &str, log: &Path, cmd: &mut Command) -> Result<()> {
    ui::say(part, format!("{what} (output in {})", log.display()));
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = File::options().create(true).append(true).open(log)?;
    writeln!(file, "\n$ {}", describe(cmd))?;
    cmd.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let begun = Instant::now();
    let mut child = cmd.spawn().with_context(|| format!("cannot run `{}`", describe(cmd)))?;
    let mut next = Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                ui::say(part, format!("{what}: done in {:.1} s", begun.elapsed().as_secs_f64()));
                return Ok(());
            }
            bail!("{what} failed ({status}). The end of {}:\n{}", log.display(), tail_of_file(log, 15));
        }
        if begun.elapsed() > next {
            let last = tail_of_file(log, 1);
            // Until the command says something itself, the last line is the command.
            let last: String = last.chars().take(100).filter(|_| !last.starts_with("$ ")).collect();
            ui::say(part, format!("... {what}, {} s so far  {last}", begun.elapsed().as_secs()));
            next += Duration::from_secs(10);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks `ready` again and again until it is true; says what it waits for when that takes longer.
pub fn wait_for(part: &str, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    let mut next = Duration::from_secs(3);
    while !ready() {
        if begun.elapsed() > limit {
            bail!("{part}: {what} did not happen within {} s", limit.as_secs());
        }
        if begun.elapsed() > next {
            ui::say(part, format!("... waiting for {what}, {} s so far", begun.elapsed().as_secs()));
            next += Duration::from_secs(5);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The last `lines` lines of a file, empty when it cannot be read.
pub fn tail_of_file(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(16 * 1024)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map(|text| tail(&text, lines)).unwrap_or_default()
}
