//! What a token says, and the checks that need no key. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::TokenError;

/// Tapis tokens have about 1 KiB; anything far longer is not one.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A username longer than this is not one.
const MAX_USERNAME_BYTES: usize = 255;

/// What kind of account a token speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountType {
    /// A person.
    User,
    /// A Tapis service.
    Service,
}

/// The verified content of an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The tenant, whose key signed.
    pub tenant_id: String,
    /// The user or the service.
    pub username: String,
    /// Which of the two.
    pub account_type: AccountType,
    /// The site a service token is meant for.
    pub target_site: Option<String>,
    /// Was the token made by somebody on the user's behalf?
    pub delegation: bool,
    /// The OAuth client it was asked through.
    pub client_id: Option<String>,
    /// Its id, good for logs.
    pub jti: Option<String>,
    /// When its time is over, in seconds since 1970.
    pub expires_at: i64,
}

/// The same before any check.
#[derive(Debug, Deserialize)]
pub(crate) struct RawClaims {
    #[serde(rename = "tapis/tenant_id")]
    tenant_id: Option<String>,
    #[serde(rename = "tapis/username")]
    username: Option<String>,
    #[serde(rename = "tapis/account_type")]
    account_type: Option<String>,
    #[serde(rename = "tapis/token_type")]
    token_type: Option<String>,
    #[serde(rename = "tapis/target_site")]
    target_site: Option<String>,
    #[serde(rename = "tapis/delegation")]
    delegation: Option<bool>,
    #[serde(rename = "tapis/client_id")]
    client_id: Option<String>,
    jti: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Value>,
}

/// `"aud": null` is present, too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What can be read before the key is known: that it looks like an RS256 token, and its tenant.
pub(crate) fn unverified_tenant(token: &str) -> Result<String, TokenError> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    #[derive(Deserialize)]
    struct Payload {
        #[serde(rename = "tapis/tenant_id")]
        tenant_id: Option<String>,
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let header: Header = decode_part(header)?;
    if header.alg != "RS256" {
        return Err(TokenError::Algorithm);
    }
    let payload: Payload = decode_part(payload)?;
    payload.tenant_id.ok_or(TokenError::Claims)
}

fn decode_part<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

impl RawClaims {
    /// The checks after the signature, at `now` (seconds since 1970, with fractions). There is no leeway.
    pub(crate) fn check(self, now: f64) -> Result<Claims, TokenError> {
        let exp = self.exp.ok_or(TokenError::Claims)?;
        if exp <= now {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf > now) {
            return Err(TokenError::NotYetValid);
        }
        if self.aud.is_some() {
            return Err(TokenError::Audience);
        }
        if self.token_type.as_deref() != Some("access") {
            return Err(TokenError::NotAccess);
        }
        let account_type = match self.account_type.as_deref() {
            Some("user") => AccountType::User,
            Some("service") => AccountType::Service,
            _ => return Err(TokenError::Claims),
        };
        let username = self.username.filter(|name| is_usable_username(name)).ok_or(TokenError::Claims)?;
        Ok(Claims {
            tenant_id: self.tenant_id.ok_or(TokenError::Claims)?,
            username,
            account_type,
            target_site: self.target_site,
            delegation: self.delegation.unwrap_or(false),
            client_id: self.client_id,
            jti: self.jti,
            expires_at: exp as i64,
        })
    }
}

/// May this be the name of somebody who acts? Refused is what could be read as a grant to many (`*`, `tenant.`), as another path
/// or header, or what is no name at all.
pub(crate) fn is_usable_username(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_USERNAME_BYTES
        && name != "."
        && name != ".."
        && !name.starts_with("tenant.")
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '*')
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::{AccountType, RawClaims, is_usable_username, unverified_tenant};
    use crate::error::TokenError;

    const NOW: f64 = 1_000_000.5;

    fn check_with(change: impl FnOnce(&mut Value)) -> Result<super::Claims, TokenError> {
        let mut claims = json!({
            "sub": "alice@dev", "iss": "x", "jti": "j", "exp": 1_000_001, "iat": 1,
            "tapis/tenant_id": "dev", "tapis/username": "alice", "tapis/account_type": "user",
            "tapis/token_type": "access", "tapis/delegation": false, "tapis/client_id": null,
        });
        change(&mut claims);
        serde_json::from_value::<RawClaims>(claims).unwrap().check(NOW)
    }

    #[test]
    fn a_good_token_is_read() {
        let claims = check_with(|_| ()).unwrap();
        assert_eq!((claims.tenant_id.as_str(), claims.username.as_str()), ("dev", "alice"));
        assert_eq!(claims.account_type, AccountType::User);
        assert_eq!(claims.expires_at, 1_000_001);
    }

    #[test]
    fn every_rejection_has_its_reason() {
        let cases: [(&str, Value, TokenError); 17] = [
            ("exp", json!(null), TokenError::Claims),
            ("exp", json!(1_000_000.5), TokenError::Expired),
            ("exp", json!(1), TokenError::Expired),
            ("exp", json!(-1), TokenError::Expired),
            ("nbf", json!(1_000_001), TokenError::NotYetValid),
            ("aud", json!("pods"), TokenError::Audience),
            ("aud", json!([]), TokenError::Audience),
            ("aud", json!(null), TokenError::Audience),
            ("tapis/token_type", json!("refresh"), TokenError::NotAccess),
            ("tapis/token_type", json!(null), TokenError::NotAccess),
            ("tapis/account_type", json!("robot"), TokenError::Claims),
            ("tapis/account_type", json!(null), TokenError::Claims),
            ("tapis/tenant_id", json!(null), TokenError::Claims),
            ("tapis/username", json!(null), TokenError::Claims),
            ("tapis/username", json!(""), TokenError::Claims),
            ("tapis/username", json!("tenant.dev"), TokenError::Claims),
            ("tapis/username", json!("**"), TokenError::Claims),
        ];
        for (claim, value, expected) in cases {
            let shown = format!("{claim}={value}");
            assert_eq!(check_with(|claims| claims[claim] = value).unwrap_err(), expected, "{shown}");
        }
        assert!(check_with(|claims| claims["nbf"] = json!(1_000_000)).is_ok());
    }

    #[test]
    fn usernames() {
        for good in ["alice", "_tapis_pods", "a@b.example", "tenant", "http://idp/users/1", "ünal"] {
            assert!(is_usable_username(good), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "*", "a*", "tenant.x", ".", "..", &"x".repeat(256)] {
            assert!(!is_usable_username(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_no_rs256_token_is_refused_before_any_key() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = |alg: &str, payload: Value| format!("{}.{}.AA", part(json!({"alg": alg})), part(payload));
        let dev = || json!({"tapis/tenant_id": "dev"});
        assert_eq!(unverified_tenant(&token("RS256", dev())), Ok("dev".to_owned()));
        for alg in ["none", "None", "HS256", "RS512", "PS256", "ES256", ""] {
            assert_eq!(unverified_tenant(&token(alg, dev())), Err(TokenError::Algorithm), "{alg}");
        }
        assert_eq!(unverified_tenant(&token("RS256", json!({}))), Err(TokenError::Claims));
        let good = token("RS256", dev());
        for bad in ["", "x", "a.b", "a.b.c", ".. ", &format!("{good}.x"), &"x".repeat(9000)] {
            assert_eq!(unverified_tenant(bad), Err(TokenError::Malformed), "{bad}");
        }
    }
}
