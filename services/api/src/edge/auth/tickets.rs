//! Tickets, as the API stores them. Whoever began a login may ask for one, which is anybody: such questions have
//! connections of their own, so that they are in nobody's way, and there are never many of them.

use anyhow::Context;
use pods_db::{
    Db,
    logins::tickets::{self, Ticket},
};
use pods_secrets::token;
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 2;
/// Questions that are asked or wait for a connection.
const AT_ONCE: usize = 64;

/// See the module.
pub(super) struct Tickets {
    db: Db,
    turns: Semaphore,
}

impl Tickets {
    /// Of this database. Nothing is connected yet.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let db = Db::connect(url, CONNECTIONS).context("the database address cannot be used")?;
        Ok(Self { db, turns: Semaphore::new(AT_ONCE) })
    }

    /// Takes a ticket for a login: it is found once, and only for the login that it was made for.
    pub async fn take(&self, ticket: &str, login: &str) -> anyhow::Result<Option<Ticket>> {
        let _turn = self.turns.try_acquire().context("too many tickets are looked up")?;
        let mut conn = self.db.get().await?;
        Ok(tickets::take(&mut conn, &token::digest(ticket), &token::digest(login)).await?)
    }
}
