//! Where everything lives: the checkout, its ignored folder, the cache outside of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The places every command needs.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The checkout.
    pub root: PathBuf,
    /// `.dev` in the checkout: everything that `down --data` removes.
    pub dev: PathBuf,
    /// What survives a clean checkout: Kubernetes, Python environments, the cargo target folder of CI.
    pub cache: PathBuf,
}

impl Ctx {
    /// Finds the checkout: given, else of a copied binary (`.dev/bin/xtask`), else of cargo, else upwards from here.
    pub fn find(given: Option<PathBuf>) -> Result<Self> {
        let root = match given {
            Some(path) => path,
            None => Self::from_copy()
                .or_else(|| {
                    std::env::var_os("CARGO_MANIFEST_DIR").and_then(|dir| Self::upwards(Path::new(&dir)))
                })
                .or_else(|| std::env::current_dir().ok().and_then(|dir| Self::upwards(&dir)))
                .context("not in a checkout of Pods: run it there, or give --root")?,
        };
        let root = root.canonicalize().with_context(|| format!("no folder {}", root.display()))?;
        let cache = match std::env::var_os("PODS_CACHE_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => match std::env::var_os("HOME") {
                Some(home) => PathBuf::from(home).join(".cache/pods-dev"),
                None => bail!("neither PODS_CACHE_DIR nor HOME is set: nowhere to keep the cache"),
            },
        };
        Ok(Self { dev: root.join(".dev"), root, cache })
    }

    fn from_copy() -> Option<PathBuf> {
        let exe = std::env::current_exe().ok()?;
        let dev = exe.parent()?.parent()?;
        (dev.file_name()? == ".dev").then(|| dev.parent().map(Path::to_path_buf)).flatten()
    }

    fn upwards(from: &Path) -> Option<PathBuf> {
        from.ancestors().find(|dir| dir.join("crates/xtask/Cargo.toml").exists()).map(Path::to_path_buf)
    }
}
