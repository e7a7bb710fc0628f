//! Random texts.

use aws_lc_rs::rand;

use crate::SealError;

/// Letters and digits: what every program accepts as a password.
pub(crate) const WORD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// What `${pods:random:N}` is made of.
const VALUE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*";

/// A value for `${pods:random:N}` with `len` characters.
///
/// # Errors
/// [`SealError`] when the system gives no randomness.
pub fn random_value(len: usize) -> Result<String, SealError> {
    random_text(VALUE, len)
}

/// `len` characters, each of `alphabet` with the same probability. The alphabet is ASCII.
pub(crate) fn random_text(alphabet: &[u8], len: usize) -> Result<String, SealError> {
    // Bytes past the largest multiple of the alphabet's length would favour its first characters.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(len);
    while text.len() < len {
        let mut bytes = [0_u8; 64];
        rand::fill(&mut bytes).map_err(|_| SealError)?;
        let fitting = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let missing = len - text.len();
        text.extend(fitting.take(missing).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_value_has_its_length_and_alphabet_and_is_never_the_same() {
        for len in [0, 8, 128, 1000] {
            let text = random_value(len).unwrap();
            assert_eq!(text.len(), len);
            assert!(text.bytes().all(|byte| VALUE.contains(&byte)));
        }
        let many: BTreeSet<String> = (0..1000).map(|_| random_value(8).unwrap()).collect();
        assert_eq!(many.len(), 1000);
    }

    #[test]
    fn every_character_occurs() {
        let text = random_text(WORD, 100_000).unwrap();
        let mut counts = [0_usize; 256];
        text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        // 1613 expected each; a bias of one byte in 256 would show as a quarter more for some.
        assert!(WORD.iter().all(|byte| (1350..1880).contains(&counts[usize::from(*byte)])));
    }
}
