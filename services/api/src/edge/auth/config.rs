//! `[logins]`: the sessions of visitors.

use std::time::Duration;

use pods_runtime::config::KeyConfig;
use pods_secrets::KeyRing;
use serde::Deserialize;

/// `[logins]`: the edge alone has it, and all its replicas have the same.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginsConfig {
    /// The keys that sessions are sealed with; the first one seals, all of them open. A key that is taken away ends the
    /// sessions that it sealed.
    pub keys: Vec<KeyConfig>,
    /// Longest session; one ends earlier with the token of the platform that it was made from.
    #[serde(default = "lifetime", with = "pods_runtime::config::duration")]
    pub lifetime: Duration,
}

impl LoginsConfig {
    /// The keys.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be read.
    pub fn read_keys(&self) -> anyhow::Result<KeyRing> {
        Ok(KeyRing::parse(pods_runtime::config::read_keys("logins", &self.keys)?)?)
    }
}

fn lifetime() -> Duration {
    Duration::from_secs(12 * 3600)
}
