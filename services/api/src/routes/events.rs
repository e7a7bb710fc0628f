//! `GET /pods/events`: what happens to the pods that the caller may see, as it happens.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use pods_db::changes::{self, ChangesError, Cursor};

use crate::{
    caller::Caller,
    error::ApiError,
    feed::{
        Viewer,
        follow::{Begin, Follower},
    },
    openapi::params,
    query::Query,
    sse::{self, End},
    state::AppState,
};

/// Pods that a stream may be restricted to.
const PODS_MAX: usize = 100;

/// Changes of the pods that the caller may read, as server-sent events that never end by themselves.
///
/// Events: `pod` (something of it changed; data: `PodEvent`), `pod_deleted` and `pod_hidden` (you may not see it any more;
/// data: `PodGoneEvent`), `snapshot` (after all pods that were asked for with `snapshot=true`), `resync` (changes were
/// lost: list the pods again), `end` (why the stream ends; data: `{"reason", "message"}`). The id of an event goes into
/// the header `Last-Event-ID`, or the parameter `cursor`, of a client that comes back: it gets what it missed. Events of
/// one pod come in order; one may come twice, with the same `revision`. Comments come at least every 15 seconds.
/// Administrators with `X-Pods-Admin: true` see all pods of the tenant.
#[utoipa::path(get, path = "/v3/pods/events", tag = "pods", params(params::EventStream, params::LastEventId),
    responses((status = 200, description = "The stream", content_type = "text/event-stream", body = String),
        (status = 410, description = "What happened after the cursor is not known any more. List the pods and go on \
            with the list's header `X-Pods-Cursor` as `cursor`, or ask for `snapshot=true`")))]
pub async fn stream_pod_events(
    app: Data<AppState>,
    caller: Caller,
    query: Query,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let wish = Wish::read(&query, &request)?;
    let slot = app.streams.open(&caller)?;
    let viewer = Viewer {
        tenant_id: caller.tenant.tenant_id.clone(),
        username: (!caller.admin_mode).then(|| caller.username.clone()),
        pods: wish.pods.clone(),
    };
    let subscription = app.events.subscribe(&viewer).await?;
    let begin = begin(&app, &wish).await?;
    let follower = Follower {
        hub: app.events.clone(),
        db: app.db.clone(),
        tenant: caller.tenant.clone(),
        viewer,
        snapshots: wish.snapshot,
        silence: app.streams.limits().heartbeat * 2 / 3,
    };
    let produce = move |out| async move {
        tokio::select! {
            end = follower.run(begin, subscription, out) => end,
            () = caller.role_withdrawn(&app) => End::ROLE_WITHDRAWN,
        }
    };
    Ok(slot.stream(&request, produce))
}

/// What a client asks for.
struct Wish {
    cursor: Option<Cursor>,
    snapshot: bool,
    pods: Option<HashSet<String>>,
}

impl Wish {
    fn read(query: &Query, request: &HttpRequest) -> Result<Self, ApiError> {
        let snapshot = query.flag("snapshot", false)?;
        let pods: HashSet<String> = query.all("pod_id").map(ToOwned::to_owned).collect();
        if pods.len() > PODS_MAX {
            let problem = format!("at most {PODS_MAX} pods can be named; leave it out for all");
            return Err(ApiError::invalid(&["query", "pod_id"], problem));
        }
        // A client that comes back by itself repeats the address that it began with: the header is younger.
        let (place, text) = match sse::last_event_id(request) {
            Some(text) => (["header", "Last-Event-ID"], Some(text)),
            None => (["query", "cursor"], query.last("cursor").filter(|text| !text.is_empty())),
        };
        let cursor = text
            .map(|text| text.parse::<Cursor>())
            .transpose()
            .map_err(|error| ApiError::invalid(&place, format!("{error}; send the id of an event")))?;
        Ok(Self { cursor, snapshot, pods: (!pods.is_empty()).then_some(pods) })
    }
}

/// Where to begin; a cursor must be one that the feed reaches back to, unless the client takes a snapshot instead.
async fn begin(app: &AppState, wish: &Wish) -> Result<Begin, ApiError> {
    let Some(cursor) = wish.cursor else {
        return Ok(if wish.snapshot { Begin::Snapshot } else { Begin::Now });
    };
    let mut conn = app.db.get().await?;
    match changes::read(&mut conn, cursor, 1).await {
        Ok(_) => Ok(Begin::After(cursor)),
        Err(ChangesError::TooOld | ChangesError::Ahead) if wish.snapshot => Ok(Begin::Resync),
        Err(ChangesError::TooOld | ChangesError::Ahead) => Err(ApiError::Gone(format!(
            "What happened after {cursor} is not known any more. List the pods (GET /v3/pods) and open the stream with \
             the list's header X-Pods-Cursor as `cursor`, or open it with `snapshot=true` and without a cursor."
        ))),
        Err(ChangesError::Db(error)) => Err(error.into()),
    }
}
