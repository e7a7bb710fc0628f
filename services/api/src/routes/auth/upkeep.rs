//! What nobody waits for: OAuth clients that no entry needs any more are removed from the platform, keys of clients are
//! sealed with the current key, and what is over is deleted. Any number of replicas may do it; they share the work.

use std::time::{Duration, Instant};

use anyhow::Context;
use pods_core::Protocol;
use pods_db::{
    Connection, Db,
    logins::{
        self,
        clients::{self, Checked, REMOVAL_LIMIT, Removal},
    },
    routes,
};
use pods_runtime::shutdown::CancellationToken;
use pods_secrets::{Aad, KeyRing};
use tapis::Tapis;
use uuid::Uuid;

use super::clients::CLIENT_KEY;

const INTERVAL: Duration = Duration::from_secs(15);
/// Clients that are looked at together.
const BATCH: i64 = 100;
/// Whoever removes a client gives up well before somebody else may have it.
const PATIENCE: Duration = REMOVAL_LIMIT.saturating_sub(Duration::from_secs(15));
/// After so long the other removals wait for the next turn.
const REMOVALS: Duration = Duration::from_secs(60);
/// How often an entry is asked whether it still needs its client. A deleted pod says so by itself.
const CHECK_EVERY: Duration = Duration::from_secs(600);
/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(15);
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Looks after clients and logins.
pub struct Upkeep {
    db: Db,
    tapis: Tapis,
    keys: KeyRing,
}

impl Upkeep {
    /// For the clients of the platform's site.
    pub fn new(db: Db, tapis: Tapis, keys: KeyRing) -> Self {
        Self { db, tapis, keys }
    }

    /// Works until the token is cancelled.
    ///
    /// # Errors
    /// None; the type is what the supervisor expects.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        loop {
            let result = self.turn().await;
            match &result {
                Err(error) if !failing => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "OAuth clients are not looked after, trying again"
                    );
                }
                Ok(()) if failing => tracing::info!("OAuth clients are looked after again"),
                Ok(()) | Err(_) => {}
            }
            failing = result.is_err();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// One turn.
    ///
    /// # Errors
    /// When the database does not answer. A platform that does not is tried again by itself.
    pub async fn turn(&self) -> anyhow::Result<()> {
        let mut conn = self.db.get().await?;
        logins::purge(&mut conn).await.context("deleting logins that are over")?;
        while self.check(&mut conn).await.context("looking for OAuth clients that nothing needs")? {}
        let begun = Instant::now();
        // One at a time: what waited behind others might be somebody else's by then.
        while let Some(removal) = clients::due(&mut conn, self.tapis.site_id()).await? {
            self.remove(&mut conn, &removal).await?;
            if begun.elapsed() > REMOVALS {
                break;
            }
        }
        Ok(())
    }

    /// Looks at some clients; answers whether there may be more.
    async fn check(&self, conn: &mut Connection) -> anyhow::Result<bool> {
        let site_id = self.tapis.site_id();
        let checked = clients::to_check(conn, site_id, CHECK_EVERY, BATCH).await?;
        let more = checked.len() == BATCH as usize;
        let uids: Vec<Uuid> = checked.iter().map(|client| client.pod_uid).collect();
        let found = routes::some(conn, site_id, &uids).await?;
        for client in checked {
            let pod = found.iter().find(|pod| pod.uid == client.pod_uid);
            let needed = match pod {
                // Its row says that it was deleted, or went after it had said so.
                None => false,
                // What its templates make of it is not known at the moment.
                Some(pod) if pod.problem.is_some() => true,
                Some(pod) => {
                    let entry = pod.networking.get(&client.network);
                    entry.is_some_and(|entry| entry.protocol == Protocol::Http)
                }
            };
            if needed {
                self.reseal(conn, &client).await?;
            } else {
                clients::unwanted(conn, client.pod_uid, std::slice::from_ref(&client.network)).await?;
            }
        }
        Ok(more)
    }

    async fn reseal(&self, conn: &mut Connection, client: &Checked) -> anyhow::Result<()> {
        let (Some(key_id), Some(sealed)) = (&client.key_id, &client.sealed) else { return Ok(()) };
        if !self.keys.needs_reseal(key_id) {
            return Ok(());
        }
        let aad = Aad { uid: client.pod_uid, column: CLIENT_KEY };
        // One that does not open is asked for again at the next login.
        let Ok(key) = self.keys.open(aad, key_id, sealed) else { return Ok(()) };
        let sealed = self.keys.seal(aad, &key)?;
        clients::reseal(conn, client, &sealed.key_id, &sealed.bytes).await?;
        Ok(())
    }

    async fn remove(&self, conn: &mut Connection, removal: &Removal) -> anyhow::Result<()> {
        let Removal { tenant_id, client_id, .. } = removal;
        let asked = tokio::time::timeout(PATIENCE, self.ask_to_remove(removal)).await;
        match asked.unwrap_or_else(|_| Err("the platform takes too long".to_owned())) {
            Ok(()) => {
                tracing::info!(client.id = client_id, tenant.id = tenant_id, "an OAuth client was removed");
                clients::removed(conn, removal).await?;
            }
            Err(error) => {
                tracing::warn!(
                    client.id = client_id,
                    tenant.id = tenant_id,
                    error,
                    "an OAuth client is not removed yet"
                );
                clients::not_removed(conn, removal, pause_after(removal.tries)).await?;
            }
        }
        Ok(())
    }

    async fn ask_to_remove(&self, removal: &Removal) -> Result<(), String> {
        let tenant = self.tapis.directory().find_tenant(&removal.tenant_id).await;
        // A tenant may be missing from the list for a while; it is tried again.
        let tenant =
            tenant.map_err(|error| error.to_string())?.ok_or("the platform does not list the tenant")?;
        let removed = self.tapis.oauth().remove(&tenant, &removal.client_id).await;
        removed.map_err(|error| error.to_string())
    }
}

fn pause_after(tries: i32) -> Duration {
    let doublings = u32::try_from(tries).unwrap_or(0).min(16);
    PAUSE.saturating_mul(1 << doublings).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<u64> = [0, 1, 2, 8, 100, i32::MAX].map(|tries| pause_after(tries).as_secs()).into();
        assert_eq!(pauses, [15, 30, 60, 3600, 3600, 3600]);
    }
}
