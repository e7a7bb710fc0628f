//! What the routes and the command line share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Config;
use crate::keys::{self, TenantKey};
use crate::store::Store;

/// Roles granted at run time: tenant, user, roles.
type Granted = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// OAuth clients: tenant, client id, client.
pub(crate) type Clients = BTreeMap<String, BTreeMap<String, OAuthClient>>;

/// The pretended platform: its configuration and its state directory.
#[derive(Debug)]
pub struct Platform {
    config: Config,
    roles: Store,
    /// Digests of access tokens that count no more.
    revoked: Store,
    pub(crate) clients: Store,
    pub(crate) codes: Mutex<HashMap<String, Code>>,
}

/// An OAuth client as registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OAuthClient {
    pub client_id: String,
    pub client_key: String,
    pub owner: String,
    pub tenant_id: String,
    pub callback_url: String,
    pub display_name: String,
    pub description: String,
    pub active: bool,
    pub create_time: String,
    pub last_update_time: String,
}

/// A code handed to a browser, to be exchanged once.
#[derive(Debug)]
pub(crate) struct Code {
    pub tenant_id: String,
    pub username: String,
    pub client_id: String,
    pub redirect_uri: String,
    /// The PKCE challenge and its method.
    pub challenge: Option<(String, String)>,
    pub expires: Instant,
}

impl Platform {
    /// Opens the state directory, made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(config: Config) -> anyhow::Result<Self> {
        let directory = &config.state_dir;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        Ok(Self {
            roles: Store::new(directory, "roles.json"),
            revoked: Store::new(directory, "revoked.json"),
            clients: Store::new(directory, "clients.json"),
            codes: Mutex::new(HashMap::new()),
            config,
        })
    }

    /// Who exists.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The tenant's key pair, made at the first need.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn key(&self, tenant_id: &str) -> anyhow::Result<TenantKey> {
        keys::load(&self.config.state_dir, tenant_id)
    }

    /// Gives the tenant a new key pair; tokens of the old one are worthless from now on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn rotate_key(&self, tenant_id: &str) -> anyhow::Result<()> {
        keys::rotate(&self.config.state_dir, tenant_id)
    }

    /// The roles of a user: those of the configuration and those granted since.
    ///
    /// # Errors
    /// When the file of granted roles cannot be read.
    pub fn roles_of(&self, tenant_id: &str, username: &str) -> anyhow::Result<BTreeSet<String>> {
        let granted: Granted = self.roles.read()?;
        let mut roles =
            granted.get(tenant_id).and_then(|users| users.get(username)).cloned().unwrap_or_default();
        if let Some(user) = self.config.user(tenant_id, username) {
            roles.extend(user.roles.iter().cloned());
        }
        Ok(roles)
    }

    /// Grants roles; a running server answers them at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn grant_roles(&self, tenant_id: &str, username: &str, roles: &[String]) -> anyhow::Result<()> {
        self.roles.change(|granted: &mut Granted| {
            let users = granted.entry(tenant_id.to_owned()).or_default();
            users.entry(username.to_owned()).or_default().extend(roles.iter().cloned());
        })
    }

    /// Takes an access token back before its time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revoke_token(&self, token: &str) -> anyhow::Result<()> {
        let digest = digest(token);
        self.revoked.change(|revoked: &mut BTreeSet<String>| {
            revoked.insert(digest);
        })
    }

    /// Whether an access token was taken back.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_revoked(&self, token: &str) -> anyhow::Result<bool> {
        Ok(self.revoked.read::<BTreeSet<String>>()?.contains(&digest(token)))
    }

    /// Takes granted roles back; roles of the configuration stay.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revoke_roles(&self, tenant_id: &str, username: &str) -> anyhow::Result<()> {
        self.roles.change(|granted: &mut Granted| {
            if let Some(users) = granted.get_mut(tenant_id) {
                users.remove(username);
            }
        })
    }
}

fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}
