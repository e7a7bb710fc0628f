//! Sealed values as texts that can stand in a URL or a cookie.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;

use crate::{Aad, KeyRing, OpenError, SealError};

impl KeyRing {
    /// Seals a value as [`KeyRing::seal`] does; the text names its key.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_text(&self, aad: Aad<'_>, plaintext: &[u8]) -> Result<String, SealError> {
        let sealed = self.seal(aad, plaintext)?;
        // A key's id has 64 characters at most.
        let length = u8::try_from(sealed.key_id.len()).map_err(|_| SealError)?;
        let bytes = [&[length][..], sealed.key_id.as_bytes(), &sealed.bytes].concat();
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens a text of [`KeyRing::seal_text`].
    ///
    /// # Errors
    /// [`OpenError`]; anything that is no such text counts as damaged.
    pub fn open_text(&self, aad: Aad<'_>, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let damaged = || OpenError::Damaged(String::new());
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (length, rest) = bytes.split_first().ok_or_else(damaged)?;
        let (key_id, sealed) = rest.split_at_checked(usize::from(*length)).ok_or_else(damaged)?;
        let key_id = std::str::from_utf8(key_id).map_err(|_| damaged())?;
        self.open(aad, key_id, sealed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn ring(keys: &[(&str, &str)]) -> KeyRing {
        KeyRing::parse(keys.iter().map(|(id, byte)| ((*id).to_owned(), byte.repeat(32).into()))).unwrap()
    }

    const PLACE: Aad<'static> = Aad { uid: Uuid::from_u128(1), column: "session" };

    #[test]
    fn a_text_opens_with_the_key_that_it_names() {
        let old = ring(&[("k1", "01")]).seal_text(PLACE, b"hello").unwrap();
        assert!(old.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{old}");
        let both = ring(&[("k2", "02"), ("k1", "01")]);
        assert_eq!(*both.open_text(PLACE, old.as_bytes()).unwrap(), b"hello");
        assert!(ring(&[("k2", "02")]).open_text(PLACE, old.as_bytes()).is_err());
        let elsewhere = Aad { uid: Uuid::from_u128(2), ..PLACE };
        assert!(both.open_text(elsewhere, old.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_else_opens(bytes: Vec<u8>, text in "[A-Za-z0-9_-]{0,80}") {
            let ring = ring(&[("k1", "01")]);
            prop_assert!(ring.open_text(PLACE, &bytes).is_err());
            prop_assert!(ring.open_text(PLACE, text.as_bytes()).is_err());
        }

        #[test]
        fn any_value_survives_the_round_trip(value: Vec<u8>) {
            let ring = ring(&[("k1", "01")]);
            let text = ring.seal_text(PLACE, &value).unwrap();
            prop_assert_eq!(&*ring.open_text(PLACE, text.as_bytes()).unwrap(), &value);
        }
    }
}
