//! Registry credentials, which an operator made.

use pods_kube::{Failure, client::call};

use super::{Cluster, Trouble, unknown};

/// The kinds of Secret that registry credentials can be, with the key that each must have.
const TYPES: [(&str, &str); 2] =
    [("kubernetes.io/dockerconfigjson", ".dockerconfigjson"), ("kubernetes.io/dockercfg", ".dockercfg")];

/// What is known about a Secret that images shall be pulled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    /// It can be used.
    Usable,
    /// There is none of this name.
    Missing,
    /// It is of a kind that images cannot be pulled with.
    WrongType,
}

impl Cluster {
    /// Whether images can be pulled with this Secret. What is in it is not kept.
    pub async fn pull_secret(&self, name: &str) -> Result<SecretState, Trouble> {
        let secret = match call(self.secrets.get(name)).await {
            Ok(secret) => secret,
            Err(Failure::Gone) => return Ok(SecretState::Missing),
            Err(failure) => return Err(unknown(failure)),
        };
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        let kind = secret.type_.as_deref().unwrap_or_default();
        match TYPES.iter().any(|(known, key)| *known == kind && has(key)) {
            true => Ok(SecretState::Usable),
            false => Ok(SecretState::WrongType),
        }
    }
}
