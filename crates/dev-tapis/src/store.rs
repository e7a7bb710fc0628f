//! Small JSON files shared by the server and the command line.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One JSON file, changed under a lock and replaced in one step.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
}

impl Store {
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { file: directory.join(name) }
    }

    /// What the file holds; nothing yet is the default.
    pub fn read<T: DeserializeOwned + Default>(&self) -> anyhow::Result<T> {
        match std::fs::read(&self.file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", self.file.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.file.display())),
        }
    }

    /// Reads, changes and writes while nobody else does.
    pub fn change<T, R>(&self, change: impl FnOnce(&mut T) -> R) -> anyhow::Result<R>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let _lock = lock(&self.file.with_extension("lock"))?;
        let mut value: T = self.read()?;
        let answer = change(&mut value);
        write_whole(&self.file, &serde_json::to_vec_pretty(&value)?)?;
        Ok(answer)
    }
}

/// Holds an exclusive lock until the returned file is dropped.
pub fn lock(path: &Path) -> anyhow::Result<File> {
    let open = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = open().with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Writes beside the file and renames, so that a reader never sees half of it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).with_context(|| format!("cannot write {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot replace {}", path.display()))
}
