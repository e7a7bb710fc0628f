//! `GET /pods/{pod_id}/events`.

use std::cmp::Reverse;

use actix_web::{HttpResponse, web::Data};
use k8s_openapi::api::core::v1::Event;
use pods_core::{
    PodDefinition, ids::instance_name, input::Violations, mount::MountKind, permission::Action, resolve,
};
use pods_db::{instances, pods::PodRow};
use pods_kube::{events, hidden, observe::time};

use super::load;
use crate::{
    caller::Caller,
    cluster::Found,
    envelope::success,
    error::ApiError,
    openapi::{Envelope, params},
    paths::PodIdPath,
    query::Query,
    state::AppState,
    view::{EphemeralFileView, KubeEventView, PodEventsView},
};

/// How many events are shown when nobody says.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;
/// Longest message, in characters.
const MESSAGE_MAX: usize = 1000;
/// The present start and the one before it, of which a lost pod has the cause.
const STARTS: i64 = 2;

/// What Kubernetes tells about the pod: events of its present start and of the one before it.
///
/// Kubernetes forgets events after an hour. When it does not answer within two seconds, `events` is empty. The events
/// of all pods of yours, as the service sees them, are at `GET /pods/events`. READ is needed.
#[utoipa::path(get, path = "/v3/pods/{pod_id}/events", tag = "pods", params(params::EventLimit),
    responses((status = 200, description = "The events", body = Envelope<PodEventsView>)))]
pub async fn get_pod_events(
    app: Data<AppState>,
    caller: Caller,
    pod_id: PodIdPath,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    let mut conn = app.db.get().await?;
    let pod = load(&mut conn, &caller, &pod_id, Action::GetPodEvents).await?;
    let limit = limit(&query)?;
    let starts = instances::ledger(&mut conn, pod.uid, STARTS).await?;
    // No value of a pod stands in its objects but in a Secret, which nothing repeats; only the runtime, of whose words
    // an event may tell, sees the command with its values put in.
    let (mut started, mut hide) = (None, false);
    for start in starts.iter().rev() {
        let Some(start) = instances::get(&mut conn, start.instance_id).await? else { continue };
        hide |= resolve::command_holds_values(&start.effective.definition);
        started = Some(start.effective.definition);
    }
    // Kubernetes may take its time; the database is for others meanwhile.
    drop(conn);
    let names: Vec<String> =
        starts.iter().map(|start| instance_name(&pod.k8_name, start.instance_id)).collect();
    let found = match &app.cluster {
        Some(cluster) if !names.is_empty() => cluster.about(&names).await,
        _ => Found::default(),
    };
    let definition = started.as_ref().unwrap_or(&pod.definition);
    let result = PodEventsView {
        events: newest(&found.events, hide, limit),
        ephemeral_configmaps: files(&pod, definition, &found),
        status: pod.status.as_str(),
        pod_id: pod.pod_id,
        k8_name: pod.k8_name,
    };
    Ok(success("Pod events retrieved successfully.", result))
}

fn limit(query: &Query) -> Result<usize, ApiError> {
    // An empty text is "not set", as everywhere.
    let Some(text) = query.last("limit").filter(|text| !text.trim().is_empty()) else { return Ok(LIMIT) };
    if let Ok(limit) = text.trim().parse()
        && (1..=LIMIT_MAX).contains(&limit)
    {
        return Ok(limit);
    }
    let mut violations = Violations::default();
    violations.push(&["query", "limit"], format!("Input should be a number from 1 to {LIMIT_MAX}"));
    Ok(violations.or(LIMIT)?)
}

fn newest(found: &[Event], hide: bool, limit: usize) -> Vec<KubeEventView> {
    let mut events: Vec<&Event> = found.iter().collect();
    events.sort_by_key(|event| Reverse(events::at(event)));
    events.into_iter().take(limit).map(|event| view(event, hide)).collect()
}

fn view(event: &Event, hide: bool) -> KubeEventView {
    let message = event.message.as_deref().unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or_default();
    let message = if hide { hidden::of_an_event(reason, message) } else { message.to_owned() };
    let source = event.source.as_ref().and_then(|source| source.component.clone());
    let series = event.series.as_ref().and_then(|series| series.count);
    let last_time = events::at(event);
    KubeEventView {
        r#type: event.type_.clone().unwrap_or_else(|| "Normal".to_owned()),
        reason: reason.to_owned(),
        message: message.trim().chars().filter(|c| *c != '\0').take(MESSAGE_MAX).collect(),
        count: event.count.or(series).unwrap_or(1),
        first_time: event.first_timestamp.as_ref().map(time).or(last_time),
        last_time,
        source: source
            .filter(|source| !source.is_empty())
            .or(event.reporting_component.clone())
            .unwrap_or_default(),
    }
}

/// Ours live in the Secret of the start, which the API may not read: it is there as long as the start's Pod is, before
/// which it is created and with which it goes.
fn files(pod: &PodRow, definition: &PodDefinition, found: &Found) -> Vec<EphemeralFileView> {
    let name = pod.instance_id.map(|instance| instance_name(&pod.k8_name, instance)).unwrap_or_default();
    let mounts = definition.volume_mounts.iter().filter_map(|(path, mount)| Some((path, mount.as_ref()?)));
    mounts
        .filter(|(_, mount)| mount.kind == MountKind::Ephemeral)
        .map(|(path, mount)| EphemeralFileView {
            mount_path: path.clone(),
            exists_in_k8s: found.pods.contains(&name),
            configmap_name: name.clone(),
            config_content_bytes: mount
                .config_content
                .as_ref()
                .map_or(0, |content| i32::try_from(content.len()).unwrap_or(i32::MAX)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(message: &str, seconds: i64) -> Event {
        let at = chrono::DateTime::from_timestamp(1_795_233_600 + seconds, 0).unwrap().to_rfc3339();
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "p.1"}, "involvedObject": {"kind": "Pod", "name": "p"},
            "reason": "Failed", "message": message, "lastTimestamp": at, "count": 3, "type": "Warning",
            "source": {"component": "kubelet"},
        }))
        .unwrap()
    }

    #[test]
    fn the_newest_come_first_and_are_cut() {
        let long = "ü".repeat(5000);
        let found = [event("old", 0), event(&long, 9), event("middle", 5)];
        let shown = newest(&found, false, 2);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].message.chars().count(), MESSAGE_MAX);
        assert_eq!(
            (shown[1].message.as_str(), shown[1].count, shown[1].source.as_str()),
            ("middle", 3, "kubelet")
        );
    }

    #[test]
    fn a_command_with_values_is_not_repeated() {
        let said = r#"exec: "/opt/hunter2/run": stat /opt/hunter2/run: no such file or directory"#;
        let found = [event(&format!("Error: failed to start container \"c\": {said}"), 0)];
        assert!(newest(&found, false, 1)[0].message.contains("hunter2"));
        assert!(!newest(&found, true, 1)[0].message.contains("hunter2"));
    }

    #[test]
    fn limits_are_numbers_in_their_bounds() {
        for (text, limit) in
            [("", Some(50)), ("limit=", Some(50)), ("limit=1", Some(1)), ("limit=500", Some(500))]
        {
            assert_eq!(super::limit(&Query::parse(text)).ok(), limit, "{text}");
        }
        for bad in ["limit=0", "limit=501", "limit=x", "limit=-1"] {
            assert!(super::limit(&Query::parse(bad)).is_err(), "{bad}");
        }
    }
}
