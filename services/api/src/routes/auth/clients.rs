//! The OAuth client of an entry: registered at the first login, asked for again at later ones now and then.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
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

/// The platform may lose a client, and then nobody can log in with it. After so long it is asked for it again.
const FRESH: TimeDelta = TimeDelta::minutes(10);

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

/// The client of an entry in a tenant; registers it when there is none, when the address to return to has changed, and
/// again after a while, for the platform may not have it any more. A platform that did not register one is left alone
/// for a while, however many visitors come; one that we had counts meanwhile.
pub(super) async fn ensure(
    app: &AppState,
    place: &Place,
    tenant: &Tenant,
    address: Address,
) -> Result<Client, Refusal> {
    let old = match find(app, place, tenant).await? {
        Found::Client(client) => return Ok(client),
        Found::Old(client) => Some(client),
        Found::Id(_) | Found::Nothing => None,
    };
    match (ask_for(app, place, tenant, address).await, old) {
        // As far as anybody knows the platform still has it.
        (Err(Refusal::Unavailable), Some(client)) => Ok(client),
        (asked, _) => asked,
    }
}

/// Lets the platform register the client of an entry, or say its key again.
async fn ask_for(
    app: &AppState,
    place: &Place,
    tenant: &Tenant,
    address: Address,
) -> Result<Client, Refusal> {
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
    let (client_id, is_ours) = match find(app, place, tenant).await? {
        Found::Client(client) => return Ok(client),
        Found::Old(client) => (client.client_id, true),
        // The id stays what it was; a new one follows from the pod's name.
        Found::Id(client_id) => (client_id, false),
        Found::Nothing => (format!("PODS-SERVICE-{}-{}", place.k8_name, place.gate.network()), false),
    };
    if let Some(client) = register(app, place, tenant, &client_id, address).await? {
        return Ok(client);
    }
    if is_ours {
        // While we had the id nobody else could take it: it is rather that we are refused something.
        tracing::warn!(client.id = client_id, "the platform does not tell the key of our OAuth client again");
        failed(entry);
        return Err(Refusal::Unavailable);
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
    /// The platform has not been asked about it for a while.
    Old(Client),
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
    let is_fresh = stored.key_ts.is_some_and(|told| Utc::now() - told < FRESH);
    match open(app, uid, key_id, sealed) {
        Ok(key) if is_fresh => Ok(Found::Client(Client { client_id, callback_url, key })),
        Ok(key) => Ok(Found::Old(Client { client_id, callback_url, key })),
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
    let conn = &mut *app.db.get().await?;
    if !clients::store_key(conn, wanted, &sealed.key_id, &sealed.bytes).await? {
        // The pod was deleted meanwhile, and its client perhaps removed before the platform had it.
        clients::left_over(conn, wanted).await?;
        return Err(Refusal::Unknown);
    }
    tracing::info!(client.id = client_id, pod.uid = %uid, "an OAuth client is registered");
    Ok(Some(Client { client_id: client_id.to_owned(), callback_url, key }))
}
