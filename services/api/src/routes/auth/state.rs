//! What goes through the platform's login page and comes back. Nothing of it is stored: it is sealed, so that a login that
//! nobody completes costs nothing and disturbs nobody.

use chrono::Utc;
use pods_secrets::{Aad, KeyRing, SealError, token};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long the platform's login page may take its user, in seconds.
const LIFE: i64 = 600;
/// Strangers have as many of them sealed as they like.
const PURPOSE: &str = "login states";

/// A login that is under way at the platform, for an entry of a pod.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(rename = "n")]
    pub network: String,
    /// The host that the visitor came from.
    #[serde(rename = "h")]
    pub host: String,
    /// The tenant whose Authenticator was asked.
    #[serde(rename = "t")]
    pub tenant_id: String,
    /// The OAuth client that asked.
    #[serde(rename = "c")]
    pub client_id: String,
    /// The PKCE code verifier.
    #[serde(rename = "v")]
    pub verifier: String,
    #[serde(rename = "e")]
    pub expires: i64,
    /// What the edge wants back. It is sealed already and goes along as it is.
    #[serde(skip)]
    pub login: String,
}

impl State {
    /// When a state that is made now ends.
    pub fn end() -> i64 {
        Utc::now().timestamp() + LIFE
    }

    /// As a text for URLs.
    pub fn seal(&self, keys: &KeyRing, pod_uid: Uuid) -> Result<String, SealError> {
        let column = column(&self.login);
        let json = serde_json::to_vec(self).map_err(|_| SealError)?;
        let sealed = keys.derived(PURPOSE)?.seal_text(Aad { uid: pod_uid, column: &column }, &json)?;
        Ok(format!("{sealed}.{}", self.login))
    }

    /// Reads a text of [`State::seal`]; nothing when it is of another pod, too old, or none.
    pub fn open(keys: &KeyRing, pod_uid: Uuid, text: &str) -> Option<Self> {
        let (sealed, login) = text.split_once('.')?;
        let column = column(login);
        let keys = keys.derived(PURPOSE).ok()?;
        let json = keys.open_text(Aad { uid: pod_uid, column: &column }, sealed.as_bytes()).ok()?;
        let state: Self = serde_json::from_slice(&json).ok()?;
        (Utc::now().timestamp() < state.expires).then(|| Self { login: login.to_owned(), ..state })
    }

    /// By which it is remembered once it was used.
    pub fn hash(&self) -> [u8; token::DIGEST_LEN] {
        token::digest(&self.verifier)
    }
}

/// The login is a part of what the state is sealed for: neither is worth anything with another one.
fn column(login: &str) -> String {
    format!("login state {login}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Uuid = Uuid::from_u128(7);

    fn keys() -> KeyRing {
        KeyRing::parse([("k1".to_owned(), "07".repeat(32).into())]).unwrap()
    }

    fn state() -> State {
        State {
            network: "default".to_owned(),
            host: "shop.pods.dev.example.org".to_owned(),
            tenant_id: "dev".to_owned(),
            client_id: "PODS-SERVICE-pods-dev-dev-shop-default".to_owned(),
            verifier: "v".repeat(43),
            expires: State::end(),
            login: "a_b-c".to_owned(),
        }
    }

    #[test]
    fn a_state_opens_for_its_pod_in_time_with_its_login() {
        let (keys, state) = (keys(), state());
        let text = state.seal(&keys, POD).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{text}");
        assert!(text.len() < 500, "{} characters, which the platform keeps as well", text.len());
        assert!(!text.contains(&state.verifier));
        assert!(State::open(&keys, POD, &text) == Some(state.clone()));
        assert!(State::open(&keys, Uuid::from_u128(8), &text).is_none(), "another pod");
        let (sealed, _) = text.split_once('.').unwrap();
        for bad in [
            "",
            ".",
            "a_b-c",
            sealed,
            &format!("{sealed}."),
            &format!("{sealed}.a_b-d"),
            &format!("{sealed}.a_b-c."),
            &text[1..],
        ] {
            assert!(State::open(&keys, POD, bad).is_none(), "{bad}");
        }
        let late = State { expires: Utc::now().timestamp(), ..state };
        assert!(State::open(&keys, POD, &late.seal(&keys, POD).unwrap()).is_none(), "too late");
    }
}
