//! `GET /pods/{pod_id}/explain`.

use actix_web::{HttpResponse, web::Data};
use chrono::Utc;
use pods_core::{
    Level, Networking, PodDefinition, Protocol, Status,
    explain::{Facts, Past, Rights, explain},
    permission::{self, Action},
};
use pods_db::{
    Connection, circumstances,
    instances::{self, End, Ledger},
    pods::PodRow,
};

use super::load_with_level;
use crate::{
    caller::Caller, envelope::success, error::ApiError, openapi::Envelope, paths::PodIdPath, state::AppState,
    view::ExplanationView,
};

/// Starts whose losses are looked for.
const STARTS: i64 = 16;

/// Why the pod is where it is: what it waits for, who can do something about it, and the next call to make.
///
/// `code` is stable; the documentation of the service lists all of them. The answer comes from what is stored and needs
/// neither Kubernetes nor the other parts of the service. READ is needed; `you` and `next_call` depend on what the
/// caller may do.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/explain", tag = "pods",
    responses((status = 200, description = "The explanation", body = Envelope<ExplanationView>)))]
pub async fn explain_pod(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let (pod, level) = load_with_level(&mut conn, &caller, &pod_id, Action::ExplainPod).await?;
    let known = Known::read(&mut conn, &pod).await?;
    drop(conn);
    let explanation = explain(&known.facts(&pod, rights(&caller, level)));
    Ok(success("Pod explained successfully.", ExplanationView::new(&pod, explanation)))
}

fn rights(caller: &Caller, level: Level) -> Rights {
    let may = |action| permission::decide(caller.rights(), level, action).is_ok();
    Rights { update: may(Action::UpdatePod), run: may(Action::StartPod) }
}

/// What the database knows besides the row.
struct Known {
    /// The newest starts, the newest first.
    starts: Vec<Ledger>,
    /// The definition of the present or last start.
    started: Option<PodDefinition>,
    circumstances: circumstances::Circumstances,
    predecessors: i64,
}

impl Known {
    async fn read(conn: &mut Connection, pod: &PodRow) -> Result<Self, ApiError> {
        let starts = instances::ledger(conn, pod.uid, STARTS).await?;
        let last = pod.instance_id.or(starts.first().map(|start| start.instance_id));
        let started = match last {
            Some(last) => instances::get(conn, last).await?.map(|start| start.effective.definition),
            None => None,
        };
        let circumstances = circumstances::of(conn, &pod.site_id, pod.uid).await?;
        let predecessors = match pod.status {
            Status::Requested => pod.predecessors(conn).await?,
            _ => 0,
        };
        Ok(Self { starts, started, circumstances, predecessors })
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
            has_routes: definition.networking.values().any(is_routed),
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

fn is_routed(entry: &Networking) -> bool {
    entry.protocol != Protocol::LocalOnly
}

fn past(end: &End) -> Past {
    Past { at: end.at, code: end.code, message: end.message.clone() }
}
