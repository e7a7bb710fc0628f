//! The programs of the environment: stopping, killing and starting them again.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use crate::{
    env::Env,
    wait::{LIMIT, await_condition},
};

fn xtask(env: &Env, action: &str, name: &str) {
    let output = Command::new(&env.xtask)
        .args(["proc", action, name, "--profile", &env.profile])
        .output()
        .expect("xtask can be run");
    assert!(output.status.success(), "proc {action} {name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that does not run; ends when dropped, so that a failed test leaves a complete system.
pub struct Outage<'a> {
    env: &'a Env,
    name: &'a str,
    end: &'static str,
    over: bool,
}

impl<'a> Outage<'a> {
    /// Asks the program to stop.
    pub fn stop(env: &'a Env, name: &'a str) -> Self {
        Self::begin(env, name, "stop", "start")
    }

    /// SIGKILL.
    pub fn kill(env: &'a Env, name: &'a str) -> Self {
        Self::begin(env, name, "kill", "start")
    }

    /// SIGSTOP: it keeps what it holds and does nothing.
    pub fn pause(env: &'a Env, name: &'a str) -> Self {
        Self::begin(env, name, "pause", "cont")
    }

    fn begin(env: &'a Env, name: &'a str, action: &str, end: &'static str) -> Self {
        xtask(env, action, name);
        Self { env, name, end, over: false }
    }

    /// Brings it back and waits until it serves.
    pub fn end(mut self) {
        self.over = true;
        xtask(self.env, self.end, self.name);
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if !self.over {
            let arguments = ["proc", self.end, self.name, "--profile", &self.env.profile];
            let _ = Command::new(&self.env.xtask).args(arguments).status();
        }
    }
}

/// A second `pods-health`, ended when dropped.
pub struct SecondHealth {
    child: Child,
}

impl SecondHealth {
    /// Starts it beside the environment's own and waits until it is ready.
    pub async fn start(env: &Env) -> Self {
        let own = &env.processes["pods-health"];
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound listener has an address");
        drop(free);
        let child = Command::new(&own.argv[0])
            .args(&own.argv[1..])
            .envs(&own.env)
            .env("PODS__HEALTH__INTERNAL_BIND", address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pods-health can be started");
        let second = Self { child };
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        await_condition("the second pods-health is ready", LIMIT, || async {
            match http.get(format!("http://{address}/readyz")).send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        second
    }
}

impl Drop for SecondHealth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
