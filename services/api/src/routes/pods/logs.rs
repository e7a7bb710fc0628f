//! What containers of a pod wrote: the current or last run, all runs that are kept, and the live stream.

mod follow;
mod text;
mod wanted;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS},
    web::Data,
};
use pods_core::permission::Action;
use pods_db::{
    action_logs,
    logs::{self, Wanted, archive, runs, runs::Run},
};

use super::load;
use crate::{
    caller::Caller,
    envelope::success,
    error::ApiError,
    openapi::{Envelope, params},
    paths::{LogRunPath, PodIdPath},
    query::Query,
    sse::{self, End},
    state::AppState,
    view::{LogRunView, LogRunWithLogs, LogsView},
};
use follow::{Begin, Follower};
use text::printable;
use wanted::Wish;

/// The log of the current or last run, and the action log.
///
/// At most the newest 10 MiB, cut at a line; kept after a stop, until the next start begins. With `follow=true` the
/// answer is a stream of server-sent events that goes on over stops, restarts and outages: `run` (a run begins; data:
/// `LogRunEvent`), `log` (data: more of its text, to be put behind what came before), `gap` (something is
/// missing here), `end` (why the stream ends). The id of an event goes into the header `Last-Event-ID`, or the parameter
/// `cursor`, of a client that comes back. READ is needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/logs", tag = "pods",
    params(params::Follow, params::LogPart, params::LogTail, params::LogCursor, params::LastEventId),
    responses((status = 200, description = "The logs; with `follow=true` the stream",
        content((Envelope<LogsView> = "application/json"), (String = "text/event-stream")))))]
pub async fn get_pod_logs(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodLogs).await?;
    let wish = Wish::read(&query, sse::last_event_id(&request), chrono::Utc::now())?;
    if wish.follow {
        drop(conn);
        let slot = app.streams.open(&caller)?;
        let begin = Begin { cursor: wish.cursor, wanted: wish.wanted };
        let app = app.into_inner();
        let follower = Follower::new(Arc::clone(&app), caller.clone(), pod_id.into_inner(), pod.uid);
        let produce = move |out| async move {
            tokio::select! {
                end = follower.run(begin, out) => end,
                () = caller.role_withdrawn(&app) => End::ROLE_WITHDRAWN,
            }
        };
        return Ok(slot.stream(&request, produce));
    }
    let action_logs = action_logs::list(&mut conn, pod.uid).await?;
    drop(conn);
    let turn = app.answers.turn(&caller).await?;
    let mut conn = app.db.get().await?;
    let bytes = match runs::latest(&mut conn, pod.uid).await? {
        Some(run) => logs::read(&mut conn, run.run_id, wish.wanted).await?,
        None => Vec::new(),
    };
    drop(conn);
    let view = LogsView { logs: printable(bytes), action_logs };
    Ok(turn.send(success("Pod logs retrieved successfully.", view)))
}

/// The runs whose logs are kept, newest first.
///
/// A run is a start whose container ran. The newest three keep their log as it is, ten more are kept compressed. READ is
/// needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/log-runs", tag = "pods",
    responses((status = 200, description = "The runs", body = Envelope<Vec<LogRunView>>)))]
pub async fn list_pod_log_runs(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::ListPodLogRuns).await?;
    let runs = runs::list(&mut conn, pod.uid).await?;
    drop(conn);
    let views: Vec<LogRunView> = runs.iter().map(|run| LogRunView::new(&pod.pod_id, run)).collect();
    Ok(success("Log runs retrieved successfully.", views))
}

/// A run with its log.
///
/// With `download=true` the answer is the log alone, as a text file. READ is needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/log-runs/{run_index}", tag = "pods",
    params(params::Download, params::LogPart, params::LogRunTail),
    responses((status = 200, description = "The run; with `download=true` its log alone",
        content((Envelope<LogRunWithLogs> = "application/json"), (String = "text/plain")))))]
pub async fn get_pod_log_run(
    app: Data<AppState>,
    caller: Caller,
    path: LogRunPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let (pod_id, run_index) = path.into_inner();
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodLogRun).await?;
    let (download, wanted) = wanted::of_run(&query, chrono::Utc::now())?;
    // What is no number is no run.
    let found = match run_index.parse() {
        Ok(index) => runs::get(&mut conn, pod.uid, index).await?,
        Err(_) => None,
    };
    drop(conn);
    let run = found.ok_or_else(|| ApiError::no_log_run(&pod_id, &run_index))?;
    let turn = app.answers.turn(&caller).await?;
    let bytes = match log_of(&app, &run, wanted).await? {
        Some(bytes) => bytes,
        None => return Err(ApiError::no_log_run(&pod_id, &run_index)),
    };
    let logs = printable(bytes);
    if download {
        return Ok(turn.send(file(&format!("{}_run_{}.log", pod.pod_id, run.run_index), logs)));
    }
    let view = LogRunWithLogs { run: LogRunView::new(&pod.pod_id, &run), logs };
    Ok(turn.send(success("Log run retrieved successfully.", view)))
}

/// The wanted part of a run; `None` when it was dropped meanwhile.
async fn log_of(app: &AppState, run: &Run, wanted: Wanted) -> Result<Option<Vec<u8>>, ApiError> {
    let mut conn = app.db.get().await?;
    // A run can become an archive between two statements, never the other way round.
    let archive = match run.is_archived {
        true => archive::get(&mut conn, run.run_id).await?,
        false => {
            let bytes = logs::read(&mut conn, run.run_id, wanted).await?;
            if !bytes.is_empty() || run.log_size_bytes == 0 {
                return Ok(Some(bytes));
            }
            match archive::get(&mut conn, run.run_id).await? {
                Some(archive) => Some(archive),
                // The part that is wanted is empty, or the run is gone, which looks the same to the caller.
                None => return Ok(Some(bytes)),
            }
        }
    };
    drop(conn);
    let Some(archive) = archive else { return Ok(None) };
    let read = actix_web::web::block(move || archive.read(wanted)).await;
    let bytes = read.map_err(|error| ApiError::Internal(error.into()))?;
    bytes.map(Some).map_err(|error| ApiError::Internal(error.into()))
}

/// A text file. The name is made of a pod id and a number, which need no quoting.
fn file(name: &str, text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text)
}
