//! This service's own token.

use std::time::{Duration, Instant};

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use crate::config::TapisConfig;
use crate::http::{PlatformError, endpoint, result_of};

/// The life that is asked for.
const LIFE_SECONDS: u64 = 86_400;

/// A token with less than this left is replaced before it is used.
const MARGIN: Duration = Duration::from_secs(60);

/// Gets the token when it is needed, once for everybody who waits, and again before it expires.
pub struct ServiceToken {
    client: Client,
    service_name: String,
    service_tenant_id: String,
    password: SecretString,
    target_site_id: String,
    current: Mutex<Option<Current>>,
}

struct Current {
    token: SecretString,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: AccessToken,
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl ServiceToken {
    pub fn new(config: &TapisConfig, site_id: &str, client: Client) -> Self {
        Self {
            client,
            service_name: config.service_name.clone(),
            service_tenant_id: config.service_tenant_id.clone(),
            password: config.service_password.clone(),
            target_site_id: site_id.to_owned(),
            current: Mutex::new(None),
        }
    }

    pub fn has_password(&self) -> bool {
        !self.password.expose_secret().is_empty()
    }

    /// A token that is good for a while.
    pub async fn get(&self, base: &Url) -> Result<SecretString, PlatformError> {
        let mut current = self.current.lock().await;
        if let Some(known) = current.as_ref().filter(|known| Instant::now() < known.renew_at) {
            return Ok(known.token.clone());
        }
        let request = self
            .client
            .post(endpoint(base, &["v3", "tokens"]))
            .basic_auth(&self.service_name, Some(self.password.expose_secret()))
            .json(&json!({
                "token_username": self.service_name,
                "token_tenant_id": self.service_tenant_id,
                "account_type": "service",
                "access_token_ttl": LIFE_SECONDS,
                "generate_refresh_token": false,
                "target_site_id": self.target_site_id,
            }));
        let answer: Answer = result_of(request).await?;
        let life = Duration::from_secs(answer.access_token.expires_in.unwrap_or(LIFE_SECONDS));
        let token = answer.access_token.access_token;
        let renew_at = Instant::now() + life.saturating_sub(MARGIN.min(life / 2));
        *current = Some(Current { token: token.clone(), renew_at });
        Ok(token)
    }

    /// Forgets a token that was refused, unless it has been replaced already.
    pub async fn forget(&self, refused: &SecretString) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|known| known.token.expose_secret() == refused.expose_secret()) {
            *current = None;
        }
    }
}
