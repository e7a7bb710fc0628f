//! The parts that all profiles share: PostgreSQL, NATS and Kubernetes.

pub mod host;
pub mod images;
pub mod kube;
pub mod nats;
pub mod node;
pub mod pki;
pub mod postgres;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths::Ctx;
use crate::proc::{Procs, write_if_changed};
use crate::run;

/// What was decided once for this checkout, kept in `.dev/infra/state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Data of PostgreSQL, etcd, NATS, containerd and the kubelet.
    pub data: PathBuf,
    /// Sockets and short-lived state, on a short path.
    pub run: PathBuf,
    /// Password of the database role `pods`.
    pub database_password: String,
}

/// The shared layer of one checkout.
#[derive(Clone, Debug)]
pub struct Infra {
    /// `.dev/infra`.
    pub dir: PathBuf,
    /// Decided once.
    pub state: State,
    /// Records of its programs.
    pub procs: Procs,
}

impl Infra {
    /// The layer as it was set up before, if it was.
    pub fn existing(ctx: &Ctx) -> Option<Self> {
        let dir = ctx.dev.join("infra");
        let state = serde_json::from_str(&fs::read_to_string(dir.join("state.json")).ok()?).ok()?;
        Some(Self { procs: Procs::new(dir.join("proc"), &ctx.dev), state, dir })
    }

    /// The layer, set up when it is new.
    pub fn open(ctx: &Ctx) -> Result<Self> {
        let infra = match Self::existing(ctx) {
            Some(infra) => infra,
            None => {
                let id = short_hash(&ctx.root);
                let inside = ctx.dev.join("infra/data");
                let fits = ctx.root.as_os_str().len() <= 60 && others_may_enter(&ctx.root);
                let data = if fits { inside } else { PathBuf::from(format!("/var/tmp/pods-dev-{id}")) };
                let run =
                    PathBuf::from(if is_root() { "/run" } else { "/tmp" }).join(format!("pods-dev-{id}"));
                let state = State { data, run, database_password: random_word()? };
                let dir = ctx.dev.join("infra");
                write_if_changed(&dir.join("state.json"), &serde_json::to_string_pretty(&state)?)?;
                Self { procs: Procs::new(dir.join("proc"), &ctx.dev), state, dir }
            }
        };
        for dir in [&infra.state.data, &infra.state.run] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(infra)
    }

    /// Where the programs' output goes.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// Is this root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// May a user without rights of their own (PostgreSQL's) reach files below `path`?
fn others_may_enter(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0))
}

/// Eight hexadecimal digits that belong to a path (FNV-1a).
pub fn short_hash(path: &Path) -> String {
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

/// A random word of 32 hexadecimal digits.
pub fn random_word() -> Result<String> {
    run::output(std::process::Command::new("openssl").args(["rand", "-hex", "16"]))
}
