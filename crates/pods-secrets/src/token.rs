//! One-time secrets for strangers: made here, given out once, remembered by their digest.

use aws_lc_rs::{constant_time, digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::SealError;

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 32;

/// A text of 43 characters for URLs and cookies, with 256 random bits.
///
/// # Errors
/// [`SealError`] when the system gives no randomness.
pub fn random_token() -> Result<String, SealError> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| SealError)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a token: whoever reads it cannot make the token from it.
pub fn digest(token: &str) -> [u8; DIGEST_LEN] {
    let mut bytes = [0_u8; DIGEST_LEN];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

/// The same as text for URLs: also the code challenge of a code verifier (RFC 7636, S256).
pub fn digest_text(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(token))
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, two) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!((one.len(), two.len()), (43, 43));
        assert_ne!(one, two);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert!(same(&one, &one.clone()) && !same(&one, &two) && !same(&one, &one[1..]) && same("", ""));
    }

    #[test]
    fn a_digest_is_the_challenge_of_its_verifier() {
        // The example of RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(digest_text(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
