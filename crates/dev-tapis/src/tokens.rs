//! Minting and reading the tokens of the pretended platform, with the claims the real one uses.

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Platform;

/// Life of a refresh token.
const REFRESH_SECONDS: i64 = 365 * 24 * 3600;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Presented with requests.
    Access,
    /// Exchanged for a new access token, and for nothing else.
    Refresh,
}

impl Kind {
    /// As the claim says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// Whom a token speaks of.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The tenant; its key signs.
    pub tenant_id: String,
    /// The user or the service.
    pub username: String,
    /// The site a service token is meant for; `None` makes a user token.
    pub target_site: Option<String>,
    /// The OAuth client through which the token was asked for.
    pub client_id: Option<String>,
    /// How it was asked for.
    pub grant_type: &'static str,
}

/// The claims the stand-in reads back from its own tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The tenant.
    #[serde(rename = "tapis/tenant_id")]
    pub tenant_id: String,
    /// The user or the service.
    #[serde(rename = "tapis/username")]
    pub username: String,
    /// `user` or `service`.
    #[serde(rename = "tapis/account_type")]
    pub account_type: String,
    /// `access` or `refresh`.
    #[serde(rename = "tapis/token_type")]
    pub token_type: String,
    /// The site a service token is meant for.
    #[serde(rename = "tapis/target_site", default)]
    pub target_site: Option<String>,
    /// The OAuth client.
    #[serde(rename = "tapis/client_id", default)]
    pub client_id: Option<String>,
}

impl Platform {
    /// Signs a token that lives `seconds` from now (a negative number makes one that is over already).
    ///
    /// # Errors
    /// When the tenant's key cannot be read or made.
    pub fn mint(&self, subject: &Subject, kind: Kind, seconds: i64) -> anyhow::Result<String> {
        Ok(self.mint_described(subject, kind, seconds)?.0)
    }

    fn mint_described(
        &self,
        subject: &Subject,
        kind: Kind,
        seconds: i64,
    ) -> anyhow::Result<(String, String, DateTime<Utc>)> {
        let now = Utc::now();
        let expires_at = now + Duration::seconds(seconds);
        let jti = Uuid::new_v4().to_string();
        let sub = format!("{}@{}", subject.username, subject.tenant_id);
        let mut claims = json!({
            "jti": jti,
            "iss": self.issuer(&subject.tenant_id),
            "sub": sub,
            "iat": now.timestamp(),
            "exp": expires_at.timestamp(),
            "tapis/tenant_id": subject.tenant_id,
            "tapis/username": subject.username,
            "tapis/token_type": kind.name(),
            "tapis/account_type": if subject.target_site.is_some() { "service" } else { "user" },
            "tapis/delegation": false,
            "tapis/delegation_sub": null,
            "tapis/client_id": subject.client_id,
            "tapis/grant_type": subject.grant_type,
        });
        if let Some(site) = &subject.target_site {
            claims["tapis/target_site"] = json!(site);
        }
        if kind == Kind::Refresh {
            claims["tapis/initial_ttl"] = json!(seconds);
            claims["tapis/access_token"] =
                json!({ "tapis/username": subject.username, "ttl": self.config().access_token_seconds });
        }
        let key = self.key(&subject.tenant_id)?;
        let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key.encoding)?;
        Ok((token, jti, expires_at))
    }

    /// The pair of access and refresh token as the token endpoints answer it.
    ///
    /// # Errors
    /// As [`Platform::mint`].
    pub fn token_pair(&self, subject: &Subject, access_seconds: i64) -> anyhow::Result<Value> {
        let describe = |kind: Kind, seconds: i64| -> anyhow::Result<Value> {
            let (token, jti, expires_at) = self.mint_described(subject, kind, seconds)?;
            let mut described = json!({
                "expires_at": expires_at.to_rfc3339_opts(SecondsFormat::Micros, true),
                "expires_in": seconds,
                "jti": jti,
            });
            described[format!("{}_token", kind.name())] = json!(token);
            Ok(described)
        };
        Ok(json!({
            "access_token": describe(Kind::Access, access_seconds)?,
            "refresh_token": describe(Kind::Refresh, REFRESH_SECONDS)?,
        }))
    }

    /// Reads a token of one of the tenants; `None` when it is not one of ours, over, or of the other kind.
    #[must_use]
    pub fn read_token(&self, token: &str, kind: Kind) -> Option<Claims> {
        let unverified: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        let tenant = self.config().tenant(&unverified.tenant_id)?;
        let key = self.key(&tenant.tenant_id).ok()?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).ok()?.claims;
        (claims.token_type == kind.name()).then_some(claims)
    }

    fn issuer(&self, tenant_id: &str) -> String {
        let base =
            self.config().tenant(tenant_id).map(|tenant| crate::config::without_slash(&tenant.base_url));
        format!("{}/v3/tokens", base.unwrap_or_default())
    }
}
