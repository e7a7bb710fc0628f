//! OAuth clients of the Authenticator: registered and removed with this service's own token, used for the log-in of
//! users with the authorization code grant and PKCE (S256).

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use url::Url;

use crate::http::{PlatformError, check, endpoint, result_of, result_of_answer, send};
use crate::roles::Roles;
use crate::tenant::Tenant;

/// A client as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSpec {
    /// Its id in the tenant.
    pub client_id: String,
    /// Where the Authenticator sends browsers back to.
    pub callback_url: String,
    /// What the log-in page calls it.
    pub display_name: String,
    /// What it is for.
    pub description: String,
}

/// A code that came back from the log-in page.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The client that asked for it.
    pub client_id: &'a str,
    /// The client's key.
    pub client_key: &'a SecretString,
    /// The code.
    pub code: &'a str,
    /// The callback that was asked for it.
    pub redirect_uri: &'a str,
    /// The PKCE code verifier whose challenge was sent.
    pub code_verifier: &'a str,
}

/// A client could not be registered.
#[derive(Debug, Clone, Error)]
pub enum RegisterError {
    /// The id belongs to a client that somebody else registered.
    #[error("the client id is taken by a client that is not this service's")]
    Taken,
    /// The platform did not answer as it should.
    #[error("the Authenticator cannot be asked for a client")]
    Platform(#[source] PlatformError),
}

/// A code could not be exchanged.
#[derive(Debug, Clone, Error)]
pub enum ExchangeError {
    /// The code is not good: unknown, used, over, or of another log-in.
    #[error("the Authenticator does not accept the code")]
    Refused,
    /// The Authenticator does not know the client by this key.
    #[error("the Authenticator does not know the client by its key")]
    ClientUnknown,
    /// The platform did not answer as it should.
    #[error("the Authenticator cannot be asked for a token")]
    Platform(#[source] PlatformError),
}

/// The Authenticator's clients; see [`crate::Tapis::oauth`].
#[derive(Clone, Copy)]
pub struct OAuth<'a> {
    pub(crate) platform: &'a Roles,
}

#[derive(Deserialize)]
struct RegisteredClient {
    client_key: SecretString,
    #[serde(default)]
    callback_url: String,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: AccessToken,
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: SecretString,
}

impl OAuth<'_> {
    /// The page on which users of a tenant log in for a client.
    #[must_use]
    pub fn authorize_url(
        tenant: &Tenant,
        client_id: &str,
        redirect_uri: &str,
        state: &str,
        challenge: &str,
    ) -> Url {
        let mut url = endpoint(&tenant.base_url, &["v3", "oauth2", "authorize"]);
        url.query_pairs_mut()
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("response_type", "code")
            .append_pair("state", state)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// Registers a client in a tenant and answers its key. A client that this service registered before is brought up
    /// to date, so doing it twice changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register(&self, tenant: &Tenant, spec: &ClientSpec) -> Result<SecretString, RegisterError> {
        let body = json!({
            "client_id": spec.client_id,
            "callback_url": spec.callback_url,
            "display_name": spec.display_name,
            "description": spec.description,
        });
        let clients = endpoint(&tenant.base_url, &["v3", "oauth2", "clients"]);
        let created = self
            .platform
            .as_service(tenant, |http| http.post(clients.clone()).json(&body))
            .await
            .map_err(RegisterError::Platform)?;
        match result_of_answer::<RegisteredClient>(created).await {
            Ok(client) => Ok(client.client_key),
            // How "there is one already" is said differs between versions of the Authenticator.
            Err(error) if error.is_refusal() => self.registered_before(tenant, spec, error).await,
            Err(error) => Err(RegisterError::Platform(error)),
        }
    }

    async fn registered_before(
        &self,
        tenant: &Tenant,
        spec: &ClientSpec,
        refusal: PlatformError,
    ) -> Result<SecretString, RegisterError> {
        let url = endpoint(&tenant.base_url, &["v3", "oauth2", "clients", &spec.client_id]);
        let platform = RegisterError::Platform;
        let found = self.platform.as_service(tenant, |http| http.get(url.clone())).await.map_err(platform)?;
        let client: RegisteredClient = match result_of_answer(found).await {
            Ok(client) => client,
            Err(PlatformError::Status { status: 403 | 404, .. }) => {
                tracing::warn!(error = &refusal as &dyn std::error::Error, "an OAuth client was refused");
                return Err(RegisterError::Taken);
            }
            Err(error) => return Err(platform(error)),
        };
        if client.callback_url != spec.callback_url {
            let body = json!({ "callback_url": spec.callback_url, "display_name": spec.display_name });
            let updated = self.platform.as_service(tenant, |http| http.put(url.clone()).json(&body)).await;
            check(updated.map_err(platform)?).map_err(platform)?;
        }
        Ok(client.client_key)
    }

    /// Removes a client of this service. One that is not there is removed.
    ///
    /// # Errors
    /// When the platform did not answer as it should; the client may still be there.
    pub async fn remove(&self, tenant: &Tenant, client_id: &str) -> Result<(), PlatformError> {
        let url = endpoint(&tenant.base_url, &["v3", "oauth2", "clients", client_id]);
        let answer = self.platform.as_service(tenant, |http| http.delete(url.clone())).await?;
        match check(answer) {
            Err(PlatformError::Status { status: 404, .. }) => Ok(()),
            checked => checked,
        }
    }

    /// Whether the Authenticator still takes a user's access token for what it says. One that was revoked is refused before
    /// it gets there.
    ///
    /// # Errors
    /// When the platform did not answer as it should.
    pub async fn accepts(&self, tenant: &Tenant, token: &str) -> Result<bool, PlatformError> {
        let url = endpoint(&tenant.base_url, &["v3", "oauth2", "userinfo"]);
        let request = self.platform.client().get(url).header("x-tapis-token", token);
        match check(send(request).await?) {
            Ok(()) => Ok(true),
            Err(PlatformError::Status { status: 401 | 403, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Exchanges a code for the user's access token.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(
        &self,
        tenant: &Tenant,
        asked: Exchange<'_>,
    ) -> Result<SecretString, ExchangeError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", asked.code),
            ("redirect_uri", asked.redirect_uri),
            ("code_verifier", asked.code_verifier),
        ];
        let request = self
            .platform
            .client()
            .post(endpoint(&tenant.base_url, &["v3", "oauth2", "tokens"]))
            .basic_auth(asked.client_id, Some(asked.client_key.expose_secret()))
            .form(&form);
        match result_of::<Tokens>(request).await {
            Ok(tokens) => Ok(tokens.access_token.access_token),
            Err(error) if error.is_unauthorized() => Err(ExchangeError::ClientUnknown),
            Err(error) if error.is_refusal() => Err(ExchangeError::Refused),
            Err(error) => Err(ExchangeError::Platform(error)),
        }
    }
}
