//! The OAuth client of an entry: registered at the first login, known from then on.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pods_db::logins::clients::{self, Wanted};
use pods_secrets::{Aad, token};
use secrecy::{ExposeSecret, SecretString};
use tapis::{ClientSpec, RegisterError, Tenant};
use uuid::Uuid;

use super::{
    place::Place,
    refusal::Refusal,
    turns::{self, Address},
};
use crate::state::AppState;

/// What the key of a client is sealed for.
pub(super) const CLIENT_KEY: &str = "oauth client";

/// A client that visitors can be sent to the login page with.
pub(super) struct Client {
    pub client_id: String,
    pub callback_url: String,
    pub key: SecretString,
}

/// An entry and the tenant of a client.
type Entry = (Uuid, String, String);

/// When the registration of an entry's client failed last.
static FAILED: LazyLock<Mutex<HashMap<Entry, Instant>>> = LazyLock::new(Mutex::default);
/// For so long nobody tries again.
const PAUSE: Duration = Duration::from_secs(10);
/// More failures than these are not kept when they are old.
const FAILED_MAX: usize = 1000;
/// One registration of an entry at a time; entries share these by their hash.
static ALONE: [tokio::sync::Mutex<()>; 256] = [const { tokio::sync::Mutex::const_new(()) }; 256];

/// The client of an entry in a tenant; registers it when there is none, or when the address to return to has changed.
/// A platform that did not register one is left alone for a while, however many visitors come.
pub(super) async fn ensure(
    app: &AppState,
    place: &Place,
    tenant: &Tenant,
    address: Address,
) -> Result<Client, Refusal> {
    if let Found::Client(client) = find(app, place, tenant).await? {
        return Ok(client);
    }
    let entry = entry_of(place, tenant);
    if failed_lately(&entry) {
        return Err(Refusal::Unavailable);
    }
    let alone = ALONE[turns::place_of(&entry)].lock();
    let _alone = tokio::time::timeout(turns::WAIT, alone).await.map_err(|_| Refusal::Unavailable)?;
    // Whoever was there before has registered it, or failed.
    if failed_lately(&entry) {
        return Err(Refusal::Unavailable);
    }
    let client_id = match find(app, place, tenant).await? {
        Found::Client(client) => return Ok(client),
        // The id stays what it was; a new one follows from the pod's name.
        Found::Id(client_id) => client_id,
        Found::Nothing => format!("PODS-SERVICE-{}-{}", place.k8_name, place.gate.network()),
    };
    if let Some(client) = register(app, place, tenant, &client_id, address).await? {
        return Ok(client);
    }
    // Whoever has this id keeps no pod from having visitors.
    let other = format!("{client_id}-{}", &token::random_token()?[..12]);
    tracing::warn!(client.id = client_id, instead = other, "the id of an OAuth client is somebody else's");
    register(app, place, tenant, &other, address).await?.ok_or(Refusal::Unavailable)
}

fn entry_of(place: &Place, tenant: &Tenant) -> Entry {
    (place.gate.uid(), place.gate.network().to_owned(), tenant.tenant_id.clone())
}

/// What is known of the client of an entry.
enum Found {
    Client(Client),
    /// It has to be registered again, under this id.
    Id(String),
    Nothing,
}

async fn find(app: &AppState, place: &Place, tenant: &Tenant) -> Result<Found, Refusal> {
    let (callback_url, uid) = (place.callback_url(), place.gate.uid());
    let stored = {
        let mut conn = app.db.get().await?;
        clients::find(&mut conn, uid, place.gate.network(), &tenant.tenant_id).await?
    };
    let Some(stored) = stored else { return Ok(Found::Nothing) };
    let client_id = stored.client_id;
    let (Some(key_id), Some(sealed)) = (&stored.key_id, &stored.sealed) else {
        return Ok(Found::Id(client_id));
    };
    if stored.callback_url != callback_url {
        return Ok(Found::Id(client_id));
    }
    match open(app, uid, key_id, sealed) {
        Ok(key) => Ok(Found::Client(Client { client_id, callback_url, key })),
        // The platform still knows it.
        Err(error) => {
            tracing::warn!(client.id = client_id, %error, "the key of an OAuth client does not open");
            Ok(Found::Id(client_id))
        }
    }
}

fn failed_lately(entry: &Entry) -> bool {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    failed.get(entry).is_some_and(|at| at.elapsed() < PAUSE)
}

fn failed(entry: Entry) {
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if failed.len() >= FAILED_MAX {
        failed.retain(|_, at| at.elapsed() < PAUSE);
    }
    failed.insert(entry, Instant::now());
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
    address: Address,
) -> Result<Option<Client>, Refusal> {
    let (uid, callback_url) = (place.gate.uid(), place.callback_url());
    let wanted = Wanted {
        site_id: app.tapis.site_id(),
        tenant_id: &tenant.tenant_id,
        client_id,
        pod_uid: uid,
        network: place.gate.network(),
        callback_url: &callback_url,
    };
    let turn = turns::platform(address, uid, &tenant.tenant_id).await?;
    if !clients::reserve(&mut *app.db.get().await?, wanted).await? {
        return Err(Refusal::Unavailable);
    }
    let spec = ClientSpec {
        client_id: client_id.to_owned(),
        callback_url: callback_url.clone(),
        display_name: format!("Pod {}", place.gate.pod_id()),
        description: "Login of visitors of a pod; made and removed by the Pods service".to_owned(),
    };
    let registered = app.tapis.oauth().register(tenant, &spec).await;
    drop(turn);
    let key = match registered {
        Ok(key) => key,
        Err(RegisterError::Taken) => {
            clients::abandon(&mut *app.db.get().await?, wanted).await?;
            return Ok(None);
        }
        Err(RegisterError::Platform(error)) => {
            tracing::warn!(client.id = client_id, error = %error, "an OAuth client cannot be registered");
            failed(entry_of(place, tenant));
            return Err(Refusal::Unavailable);
        }
    };
    let sealed = app.keys.seal(Aad { uid, column: CLIENT_KEY }, key.expose_secret().as_bytes())?;
    if !clients::store_key(&mut *app.db.get().await?, wanted, &sealed.key_id, &sealed.bytes).await? {
        return Err(Refusal::Unknown);
    }
    tracing::info!(client.id = client_id, pod.uid = %uid, "an OAuth client was registered");
    Ok(Some(Client { client_id: client_id.to_owned(), callback_url, key }))
}
