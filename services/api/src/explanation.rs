//! Explains a pod from what the database knows: for `GET /pods/{pod_id}/explain`, and for the pages that visitors see in
//! place of a pod.

use std::collections::BTreeMap;

use chrono::Utc;
use pods_core::{
    Level, Networking, PodDefinition, Status,
    domains::Claim,
    explain::{Explanation, Facts, Network, Past, Rights, explain},
    permission::{self, Action, Caller},
};
use pods_db::{
    Connection, DbError, circumstances,
    derived::{self, DeriveError},
    domains,
    instances::{self, End, Ledger},
    pods::PodRow,
};

/// Starts whose losses are looked for.
const STARTS: i64 = 16;

/// What a caller who holds `level` on a pod may do with it, as far as an explanation asks.
pub fn rights(caller: Caller, level: Level) -> Rights {
    let may = |action| permission::decide(caller, level, action).is_ok();
    Rights { update: may(Action::UpdatePod), run: may(Action::StartPod) }
}

/// Explains a pod to somebody with these rights.
///
/// # Errors
/// When the database cannot be asked.
pub async fn of(conn: &mut Connection, pod: &PodRow, rights: Rights) -> Result<Explanation, DbError> {
    let known = Known::read(conn, pod).await?;
    Ok(explain(&known.facts(pod, rights)))
}

/// What the database knows besides the row.
struct Known {
    /// The newest starts, the newest first.
    starts: Vec<Ledger>,
    /// The definition of the present or last start.
    started: Option<PodDefinition>,
    /// The entries that the proxy goes by; `None` when the templates cannot be merged.
    networking: Option<BTreeMap<String, Networking>>,
    claims: Vec<Claim>,
    circumstances: circumstances::Circumstances,
    predecessors: i64,
}

impl Known {
    async fn read(conn: &mut Connection, pod: &PodRow) -> Result<Self, DbError> {
        let starts = instances::ledger(conn, pod.uid, STARTS).await?;
        let last = pod.instance_id.or(starts.first().map(|start| start.instance_id));
        let started = match last {
            Some(last) => instances::get(conn, last).await?.map(|start| start.effective.definition),
            None => None,
        };
        let networking = match derived::networking(conn, pod).await {
            Ok(entries) => Some(entries),
            Err(DeriveError::Chain(_)) => None,
            Err(DeriveError::Db(error)) => return Err(error),
        };
        let names_domain = |entry: &Networking| !entry.custom_domain.is_empty();
        let claims = match pod.definition.networking.values().any(names_domain) {
            true => domains::of_pod(conn, pod.uid).await?,
            false => Vec::new(),
        };
        let circumstances = circumstances::of(conn, &pod.site_id, pod.uid).await?;
        let predecessors = match pod.status {
            Status::Requested => pod.predecessors(conn).await?,
            _ => 0,
        };
        Ok(Self { starts, started, networking, claims, circumstances, predecessors })
    }

    fn facts<'a>(&'a self, pod: &'a PodRow, rights: Rights) -> Facts<'a> {
        let start = match pod.instance_id {
            Some(current) => self.starts.iter().find(|start| start.instance_id == current),
            None => self.starts.first(),
        };
        let definition = self.started.as_ref().unwrap_or(&pod.definition);
        let losses = self.starts.iter().filter_map(|start| start.end.as_ref());
        let loss = losses.into_iter().find(|end| end.code.is_some_and(|code| code.is_loss()));
        let template = Some(pod.definition.template.as_str()).filter(|template| !template.is_empty());
        Facts {
            pod_id: &pod.pod_id,
            status: pod.status,
            requested: pod.status_requested,
            status_since: pod.status_changed_ts,
            said: &pod.status_container,
            rights,
            image: &definition.image,
            template,
            image_of_template: template.is_some() && !pod.modified_fields.contains("image"),
            network: Network {
                k8_name: &pod.k8_name,
                tenant_host: &pod.tenant_host,
                entries: self.networking.as_ref(),
                claims: &self.claims,
            },
            phases: start.map(|start| start.phases).unwrap_or_default(),
            last_end: start.and_then(|start| start.end.as_ref()).map(past),
            last_loss: loss.map(past),
            losses: pod.losses,
            not_before: pod.not_before,
            deadline: pod.time_to_stop_ts,
            unpublished_since: self.circumstances.unpublished_since,
            predecessors: self.predecessors,
            observed: self.circumstances.observed,
            now: Utc::now(),
        }
    }
}

fn past(end: &End) -> Past {
    Past { at: end.at, code: end.code, message: end.message.clone() }
}
