use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    let uid = "01234567-89ab-4def-8123-456789abcdef";
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "pods-a-b-c-00000000", "uid": "k8s",
            "labels": {"app.kubernetes.io/managed-by": "pods", "tapis.io/uid": uid, "tapis.io/instance": uid},
        },
        "spec": {"containers": [], "nodeName": "node"},
        "status": status,
    }))
    .unwrap()
}

fn seen(status: Value) -> Observation {
    observe(&pod(status)).unwrap()
}

#[test]
fn a_pod_of_somebody_else_is_not_observed() {
    let mut foreign = pod(json!({}));
    foreign.metadata.labels = None;
    assert_eq!(observe(&foreign), None);
}

#[test]
fn states_of_a_container() {
    let fresh = seen(json!({}));
    assert_eq!((fresh.container.clone(), fresh.end.clone()), (ContainerState::None, None));
    assert!(!fresh.has_log());

    let waiting = seen(json!({"phase": "Pending", "containerStatuses": [{
        "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}));
    assert!(
        matches!(waiting.container, ContainerState::Waiting { ref reason, .. } if reason == "ErrImagePull")
    );

    let running = seen(json!({"phase": "Running", "containerStatuses": [{
        "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-11-21T04:00:00Z"}}}]}));
    assert!(running.is_running() && running.has_log() && running.end.is_none());
    assert_eq!(running.running_since().unwrap().to_rfc3339(), "2026-11-21T04:00:00+00:00");
}

fn ended(phase: &str, reason: Option<&str>, message: &str, code: i32, container_reason: &str) -> End {
    let mut status = json!({"phase": phase, "message": message, "containerStatuses": [{
        "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": container_reason}}}]});
    if let Some(reason) = reason {
        status["reason"] = json!(reason);
    }
    seen(status).end.unwrap()
}

#[test]
fn ends_by_itself_or_taken_away() {
    let exited = |exit_code, oom_killed| End::Exited { exit_code, oom_killed, finished_at: None };
    assert_eq!(ended("Succeeded", None, "", 0, "Completed"), exited(0, false));
    assert_eq!(ended("Failed", None, "", 3, "Error"), exited(3, false));
    assert_eq!(ended("Failed", None, "", 137, "OOMKilled"), exited(137, true));
    assert_eq!(ended("Failed", Some("DeadlineExceeded"), "", 143, "Error"), End::DeadlineExceeded);
    let own = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi.";
    assert!(matches!(ended("Failed", Some("Evicted"), own, 137, "Error"), End::StorageLimit { .. }));
    let node = "The node was low on resource: memory.";
    let evicted = End::TakenAway { why: TakenAway::NodePressure, message: node.to_owned() };
    assert_eq!(ended("Failed", Some("Evicted"), node, 137, "Error"), evicted);
    let unknown = ended("Failed", None, "", 137, "ContainerStatusUnknown");
    assert!(matches!(unknown, End::TakenAway { why: TakenAway::NodeLost, .. }));
    let refused =
        seen(json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough"}));
    assert!(matches!(refused.end, Some(End::TakenAway { why: TakenAway::NodeRefused, .. })));
}

#[test]
fn an_unschedulable_pod_says_why() {
    let status = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient memory."}]});
    assert_eq!(seen(status).unschedulable.unwrap(), "0/1 nodes are available: 1 Insufficient memory.");
}

#[test]
fn what_takes_a_pod_away_in_the_words_of_several_releases() {
    let taken = |status: Value| match seen(status).end {
        Some(End::TakenAway { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let ended = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}]);
    let table = [
        (
            "Evicted",
            "The node was low on resource: ephemeral-storage. Container c was using 8Mi.",
            TakenAway::NodePressure,
        ),
        (
            "Evicted",
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi.",
            TakenAway::NodePressure,
        ),
        ("Evicted", "Pod The node had condition: [DiskPressure]. ", TakenAway::NodePressure),
        ("Evicted", "The pod was evicted.", TakenAway::Evicted),
        ("Shutdown", "Node is shutting, evicting pods", TakenAway::Evicted),
        ("NodeShutdown", "Pod was rejected: Node is in the process of shutting down", TakenAway::Evicted),
        ("Terminated", "Pod was terminated in response to imminent node shutdown.", TakenAway::Evicted),
        ("Preempting", "Preempted in order to admit critical pod", TakenAway::Preempted),
        ("NodeLost", "Node n which was running pod p is unresponsive", TakenAway::NodeLost),
        (
            "OutOfmemory",
            "Pod Node didn't have enough resource: memory, requested: 1, used: 2, capacity: 2",
            TakenAway::NodeRefused,
        ),
        ("NodeAffinity", "Pod Predicate NodeAffinity failed", TakenAway::NodeRefused),
        ("UnexpectedAdmissionError", "Pod Allocate failed due to no devices", TakenAway::NodeRefused),
    ];
    for (reason, message, why) in table {
        let status =
            json!({"phase": "Failed", "reason": reason, "message": message, "containerStatuses": ended});
        assert_eq!(taken(status), why, "{reason} {message}");
    }
    for (reason, message, why) in [
        ("PreemptionByScheduler", "preempting to accommodate a higher priority pod", TakenAway::Preempted),
        ("DeletionByTaintManager", "deleting due to NoExecute taint", TakenAway::NodeLost),
        ("EvictionByEvictionAPI", "Eviction API: evicting", TakenAway::Evicted),
        ("TerminationByKubelet", "The node was low on resource: memory.", TakenAway::NodePressure),
    ] {
        let condition =
            json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message});
        let status = json!({"phase": "Failed", "conditions": [condition], "containerStatuses": ended});
        assert_eq!(taken(status), why, "{reason}");
        let running = seen(json!({"phase": "Running", "conditions": [condition]}));
        assert_eq!((running.end, running.disruption.unwrap().0), (None, why), "{reason}");
    }
    let own = "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". ";
    let status = json!({"phase": "Failed", "reason": "Evicted", "message": own});
    assert!(matches!(seen(status).end, Some(End::StorageLimit { .. })));
}

#[test]
fn probes_readiness_and_the_trace_are_read() {
    let mut pod = pod(json!({"phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T04:00:00Z"},
            {"type": "ContainersReady", "status": "False", "lastTransitionTime": "2026-11-21T04:00:02Z"},
        ],
        "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 2,
            "state": {"running": {"startedAt": "2026-11-21T04:00:01Z"}}}]}));
    let probe = json!({"tcpSocket": {"port": 1}});
    pod.spec =
        serde_json::from_value(json!({"containers": [{"name": "c", "readinessProbe": probe}]})).unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    pod.metadata.annotations = Some([(labels::TRACEPARENT_ANNOTATION.to_owned(), trace.to_owned())].into());
    let seen = observe(&pod).unwrap();
    assert_eq!(seen.probes, Probes { readiness: true, ..Probes::default() });
    assert!(!seen.ready && seen.probes.gate() && !seen.probes.end_it());
    let at = |seconds: i64| DateTime::from_timestamp(1_795_233_600 + seconds, 0);
    assert_eq!((seen.scheduled, seen.ready_since, seen.restart_count), (at(0), at(2), 2));
    assert_eq!(seen.traceparent.as_deref(), Some(trace));
}

#[test]
fn a_runtime_that_repeats_the_command_tells_no_value_of_it() {
    let of_a_path = r#"exec: "/opt/hunter2/run": stat /opt/hunter2/run: no such file or directory: unknown"#;
    let status = |state: Value| {
        json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": state}]})
    };
    let told = |pod: &Pod| match observe(pod).unwrap().container {
        ContainerState::Terminated { message, .. } | ContainerState::Waiting { message, .. } => message,
        other => panic!("{other:?}"),
    };
    let holds_values = json!({"containers": [{"name": "c", "command": ["/opt/$(PODS_SECRET_1)/run"]}]});
    for state in [
        json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": of_a_path}}),
        json!({"waiting": {"reason": "RunContainerError", "message": of_a_path}}),
    ] {
        let mut pod = pod(status(state));
        assert_eq!(told(&pod), of_a_path);
        pod.spec = serde_json::from_value(holds_values.clone()).unwrap();
        assert_eq!(told(&pod), "exec: no such file or directory");
    }
    let mut pod = pod(status(json!({"waiting": {"reason": "ErrImagePull", "message": "\"x\": not found"}})));
    pod.spec = serde_json::from_value(holds_values).unwrap();
    assert_eq!(told(&pod), "\"x\": not found");
}
