//! Who looks at a page, and what somebody may see who may read the pod.

use std::{sync::Arc, time::Duration};

use actix_web::HttpRequest;
use diesel_async::SimpleAsyncConnection;
use pods_core::{
    permission::{self, Action, Caller},
    visitor::{Gate, Visitor},
};
use pods_db::{Db, pods::PodRow};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{explanation, view::ExplanationView};

/// A page is worth waiting so long for its explanation.
const LIMIT: Duration = Duration::from_secs(2);
/// The database ends what nobody waits for any more: else the connection would be of no use until then.
const STATEMENT_LIMIT: &str = "SET statement_timeout = '2s'";
/// Explanations that are read at once: the change feed needs the database more.
const AT_ONCE: usize = 1;

/// Tells who is logged in at the host of a gate, without asking anybody.
pub type Who = Arc<dyn Fn(&HttpRequest, &Gate) -> Option<Visitor> + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Readers {
    db: Db,
    who: Option<Who>,
    turns: Arc<Semaphore>,
}

/// Somebody who is logged in.
pub struct Reader {
    /// As the platform calls the visitor.
    pub username: String,
    /// Whether the visitor may read the pod, and what there is to know then, if it can be read.
    pub insight: Option<Option<ExplanationView>>,
}

impl Readers {
    /// Readers as `who` knows them; without it everybody is a stranger and nobody can log in. The pool is theirs alone.
    pub fn new(db: Db, who: Option<Who>) -> Self {
        Self { db, who, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether anybody can log in at all.
    pub fn can_log_in(&self) -> bool {
        self.who.is_some()
    }

    /// Who looks at the page of the gate's host.
    pub async fn look(&self, request: &HttpRequest, gate: &Gate) -> Option<Reader> {
        let visitor = self.who.as_ref()?(request, gate)?;
        let level = gate.personal_level(&visitor);
        let insight = match permission::decide(Caller::USER, level, Action::ExplainPod) {
            Ok(()) => Some(self.insight(gate.uid(), explanation::rights(Caller::USER, level)).await),
            Err(_) => None,
        };
        Some(Reader { username: visitor.username, insight })
    }

    async fn insight(&self, uid: Uuid, rights: pods_core::explain::Rights) -> Option<ExplanationView> {
        let read = async {
            let _turn = self.turns.acquire().await?;
            let mut conn = self.db.get().await?;
            conn.batch_execute(STATEMENT_LIMIT).await?;
            let Some(pod) = PodRow::by_uid(&mut conn, uid).await?.filter(|pod| pod.deleted_at.is_none())
            else {
                return Ok(None);
            };
            let explanation = explanation::of(&mut conn, &pod, rights).await?;
            anyhow::Ok(Some(ExplanationView::new(&pod, explanation)))
        };
        match tokio::time::timeout(LIMIT, read).await {
            Ok(Ok(insight)) => insight,
            Ok(Err(error)) => {
                tracing::debug!(error = format!("{error:#}"), "the explanation of a pod cannot be read");
                None
            }
            Err(_) => None,
        }
    }
}
