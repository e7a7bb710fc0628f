//! The credentials of a pod: made once, with its row.

use std::collections::BTreeMap;

use pods_core::{credentials::Credentials, placeholder};
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

use crate::{
    Aad, KeyRing, OpenError, SealError, Sealed,
    random::{WORD, random_text},
    random_value,
};

/// Characters of a password.
const PASSWORD_LEN: usize = 30;
/// The account of a pod that is not its user's.
const ADMIN_USERNAME: &str = "podsservice";

/// New credentials, without values for `${pods:random:N}` yet.
///
/// # Errors
/// [`SealError`] when the system gives no randomness.
pub fn generate(pod_id: &str) -> Result<Credentials, SealError> {
    Ok(Credentials {
        user_username: pod_id.to_owned(),
        user_password: random_text(WORD, PASSWORD_LEN)?,
        admin_username: ADMIN_USERNAME.to_owned(),
        admin_password: random_text(WORD, PASSWORD_LEN)?,
        random: BTreeMap::new(),
    })
}

/// Makes the values that `${pods:random:N}` of a merged secret map lack; what is there already stays, unless another
/// length is asked for. Returns whether something is new and has to be stored.
///
/// # Errors
/// [`SealError`] when the system gives no randomness.
pub fn ensure_random(
    credentials: &mut Credentials,
    secret_map: &BTreeMap<String, String>,
) -> Result<bool, SealError> {
    let mut news = false;
    for (key, len) in placeholder::random_keys(secret_map) {
        if credentials.random.get(&key).is_none_or(|value| value.len() != len) {
            credentials.random.insert(key, random_value(len)?);
            news = true;
        }
    }
    Ok(news)
}

/// Seals the credentials of a pod.
///
/// # Errors
/// [`SealError`].
pub fn seal(ring: &KeyRing, pod_uid: Uuid, credentials: &Credentials) -> Result<Sealed, SealError> {
    let json = Zeroizing::new(serde_json::to_vec(credentials).map_err(|_| SealError)?);
    ring.seal(place(pod_uid), &json)
}

/// Opens the credentials of a pod.
///
/// # Errors
/// [`OpenError`].
pub fn open(ring: &KeyRing, pod_uid: Uuid, key_id: &str, sealed: &[u8]) -> Result<Credentials, OpenError> {
    let json = ring.open(place(pod_uid), key_id, sealed)?;
    serde_json::from_slice(&json).map_err(|_| OpenError::Damaged(key_id.to_owned()))
}

fn place(pod_uid: Uuid) -> Aad<'static> {
    Aad { uid: pod_uid, column: "credentials" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_pod_has_passwords_of_its_own() {
        let (one, two) = (generate("shop").unwrap(), generate("shop").unwrap());
        assert_eq!((one.user_username.as_str(), one.admin_username.as_str()), ("shop", "podsservice"));
        let all = [&one.user_password, &one.admin_password, &two.user_password, &two.admin_password];
        for (index, password) in all.iter().enumerate() {
            assert_eq!(password.len(), 30);
            assert!(password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert!(!all[..index].contains(password));
        }
    }

    #[test]
    fn a_random_value_is_made_once() {
        let mut credentials = generate("shop").unwrap();
        let wanted = map(&[("A", "${pods:random:16}"), ("B", "literal"), ("C", "${pods:default:x}")]);
        assert!(ensure_random(&mut credentials, &wanted).unwrap());
        let first = credentials.random.clone();
        assert_eq!(first.keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(first["A"].len(), 16);
        assert!(!ensure_random(&mut credentials, &wanted).unwrap());
        assert_eq!(credentials.random, first);
        assert!(ensure_random(&mut credentials, &map(&[("A", "${pods:random:20}")])).unwrap());
        assert_eq!(credentials.random["A"].len(), 20);
    }

    #[test]
    fn credentials_open_for_their_pod_only() {
        let ring = KeyRing::parse([("k1".to_owned(), "ab".repeat(32).into())]).unwrap();
        let mut credentials = generate("shop").unwrap();
        ensure_random(&mut credentials, &map(&[("A", "${pods:random:8}")])).unwrap();
        let uid = Uuid::from_u128(1);
        let sealed = seal(&ring, uid, &credentials).unwrap();
        assert_eq!(open(&ring, uid, &sealed.key_id, &sealed.bytes).unwrap(), credentials);
        assert!(open(&ring, Uuid::from_u128(2), &sealed.key_id, &sealed.bytes).is_err());
    }
}
