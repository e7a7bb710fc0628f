//! The credentials of a pod: made once, with its row.

use std::collections::{BTreeMap, BTreeSet};

use pods_core::{credentials::Credentials, limits::RANDOM_VALUES_MAX, placeholder};
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

/// Makes the values that `${pods:random:N}` of a merged secret map lack; what is there already stays, also when
/// another length is asked for now. Returns whether something is new and has to be stored.
///
/// # Errors
/// [`SealError`] when the system gives no randomness.
pub fn ensure_random(
    credentials: &mut Credentials,
    secret_map: &BTreeMap<String, String>,
) -> Result<bool, SealError> {
    let mut news = false;
    for (key, len) in placeholder::random_keys(secret_map) {
        if credentials.random_value(&key, len).is_none() {
            credentials.add_random_value(&key, random_value(len)?);
            news = true;
        }
    }
    Ok(news)
}

/// Whether so many values of `${pods:random:N}` have come together that [`drop_unused_random`] is due. Until then a
/// key that is taken away and set again has its old value.
pub fn has_too_many(credentials: &Credentials) -> bool {
    credentials.random.len() > RANDOM_VALUES_MAX
}

/// Drops the values of `${pods:random:N}` that none of these secret maps asks for.
pub fn drop_unused_random<'m>(
    credentials: &mut Credentials,
    secret_maps: impl IntoIterator<Item = &'m BTreeMap<String, String>>,
) {
    let wanted: BTreeSet<(String, usize)> =
        secret_maps.into_iter().flat_map(placeholder::random_keys).collect();
    credentials.retain_random_values(|key, len| wanted.contains(&(key.to_owned(), len)));
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
        // A start with the old length, which a lost pod repeats, finds its value beside the new one.
        let longer = map(&[("A", "${pods:random:20}")]);
        assert!(ensure_random(&mut credentials, &longer).unwrap());
        assert!(!ensure_random(&mut credentials, &longer).unwrap());
        assert_eq!(credentials.random_value("A", 20).unwrap().len(), 20);
        assert!(!ensure_random(&mut credentials, &wanted).unwrap());
        assert_eq!(credentials.random_value("A", 16), Some(first["A"].as_str()));
        drop_unused_random(&mut credentials, [&longer]);
        assert_eq!((credentials.random.len(), credentials.random_value("A", 16)), (1, None));
        assert!(!ensure_random(&mut credentials, &longer).unwrap());
    }

    #[test]
    fn values_that_nobody_asks_for_are_dropped_when_there_are_too_many() {
        let wanted = |prefix: &str| -> BTreeMap<String, String> {
            (0..200).map(|n| (format!("{prefix}{n}"), "${pods:random:16}".to_owned())).collect()
        };
        let mut credentials = generate("shop").unwrap();
        let (first, second, third) = (wanted("a"), wanted("b"), wanted("c"));
        ensure_random(&mut credentials, &first).unwrap();
        ensure_random(&mut credentials, &second).unwrap();
        assert!(!has_too_many(&credentials), "a key that is taken away and set again has its value");
        let before = credentials.random.clone();
        ensure_random(&mut credentials, &third).unwrap();
        assert!(has_too_many(&credentials));
        drop_unused_random(&mut credentials, [&third, &second]);
        assert!(!has_too_many(&credentials));
        assert_eq!(credentials.random.len(), 400);
        assert!(second.keys().all(|key| credentials.random[key] == before[key]));
        assert!(third.keys().all(|key| credentials.random.contains_key(key)));
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
