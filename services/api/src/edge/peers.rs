//! The other replicas of the edge. A process that starts while Postgres is away asks them before it believes what it has
//! on disk: each of them may have served newer routes meanwhile, and Traefik must not go back to older ones.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpResponse, web};
use anyhow::Context;
use futures::future;
use pods_db::changes::committed::Extent;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{board::Board, document::NotServed};

/// All of them have to answer within this time; Traefik waits for the answer meanwhile.
const LIMIT: Duration = Duration::from_secs(2);
/// Where each of them is asked.
pub const PATH: &str = "/served";

/// See the module.
#[derive(Debug, Default)]
pub struct Peers {
    /// `host:port`; a name may stand for any number of addresses, also for our own.
    names: Vec<String>,
    client: Option<reqwest::Client>,
    /// What they said last, so that it is logged once.
    said: Mutex<Option<NotServed>>,
}

/// What a replica served at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Identity of the database.
    pub database: String,
    /// Which of its changes were in it.
    pub extent: Extent,
    /// Of the document, if it is known.
    pub digest: Option<String>,
}

impl Served {
    /// Whether this may be served after `other` was.
    fn may_follow(&self, other: &Self) -> bool {
        let same = self.digest.is_some() && self.digest == other.digest;
        self.database == other.database && (same || self.extent.covers(&other.extent))
    }
}

impl Peers {
    /// The replicas of these names.
    ///
    /// # Errors
    /// When a name is not `host:port`.
    pub fn new(names: &[String]) -> anyhow::Result<Self> {
        for name in names {
            let parts = name.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            parts.and_then(|(_, port)| port.parse::<u16>().ok()).with_context(|| {
                format!(
                    "`{name}` in [edge] peers is not a name or an address with a port, as in pods-edge:8010"
                )
            })?;
        }
        let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build();
        let client = client.context("no HTTP client for the other replicas can be made")?;
        Ok(Self { names: names.to_vec(), client: Some(client), said: Mutex::default() })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether none of them served more than this.
    ///
    /// # Errors
    /// When one did, or does not answer and so may have.
    pub async fn agree(&self, mine: &Served) -> Result<(), NotServed> {
        let result = match self.ask::<Option<Served>>(PATH).await {
            Ok(all) if all.iter().flatten().all(|theirs| mine.may_follow(theirs)) => Ok(()),
            Ok(_) => Err((NotServed::PeerAhead, None)),
            Err(error) => Err((NotServed::PeerSilent, Some(error))),
        };
        self.note(&result);
        result.map_err(|(reason, _)| reason)
    }

    /// What each of them says below `path`.
    ///
    /// # Errors
    /// When one of them does not answer in time.
    pub async fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let asked = tokio::time::timeout(LIMIT, self.ask_all(path)).await;
        asked.unwrap_or_else(|_| Err(anyhow::anyhow!("not all of them answered in time")))
    }

    async fn ask_all<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let found = future::try_join_all(self.names.iter().map(|name| async move {
            let found = tokio::net::lookup_host(name.as_str()).await;
            anyhow::Ok(found.with_context(|| format!("looking up {name}"))?.collect::<Vec<_>>())
        }));
        let addresses = found.await?.into_iter().flatten();
        future::try_join_all(addresses.map(|address| self.ask_one(address, path))).await
    }

    async fn ask_one<T: DeserializeOwned>(&self, address: SocketAddr, path: &str) -> anyhow::Result<T> {
        let client = self.client.as_ref().context("there is nobody to ask")?;
        let answer = async {
            client.get(format!("http://{address}{path}")).send().await?.error_for_status()?.json().await
        };
        answer.await.with_context(|| format!("asking {address}"))
    }

    fn note(&self, result: &Result<(), (NotServed, Option<anyhow::Error>)>) {
        let now = result.as_ref().err().map(|(reason, _)| *reason);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *said, now) == now {
            return;
        }
        match result {
            Ok(()) => tracing::info!("no other replica served more than what is on disk, so that is served"),
            Err((reason, error)) => {
                let error = error.as_ref().map(|error| format!("{error:#}"));
                tracing::warn!(%reason, error, "what is on disk is not served");
            }
        }
    }
}

/// What this replica served at most, for the others.
pub async fn served(board: web::Data<Board>) -> HttpResponse {
    HttpResponse::Ok().json(board.served())
}

#[cfg(test)]
mod tests {
    use pods_db::changes::Cursor;

    use super::*;

    fn served(xid: i64, below: i64, digest: Option<&str>) -> Served {
        let extent = Extent { cursor: Cursor { xid, id: 0 }, below };
        Served { database: "db".to_owned(), extent, digest: digest.map(str::to_owned) }
    }

    #[test]
    fn only_what_holds_as_much_follows() {
        let mine = served(10, 12, Some("a"));
        for (theirs, follows) in [
            (served(9, 10, Some("b")), true),
            (served(9, 10, None), true),
            (served(9, 11, Some("b")), false),
            (served(20, 20, Some("b")), false),
            (served(20, 20, None), false),
            (served(20, 20, Some("a")), true),
            (Served { database: "other".to_owned(), ..served(1, 1, Some("a")) }, false),
        ] {
            assert_eq!(mine.may_follow(&theirs), follows, "{theirs:?}");
        }
        let unknown = served(10, 12, None);
        assert!(
            !unknown.may_follow(&served(20, 20, None)),
            "two documents that nobody knows are not the same"
        );
    }

    #[test]
    fn a_peer_has_a_port() {
        for good in ["pods-edge:8010", "127.0.0.1:80", "[::1]:8010", "edges.pods.svc.cluster.local:8010"] {
            assert!(Peers::new(&[good.to_owned()]).is_ok(), "{good}");
        }
        for bad in ["pods-edge", ":8010", "pods-edge:", "pods-edge:port", "http://pods-edge", ""] {
            assert!(Peers::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
