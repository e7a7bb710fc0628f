//! The programs of the environment: stopping, killing and starting them again.

use std::process::Command;

use crate::env::Env;

fn xtask(env: &Env, action: &str, name: &str) {
    let output = Command::new(&env.xtask)
        .args(["proc", action, name, "--profile", &env.profile])
        .output()
        .expect("xtask can be run");
    assert!(output.status.success(), "proc {action} {name}: {}", String::from_utf8_lossy(&output.stderr));
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
