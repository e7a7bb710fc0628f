//! Long-running programs: started in a session of their own, recorded with pid and start time, stopped by record.
//!
//! A record is a file `<name>.json` beside `<name>.pid`. A pid alone proves nothing after a crash or a reboot, so a
//! program counts as running only when the kernel's start time of that pid is the recorded one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::infra::host;
pub use crate::ready::{Port, Ready};
use crate::ready::{check_port, is_ready};
use crate::{run, ui};

/// Set in every program started here: the checkout's `.dev`, by which leftovers are recognised.
pub const MARK: &str = "PODS_DEV_ENVIRONMENT";

/// Everything needed to start a program, and to start it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Name in commands and files.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Additional environment.
    pub env: BTreeMap<String, String>,
    /// Where its output goes.
    pub log: PathBuf,
    /// How it says that it serves.
    pub ready: Option<Ready>,
    /// Ports it listens on.
    pub ports: Vec<Port>,
    /// `TERM` unless the program wants another signal.
    pub stop_signal: String,
    /// Lock files that a killed predecessor leaves, each in the folder its processes work in.
    pub locks: Vec<PathBuf>,
    /// Changes when its program or its configuration changed.
    pub fingerprint: String,
}

impl Spec {
    /// A program with the usual signal and no readiness check.
    pub fn new(name: &str, log_dir: &Path, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.to_owned(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            log: log_dir.join(format!("{name}.log")),
            ready: None,
            ports: Vec::new(),
            stop_signal: "TERM".to_owned(),
            locks: Vec::new(),
            fingerprint: String::new(),
        }
    }

    /// Adds arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Adds one environment variable.
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.insert(key.to_owned(), value.into());
        self
    }

    /// Says how to see that it serves.
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = Some(ready);
        self
    }

    /// Names a port it takes.
    pub fn port(mut self, port: &Port) -> Self {
        self.ports.push(port.clone());
        self
    }

    /// The signal that asks it to stop.
    pub fn stop_signal(mut self, name: &str) -> Self {
        name.clone_into(&mut self.stop_signal);
        self
    }

    /// Names a lock file to take away when no process of a predecessor is left.
    pub fn lock(mut self, file: &Path) -> Self {
        self.locks.push(file.to_path_buf());
        self
    }

    /// Files whose change means: restart.
    pub fn depends_on(mut self, files: &[&Path]) -> Self {
        for file in files {
            self.fingerprint.push_str(&fingerprint(file));
            self.fingerprint.push(' ');
        }
        self
    }
}

/// Size and time of change of a file, or its absence.
pub fn fingerprint(file: &Path) -> String {
    let Ok(meta) = fs::metadata(file) else { return "absent".to_owned() };
    let changed = meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{}@{}", meta.len(), changed.unwrap_or_default().as_nanos())
}

/// What is remembered of a started program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// How it was started.
    pub spec: Spec,
    /// Its process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl Record {
    /// Is the very program that was started still there (a zombie is not)?
    pub fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, time)| time == self.start_time && state != 'Z' && state != 'X')
    }

    /// Was it told to pause, and not to go on?
    pub fn paused(&self) -> bool {
        stat(self.pid).is_some_and(|(state, time)| time == self.start_time && state == 'T')
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid)
            && self.alive()
        {
            let _ = kill_process(pid, signal);
        }
    }
}

/// State letter and start time of a process.
pub fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, also spaces and parentheses.
    let rest = &text[text.rfind(')')? + 2..];
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Resident memory of a process in MiB.
pub fn memory(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// The records of one layer (shared infrastructure, or one profile).
#[derive(Clone, Debug)]
pub struct Procs {
    /// Folder of the records.
    pub dir: PathBuf,
    /// Value of the mark.
    pub mark: String,
}

impl Procs {
    /// The records below `dir`.
    pub fn new(dir: PathBuf, dev: &Path) -> Self {
        Self { dir, mark: dev.display().to_string() }
    }

    /// File with the pid alone.
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pid"))
    }

    /// What is remembered of `name`.
    pub fn get(&self, name: &str) -> Option<Record> {
        let text = fs::read_to_string(self.dir.join(format!("{name}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// All records, oldest first.
    pub fn all(&self) -> Vec<Record> {
        let Ok(dir) = fs::read_dir(&self.dir) else { return Vec::new() };
        let names = dir.flatten().filter_map(|entry| {
            entry.file_name().to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned)
        });
        let mut all: Vec<Record> = names.filter_map(|name| self.get(&name)).collect();
        all.sort_by_key(|record| record.start_time);
        all
    }

    /// Brings `spec` up: does nothing when it runs as wanted, restarts it when it runs differently.
    pub fn ensure(&self, spec: &Spec) -> Result<()> {
        if let Some(record) = self.get(&spec.name)
            && record.alive()
        {
            if record.spec == *spec {
                if record.paused() {
                    ui::say(&spec.name, "was left paused: going on");
                    record.signal(Signal::CONT);
                }
                return self.wait_ready(&record);
            }
            ui::say(&spec.name, "its program or settings changed: restarting");
            self.stop(&spec.name)?;
        }
        let _ = fs::remove_file(&spec.log);
        self.start(spec)
    }

    /// Starts a program and waits until it serves.
    pub fn start(&self, spec: &Spec) -> Result<()> {
        let record = self.launch(spec)?;
        self.wait_ready(&record)
    }

    /// Starts a program and does not wait.
    pub fn launch(&self, spec: &Spec) -> Result<Record> {
        for port in &spec.ports {
            check_port(&spec.name, port)?;
        }
        if let Some(Ready::File(path)) = &spec.ready {
            let _ = fs::remove_file(path);
        }
        for lock in &spec.locks {
            break_lock(&spec.name, lock)?;
        }
        fs::create_dir_all(&self.dir)?;
        if let Some(dir) = spec.log.parent() {
            fs::create_dir_all(dir)?;
        }
        let log = File::options().create(true).append(true).open(&spec.log)?;
        // setsid becomes the program (a new child never leads a group), so the pid is the program's own.
        let mut command = Command::new("setsid");
        command.args(&spec.argv).envs(&spec.env).env(MARK, &self.mark).current_dir("/");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", spec.name))?;
        let pid = i32::try_from(child.id()).context("a process id that does not fit")?;
        let (_, start_time) = stat(pid).with_context(|| format!("{} ended at once", spec.name))?;
        let record = Record { spec: spec.clone(), pid, start_time };
        write_atomically(
            &self.dir.join(format!("{}.json", spec.name)),
            &serde_json::to_string_pretty(&record)?,
        )?;
        write_atomically(&self.pid_file(&spec.name), &format!("{pid}\n"))?;
        // Collects the exit status while this command lives, so that an ended child is seen as ended.
        std::thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        Ok(record)
    }

    /// Waits until a started program serves; its end is an error that shows the end of its log.
    pub fn wait_ready(&self, record: &Record) -> Result<()> {
        let spec = &record.spec;
        let Some(ready) = &spec.ready else { return Ok(()) };
        let mut ended = false;
        let waited =
            run::wait_for(&spec.name, &format!("readiness ({ready:?})"), Duration::from_secs(60), || {
                if !record.alive() {
                    ended = true;
                    return true;
                }
                is_ready(ready, &spec.log)
            });
        let log = || format!("The end of {}:\n{}", spec.log.display(), run::tail_of_file(&spec.log, 12));
        if ended {
            bail!("{} ended instead of serving. {}", spec.name, log());
        }
        waited.with_context(log)
    }

    /// Asks a program to stop, insists after 20 seconds, and forgets nothing: it can be started again.
    pub fn stop(&self, name: &str) -> Result<()> {
        let Some(record) = self.get(name) else { return Ok(()) };
        if record.alive() {
            record.signal(Signal::CONT);
            record.signal(if record.spec.stop_signal == "INT" { Signal::INT } else { Signal::TERM });
            if run::wait_for(name, "its end", Duration::from_secs(20), || !record.alive()).is_err() {
                ui::say(name, "does not stop: SIGKILL");
                record.signal(Signal::KILL);
                run::wait_for(name, "its end after SIGKILL", Duration::from_secs(20), || !record.alive())?;
            }
            end_group(record.pid);
        }
        let _ = fs::remove_file(self.pid_file(name));
        Ok(())
    }

    /// SIGKILL, at once.
    pub fn kill(&self, name: &str) -> Result<()> {
        let record = self.running(name)?;
        record.signal(Signal::KILL);
        run::wait_for(name, "its end after SIGKILL", Duration::from_secs(20), || !record.alive())?;
        end_group(record.pid);
        let _ = fs::remove_file(self.pid_file(name));
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    pub fn pause(&self, name: &str, stop: bool) -> Result<()> {
        self.running(name)?.signal(if stop { Signal::STOP } else { Signal::CONT });
        Ok(())
    }

    fn running(&self, name: &str) -> Result<Record> {
        let record = self.get(name).with_context(|| format!("nothing was started under the name {name}"))?;
        if !record.alive() {
            bail!("{name} is not running");
        }
        Ok(record)
    }
}

/// Ends helpers that a program left in its process group.
fn end_group(leader: i32) {
    if let Some(pid) = Pid::from_raw(leader) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Ends what a killed predecessor left running in the lock's folder, then removes the lock. (The lock's own pid may
/// belong to a zombie or to a stranger.)
fn break_lock(name: &str, lock: &Path) -> Result<()> {
    let Some(dir) = lock.parent().filter(|_| lock.exists()) else { return Ok(()) };
    run::wait_for(name, "the end of its predecessor's processes", Duration::from_secs(20), || {
        let left = host::working_in(dir);
        host::end(&left);
        left.is_empty()
    })?;
    fs::remove_file(lock).with_context(|| format!("cannot remove {}", lock.display()))
}

/// Writes a file so that a reader sees the old or the new one.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let part = path.with_extension("part");
    let mut file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file only when its text differs, so that its time of change tells of real changes.
pub fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    write_atomically(path, text)
}
