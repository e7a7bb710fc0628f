//! `[secrets]`: the keys that seal what is stored.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

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
        read_keys("secrets", &self.keys)
    }
}

/// The ids and texts of the keys of a section.
///
/// # Errors
/// A key without a source or with two, or a file that cannot be read. The text of a key is never shown.
pub fn read_keys(section: &str, keys: &[KeyConfig]) -> anyhow::Result<Vec<(String, SecretString)>> {
    (1..).zip(keys).map(|(number, key)| Ok((key.id.clone(), key.read(section, number)?))).collect()
}

impl KeyConfig {
    /// Errors name the position: what stands in the place of the id or of the file may be the key itself.
    fn read(&self, section: &str, number: usize) -> anyhow::Result<SecretString> {
        let path = match (&self.file, &self.value) {
            (Some(path), None) => path,
            (None, Some(value)) => return Ok(value.clone()),
            _ => bail!("key number {number} of [{section}] needs either `file` or `value`"),
        };
        let place = || format!("key number {number} of [{section}] cannot be read from {}", shown(path));
        // Room for all of it from the start: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        let file = File::open(path).with_context(place)?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(place)?;
        Ok(text.trim().into())
    }
}

/// A path, unless it has the form of a key that was written into the wrong field.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    match matches!(text.len(), 43 | 44 | 64) && text.chars().all(fits) {
        true => "its `file`, which looks like a key (a key itself belongs into `value`)".to_owned(),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(id: &str, file: Option<&str>) -> String {
        let key = KeyConfig { id: id.to_owned(), file: file.map(PathBuf::from), value: None };
        format!("{:#}", SecretsConfig { keys: vec![key] }.read().unwrap_err())
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_shown() {
        for key in ["01".repeat(32), format!("{}=", "A/b+".repeat(11).split_at(43).0)] {
            for text in [refusal(&key, None), refusal("k1", Some(&key))] {
                assert!(!text.contains(&key) && text.contains("key number 1"), "{text}");
            }
        }
        assert!(refusal("k1", Some("/nowhere/secrets.key")).contains("/nowhere/secrets.key"));
    }
}
