//! Credentials for private images: a variable of the environment names the user whose Kubernetes Secret is used.
//!
//! The Secret is made by an operator, and the user must hold APPROVEDADMIN on the pod when it starts; both are looked
//! up by the spawner. Here is what the definition alone decides.

use std::collections::BTreeMap;

use crate::permission::{Grantee, Resource};

/// The variable of a pod's environment that names the user.
pub const VARIABLE: &str = "TAPIS_PODS_IMAGEPULLSECRET";

const PREFIX: &str = "tapis-pods-imagepullsecret-";
/// Longest name of a Kubernetes Secret, in characters.
const NAME_MAX: usize = 253;

/// Whose registry credentials a pod uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// The user who must hold APPROVEDADMIN.
    pub user: String,
    /// The name of the Kubernetes Secret.
    pub name: String,
}

/// The value of [`VARIABLE`] names nobody whose Secret can exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullSecretError {
    /// The value is no user name.
    #[error(
        "{VARIABLE} must be the name of a user, written out: placeholders are not replaced in it, because the name of \
         a Kubernetes Secret is made of it"
    )]
    User,
    /// No Kubernetes Secret can have the name that belongs to the user.
    #[error(
        "{VARIABLE} names \"{0}\", and no Kubernetes Secret can exist for that user: only lower-case letters, digits, \
         . @ and - are possible, the last one must be a letter or digit, and its name must fit into {NAME_MAX} characters"
    )]
    Name(String),
}

/// Whose registry credentials a pod with this environment uses; `None` without the variable, or when it is empty, which
/// is how a pod takes back what its template sets.
///
/// # Errors
/// [`PullSecretError`] when the value names nobody whose Secret can exist.
pub fn of(environment: &BTreeMap<String, String>) -> Result<Option<PullSecret>, PullSecretError> {
    let Some(user) = environment.get(VARIABLE).filter(|user| !user.is_empty()) else { return Ok(None) };
    let Ok(Grantee::User(user)) = Grantee::parse(user, Resource::Pod) else {
        return Err(PullSecretError::User);
    };
    let name = format!("{PREFIX}{}", user.replace('@', "at").replace('.', "dot"));
    let legal = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    match legal && !name.ends_with('-') && name.len() <= NAME_MAX {
        true => Ok(Some(PullSecret { user, name })),
        false => Err(PullSecretError::Name(user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Result<Option<PullSecret>, PullSecretError> {
        of(&BTreeMap::from([(VARIABLE.to_owned(), value.to_owned())]))
    }

    #[test]
    fn the_secret_is_named_after_the_user() {
        assert_eq!(of(&BTreeMap::new()), Ok(None));
        assert_eq!(secret(""), Ok(None));
        let named = |user: &str| secret(user).unwrap().unwrap();
        assert_eq!(named("alice").name, "tapis-pods-imagepullsecret-alice");
        let with_mail = named("a.b-c@x.org");
        assert_eq!(with_mail.user, "a.b-c@x.org");
        assert_eq!(with_mail.name, "tapis-pods-imagepullsecret-adotb-catxdotorg");
        // Only this very name counts, not one that contains it.
        let other = BTreeMap::from([(format!("MY_{VARIABLE}"), "alice".to_owned())]);
        assert_eq!(of(&other), Ok(None));
    }

    #[test]
    fn nobody_else_is_named() {
        for value in
            ["${pods:secrets:USER}", "<<TAPIS_user_username>>", "al ice", "1a", "../x", "tenant.dev", "**"]
        {
            assert_eq!(secret(value), Err(PullSecretError::User), "{value}");
        }
        for value in ["Alice", "a_b", "_svc", "alice-", &format!("a{}z", ".".repeat(100))] {
            assert_eq!(secret(value), Err(PullSecretError::Name(value.to_owned())), "{value}");
        }
    }
}
