//! The keys, and what they seal and open.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{self, AES_256_GCM, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use uuid::Uuid;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Longest id of a key.
const KEY_ID_MAX: usize = 64;

/// The keys of an installation: the first one seals, all of them open. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<Vec<Key>>,
}

struct Key {
    id: String,
    key: RandomizedNonceKey,
    /// What the keys of [`KeyRing::derived`] follow from.
    root: Prk,
}

/// A sealed value, as its row stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key that it is sealed with.
    pub key_id: String,
    /// Nonce, ciphertext and tag.
    pub bytes: Vec<u8>,
}

/// Where a sealed value belongs; it opens there only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a> {
    /// The uid of the row's owner, such as the pod.
    pub uid: Uuid,
    /// What the value is, for example `credentials`.
    pub column: &'a str,
}

/// Why the configured keys cannot be used. The texts name the position of a key, counted from 1: what stands where its id
/// belongs may be the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key.
    #[error("no key is configured; set `keys`, for example with 32 bytes of `openssl rand -base64 32`")]
    Empty,
    /// An id that is no name.
    #[error("the id of key number {0} must have 1 to 64 characters of A-Z a-z 0-9 . _ -")]
    Id(usize),
    /// Two keys have the same id.
    #[error("key number {0} has the id of an earlier one; every key needs an id of its own")]
    Twice(usize),
    /// Not 32 bytes.
    #[error("key number {0} must be 32 bytes, written as base64 or as 64 hexadecimal digits")]
    Malformed(usize),
}

/// A value could not be sealed: the system gives no randomness or the value is far too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source or cipher failed")]
pub struct SealError;

/// Why a value does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// This process does not have the key.
    #[error("key \"{0}\" is not among the keys of this process; add it to its `keys`")]
    UnknownKey(String),
    /// The value was changed or moved, or its key id stands for other bytes here.
    #[error(
        "the value does not open with key \"{0}\": it is damaged, or the key of that id has other bytes in this process"
    )]
    Damaged(String),
}

impl KeyRing {
    /// Reads keys, each an id and 32 bytes as base64 or hexadecimal digits. The first one is the current one.
    ///
    /// # Errors
    /// [`KeyError`]; the text never holds a part of a key.
    pub fn parse(keys: impl IntoIterator<Item = (String, SecretString)>) -> Result<Self, KeyError> {
        let mut ring: Vec<Key> = Vec::new();
        for (number, (id, text)) in (1..).zip(keys) {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if id.is_empty() || id.len() > KEY_ID_MAX || !id.chars().all(fits) {
                return Err(KeyError::Id(number));
            }
            if ring.iter().any(|known| known.id == id) {
                return Err(KeyError::Twice(number));
            }
            let bytes = key_bytes(text.expose_secret()).ok_or(KeyError::Malformed(number))?;
            ring.push(Key::new(id, &bytes).map_err(|_| KeyError::Malformed(number))?);
        }
        if ring.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self { keys: Arc::new(ring) })
    }

    /// Keys that follow from these and from `purpose`, with the same ids. What strangers can have sealed as often as they
    /// like is sealed with such keys: the random nonces that it uses up are not those of anything else.
    ///
    /// # Errors
    /// [`SealError`], which no purpose causes.
    pub fn derived(&self, purpose: &str) -> Result<Self, SealError> {
        let keys: Result<Vec<Key>, Unspecified> = self.keys.iter().map(|key| key.derived(purpose)).collect();
        Ok(Self { keys: Arc::new(keys.map_err(|_| SealError)?) })
    }

    /// Seals a value with the current key and a random nonce.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, aad: Aad<'_>, plaintext: &[u8]) -> Result<Sealed, SealError> {
        let current = self.current();
        // Encrypted in place: this copy of the plaintext becomes the ciphertext. Room for the tag is there from the
        // start, so that growing leaves no other copy behind.
        let mut body = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
        body.extend_from_slice(plaintext);
        let nonce = current
            .key
            .seal_in_place_append_tag(aead::Aad::from(aad.bytes()), &mut body)
            .map_err(|_| SealError)?;
        let bytes = [nonce.as_ref().as_slice(), body.as_slice()].concat();
        Ok(Sealed { key_id: current.id.clone(), bytes })
    }

    /// Opens a value that was sealed for this place.
    ///
    /// # Errors
    /// [`OpenError`]; both are for the operator to mend, and another process may be able to open the value.
    pub fn open(&self, aad: Aad<'_>, key_id: &str, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let known = self
            .keys
            .iter()
            .find(|key| key.id == key_id)
            .ok_or_else(|| OpenError::UnknownKey(key_id.to_owned()))?;
        let damaged = || OpenError::Damaged(key_id.to_owned());
        let (nonce, body) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = known
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aead::Aad::from(aad.bytes()), &mut body)
            .map_err(|_| damaged())?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// Whether a value is sealed with another key than the current one.
    pub fn needs_reseal(&self, key_id: &str) -> bool {
        self.current().id != key_id
    }

    fn current(&self) -> &Key {
        self.keys.first().expect("a ring has at least one key")
    }
}

impl Key {
    fn new(id: String, bytes: &[u8]) -> Result<Self, Unspecified> {
        let root = Salt::new(HKDF_SHA256, b"tapis-pods").extract(bytes);
        Ok(Self { id, key: RandomizedNonceKey::new(&AES_256_GCM, bytes)?, root })
    }

    fn derived(&self, purpose: &str) -> Result<Self, Unspecified> {
        let mut bytes = Zeroizing::new([0_u8; KEY_LEN]);
        self.root.expand(&[purpose.as_bytes()], &AES_256_GCM)?.fill(bytes.as_mut_slice())?;
        Self::new(self.id.clone(), bytes.as_slice())
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Aad<'_> {
    /// The uid has a fixed length, so no other place has the same bytes.
    fn bytes(&self) -> Vec<u8> {
        [self.uid.as_bytes().as_slice(), self.column.as_bytes()].concat()
    }
}

fn key_bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    let bytes = if text.len() == 2 * KEY_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let digits = text.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.map(byte).collect::<Option<Vec<u8>>>()?
    } else {
        STANDARD.decode(text).ok()?
    };
    let bytes = Zeroizing::new(bytes);
    (bytes.len() == KEY_LEN).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: &str, byte: u8) -> (String, SecretString) {
        (id.to_owned(), STANDARD.encode([byte; KEY_LEN]).into())
    }

    fn ring(keys: &[(&str, u8)]) -> KeyRing {
        KeyRing::parse(keys.iter().map(|(id, byte)| key(id, *byte))).unwrap()
    }

    fn place() -> Aad<'static> {
        Aad { uid: Uuid::from_u128(7), column: "credentials" }
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let ring = ring(&[("k1", 1)]);
        let sealed = ring.seal(place(), b"canary").unwrap();
        assert_eq!(sealed.key_id, "k1");
        assert!(!sealed.bytes.windows(6).any(|part| part == b"canary"));
        assert_eq!(*ring.open(place(), "k1", &sealed.bytes).unwrap(), b"canary");
        let elsewhere = [
            Aad { uid: Uuid::from_u128(8), ..place() },
            Aad { column: "secret", ..place() },
            Aad { column: "", ..place() },
        ];
        for aad in elsewhere {
            assert_eq!(
                ring.open(aad, "k1", &sealed.bytes),
                Err(OpenError::Damaged("k1".to_owned())),
                "{aad:?}"
            );
        }
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let ring = ring(&[("k1", 1)]);
        assert_ne!(ring.seal(place(), b"x").unwrap().bytes, ring.seal(place(), b"x").unwrap().bytes);
    }

    #[test]
    fn keys_are_changed_without_losing_what_the_old_one_sealed() {
        let before = ring(&[("k1", 1)]);
        let old = before.seal(place(), b"value").unwrap();
        let after = ring(&[("k2", 2), ("k1", 1)]);
        assert_eq!(*after.open(place(), &old.key_id, &old.bytes).unwrap(), b"value");
        assert!(after.needs_reseal(&old.key_id) && !before.needs_reseal(&old.key_id));
        let new = after.seal(place(), b"value").unwrap();
        assert_eq!(new.key_id, "k2");
        assert_eq!(
            before.open(place(), &new.key_id, &new.bytes),
            Err(OpenError::UnknownKey("k2".to_owned()))
        );
        let other_bytes = ring(&[("k1", 9)]);
        assert_eq!(other_bytes.open(place(), "k1", &old.bytes), Err(OpenError::Damaged("k1".to_owned())));
    }

    #[test]
    fn derived_keys_open_what_they_sealed_and_nothing_else() {
        let ring = ring(&[("k2", 2), ("k1", 1)]);
        let derived = ring.derived("logins").unwrap();
        let sealed = derived.seal(place(), b"value").unwrap();
        assert_eq!(sealed.key_id, "k2");
        assert_eq!(*derived.open(place(), "k2", &sealed.bytes).unwrap(), b"value");
        let again = self::ring(&[("k3", 3), ("k2", 2)]).derived("logins").unwrap();
        assert_eq!(*again.open(place(), "k2", &sealed.bytes).unwrap(), b"value", "in another process");
        let damaged = Err(OpenError::Damaged("k2".to_owned()));
        for other in [ring.clone(), ring.derived("other").unwrap(), derived.derived("logins").unwrap()] {
            assert_eq!(other.open(place(), "k2", &sealed.bytes), damaged);
        }
        let own = ring.seal(place(), b"value").unwrap();
        assert_eq!(derived.open(place(), "k2", &own.bytes), damaged);
    }

    #[test]
    fn keys_are_base64_or_hexadecimal_and_nothing_else() {
        let hexadecimal = "01".repeat(KEY_LEN);
        let same = KeyRing::parse([("k1".to_owned(), format!(" {hexadecimal}\n").into())]).unwrap();
        let sealed = same.seal(place(), b"x").unwrap();
        assert!(ring(&[("k1", 1)]).open(place(), "k1", &sealed.bytes).is_ok());

        let refuse = |id: &str, text: &str| KeyRing::parse([(id.to_owned(), text.into())]).unwrap_err();
        for text in ["", "canary", &"0".repeat(62), &"0".repeat(66), &STANDARD.encode([1; 31])] {
            let error = refuse("k1", text);
            assert_eq!(error, KeyError::Malformed(1));
            assert!(!error.to_string().contains("canary"));
        }
        let swapped = refuse(&hexadecimal, "k1").to_string();
        assert!(!swapped.contains(&hexadecimal) && swapped.contains("number 1"), "{swapped}");
        assert!(!refuse(&STANDARD.encode([1; KEY_LEN]), "k1").to_string().contains("AQEB"));
        for id in ["", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(refuse(id, &hexadecimal), KeyError::Id(1));
        }
        assert_eq!(KeyRing::parse([]).unwrap_err(), KeyError::Empty);
        let twice = KeyRing::parse([key("k1", 1), key("k1", 2)]);
        assert_eq!(twice.unwrap_err(), KeyError::Twice(2));
    }

    #[test]
    fn nothing_shows_a_key() {
        let shown = format!("{:?}", ring(&[("k2", 2), ("k1", 1)]));
        assert_eq!(shown, r#"["k2", "k1"]"#);
    }

    proptest! {
        #[test]
        fn any_value_survives_the_round_trip(value: Vec<u8>, uid: u128, column in "[a-z]{0,12}") {
            let ring = ring(&[("k1", 1)]);
            let aad = Aad { uid: Uuid::from_u128(uid), column: &column };
            let sealed = ring.seal(aad, &value).unwrap();
            prop_assert_eq!(&*ring.open(aad, "k1", &sealed.bytes).unwrap(), &value);
        }

        #[test]
        fn a_changed_bit_or_length_never_opens(value: Vec<u8>, at: usize, bit in 0_u32..8) {
            let ring = ring(&[("k1", 1)]);
            let sealed = ring.seal(place(), &value).unwrap().bytes;
            let mut changed = sealed.clone();
            let at = at % sealed.len();
            changed[at] ^= 1_u8 << bit;
            prop_assert!(ring.open(place(), "k1", &changed).is_err());
            prop_assert!(ring.open(place(), "k1", &sealed[..at]).is_err());
            prop_assert!(ring.open(place(), "k1", &[&sealed[..], &[0]].concat()).is_err());
        }
    }
}
