//! Parts of the environment that are replaced by broken ones, and put back when they are dropped.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::env::Env;

/// The node's network configuration names a plugin that does not exist; put back when dropped.
pub struct BrokenCni {
    file: PathBuf,
    text: String,
}

impl BrokenCni {
    /// Breaks it. The node itself stays ready: only new pods are concerned.
    pub fn new(env: &Env) -> Self {
        let containerd = &env.processes["containerd"];
        let config = containerd.argv.iter().find(|argument| argument.ends_with(".toml"));
        let config = Path::new(config.expect("containerd has a configuration file"));
        let file = config.with_file_name("cni").join("10-pods-dev.conflist");
        let text = std::fs::read_to_string(&file).expect("the network's configuration is readable");
        let broken = text.replace(r#""type": "bridge""#, r#""type": "no-such-plugin""#);
        assert_ne!(broken, text, "the network is a bridge");
        std::fs::write(&file, broken).expect("the network's configuration is writable");
        Self { file, text }
    }
}

impl Drop for BrokenCni {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.file, &self.text);
    }
}

/// A spawner with another key, ended when dropped.
pub struct OtherSpawner {
    child: Child,
    config: PathBuf,
}

impl OtherSpawner {
    /// Starts it in the place of the environment's own, which do not run.
    pub fn start(env: &Env) -> Self {
        let own = &env.processes["pods-spawner"];
        let text = std::fs::read_to_string(&own.env["PODS_CONFIG"]).expect("the configuration is readable");
        let line = text.lines().find(|line| line.starts_with("keys = ")).expect("the configuration has keys");
        let config = std::env::temp_dir().join(format!("pods-faults-{}.toml", std::process::id()));
        let key = config.with_extension("key");
        // 32 bytes that no installation uses.
        std::fs::write(&key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("a file can be written");
        let other = format!("keys = [{{ id = \"other\", file = {key:?} }}]");
        std::fs::write(&config, text.replace(line, &other)).expect("a file can be written");
        let child = Command::new(&own.argv[0])
            .args(&own.argv[1..])
            .envs(&own.env)
            .env("PODS_CONFIG", &config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pods-spawner can be started");
        Self { child, config }
    }
}

impl Drop for OtherSpawner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.config.with_extension("key"));
        let _ = std::fs::remove_file(&self.config);
    }
}
