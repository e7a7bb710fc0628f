//! The OAuth client of an entry: registered at the first login, known from then on.

use pods_db::logins::clients::{self, Wanted};
use pods_secrets::{Aad, token};
use secrecy::{ExposeSecret, SecretString};
use tapis::{ClientSpec, RegisterError, Tenant};
use uuid::Uuid;

use super::{PLATFORM, place::Place, refusal::Refusal};
use crate::state::AppState;

/// What the key of a client is sealed for.
pub(super) const CLIENT_KEY: &str = "oauth client";

/// A client that visitors can be sent to the login page with.
pub(super) struct Client {
    pub client_id: String,
    pub callback_url: String,
    pub key: SecretString,
}

/// The client of an entry in a tenant; registers it when there is none, or when the address to return to has changed.
pub(super) async fn ensure(app: &AppState, place: &Place, tenant: &Tenant) -> Result<Client, Refusal> {
    let callback_url = place.callback_url();
    let uid = place.gate.uid();
    let stored = {
        let mut conn = app.db.get().await?;
        clients::find(&mut conn, uid, place.gate.network(), &tenant.tenant_id).await?
    };
    if let Some(stored) = &stored
        && stored.callback_url == callback_url
        && let (Some(key_id), Some(sealed)) = (&stored.key_id, &stored.sealed)
    {
        match open(app, uid, key_id, sealed) {
            Ok(key) => return Ok(Client { client_id: stored.client_id.clone(), callback_url, key }),
            // The platform still knows it.
            Err(error) => {
                tracing::warn!(client.id = stored.client_id, %error, "the key of an OAuth client does not open")
            }
        }
    }
    // The id stays what it was; a new one follows from the pod's name.
    let usual = format!("PODS-SERVICE-{}-{}", place.k8_name, place.gate.network());
    let client_id = stored.map_or(usual, |stored| stored.client_id);
    if let Some(client) = register(app, place, tenant, &client_id, &callback_url).await? {
        return Ok(client);
    }
    // Whoever has this id keeps no pod from having visitors.
    let other = format!("{client_id}-{}", &token::random_token()?[..12]);
    tracing::warn!(client.id = client_id, instead = other, "the id of an OAuth client is somebody else's");
    register(app, place, tenant, &other, &callback_url).await?.ok_or(Refusal::Unavailable)
}

/// The key of a client that is stored.
pub(super) fn open(
    app: &AppState,
    uid: Uuid,
    key_id: &str,
    sealed: &[u8],
) -> Result<SecretString, pods_secrets::OpenError> {
    let key = app.keys.open(Aad { uid, column: CLIENT_KEY }, key_id, sealed)?;
    // Keys are ASCII; anything else would be refused by the platform.
    Ok(String::from_utf8_lossy(&key).into_owned().into())
}

/// Nothing when the id is somebody else's.
async fn register(
    app: &AppState,
    place: &Place,
    tenant: &Tenant,
    client_id: &str,
    callback_url: &str,
) -> Result<Option<Client>, Refusal> {
    let uid = place.gate.uid();
    let wanted = Wanted {
        site_id: app.tapis.site_id(),
        tenant_id: &tenant.tenant_id,
        client_id,
        pod_uid: uid,
        network: place.gate.network(),
        callback_url,
    };
    if !clients::reserve(&mut *app.db.get().await?, wanted).await? {
        return Err(Refusal::Unavailable);
    }
    let _turn = PLATFORM.try_acquire().map_err(|_| Refusal::Unavailable)?;
    let spec = ClientSpec {
        client_id: client_id.to_owned(),
        callback_url: callback_url.to_owned(),
        display_name: format!("Pod {}", place.gate.pod_id()),
        description: "Login of visitors of a pod; made and removed by the Pods service".to_owned(),
    };
    let key = match app.tapis.oauth().register(tenant, &spec).await {
        Ok(key) => key,
        Err(RegisterError::Taken) => {
            clients::abandon(&mut *app.db.get().await?, wanted).await?;
            return Ok(None);
        }
        Err(RegisterError::Platform(error)) => {
            tracing::warn!(client.id = client_id, error = %error, "an OAuth client cannot be registered");
            return Err(Refusal::Unavailable);
        }
    };
    let sealed = app.keys.seal(Aad { uid, column: CLIENT_KEY }, key.expose_secret().as_bytes())?;
    if !clients::store_key(&mut *app.db.get().await?, wanted, &sealed.key_id, &sealed.bytes).await? {
        return Err(Refusal::Unknown);
    }
    tracing::info!(client.id = client_id, pod.uid = %uid, "an OAuth client was registered");
    Ok(Some(Client { client_id: client_id.to_owned(), callback_url: callback_url.to_owned(), key }))
}
