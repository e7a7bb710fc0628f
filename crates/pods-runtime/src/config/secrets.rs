//! `[secrets]`: the keys that seal what is stored.

use std::{fs::File, io::Read, path::PathBuf};

use anyhow::{Context, bail};
use secrecy::{SecretString, zeroize::Zeroizing};
use serde::Deserialize;

/// `[secrets]`: the keys that credentials and secrets are sealed with. Only the API and the spawner have it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsConfig {
    /// The keys; the first one seals, all of them open.
    pub keys: Vec<KeyConfig>,
}

/// One key: `{ id = "k1", file = "/path" }` or `{ id = "k1", value = "..." }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The name that sealed values carry.
    pub id: String,
    /// The file with the key: 32 bytes as base64 or hexadecimal digits.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The key itself, in the same form.
    #[serde(default)]
    pub value: Option<SecretString>,
}

/// A key's text is shorter; a larger file is a wrong one.
const FILE_BYTES_MAX: u64 = 4096;

impl SecretsConfig {
    /// The ids and texts of the keys.
    ///
    /// # Errors
    /// A key without a source or with two, or a file that cannot be read. The text of a key is never shown.
    pub fn read(&self) -> anyhow::Result<Vec<(String, SecretString)>> {
        self.keys.iter().map(|key| Ok((key.id.clone(), key.read()?))).collect()
    }
}

impl KeyConfig {
    fn read(&self) -> anyhow::Result<SecretString> {
        let path = match (&self.file, &self.value) {
            (Some(path), None) => path,
            (None, Some(value)) => return Ok(value.clone()),
            _ => bail!("the key `{}` of [secrets] needs either `file` or `value`", self.id),
        };
        let place = || format!("the key `{}` of [secrets] cannot be read from {}", self.id, path.display());
        // Room for all of it from the start: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        let file = File::open(path).with_context(place)?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(place)?;
        Ok(text.trim().into())
    }
}
