//! `PUT /pods/{pod_id}`.

use pods_core::transition::Event;
use serde_json::json;

use crate::{
    app::TestApp,
    templates::{tag, template},
};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_body_names_changes() {
    let app = TestApp::start().await;
    let before = app
        .alice()
        .create("docpod", json!({"description": "old", "environment_variables": {"A": "1", "B": "2"}}))
        .await;
    let answer = app.alice().put("/v3/pods/docpod", json!({"environment_variables": {"A": "3"}})).await;
    assert_eq!(answer.body["metadata"]["note"].as_array().unwrap().len(), 2);
    let after = answer.ok();
    assert_eq!(after["environment_variables"], json!({"A": "3"}), "each field as a whole");
    assert_eq!(after["description"], "old");
    assert_ne!(after["update_ts"], before["update_ts"]);
    assert_eq!(app.alice().get("/v3/pods/docpod").await.ok(), after);

    let reset = app.alice().put("/v3/pods/docpod", json!({"description": null})).await.ok();
    assert_eq!(reset["description"], "");
    let modified: Vec<&str> =
        reset["modified_fields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(modified, ["environment_variables", "image", "pod_id", "status_requested"]);
    let resources = app.alice().put("/v3/pods/docpod", json!({"resources": {"gpus": "1"}})).await.ok();
    assert!(resources["modified_fields"].as_array().unwrap().contains(&json!("resources.gpus")));
    // Each alone would be possible.
    app.alice().put("/v3/pods/docpod", json!({"compute_queue": "cpu"})).await.is_invalid("cpu");
    app.alice().put("/v3/pods/docpod", json!({"compute_queue": "cpu", "resources": null})).await.ok();
    assert_eq!(app.wake_ups().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_entries_wake_the_spawner_if_the_pod_is_to_run() {
    let app = TestApp::start().await;
    let with_port = |port: i32| json!({"networking": {"default": {"port": port, "tapis_auth": true}}});
    app.alice().create("docpod", json!({})).await;
    app.alice().put("/v3/pods/docpod", with_port(8080)).await.ok();
    assert_eq!(app.wake_ups().await, Vec::<String>::new(), "it does not run");
    app.alice().get("/v3/pods/docpod/start").await.ok();
    app.alice().put("/v3/pods/docpod", json!({"description": "new"})).await.ok();
    assert_eq!(app.wake_ups().await, ["start"]);
    app.alice().put("/v3/pods/docpod", with_port(9090)).await.ok();
    assert_eq!(app.wake_ups().await, ["networking"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_changes_nothing_says_so() {
    let app = TestApp::start().await;
    let pod = app.alice().create("docpod", json!({"description": "same"})).await;
    for body in [json!({}), json!({"description": "same"}), json!({"status_requested": "OFF"})] {
        let answer = app.alice().put("/v3/pods/docpod", body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("error")));
        assert_eq!(answer.body["result"], pod);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_requested_is_a_transition_after_the_other_fields() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    app.alice().grant("docpod", "bob", "USER").await;
    app.bob().put("/v3/pods/docpod", json!({"description": "by bob"})).await.ok();
    let both = json!({"description": "on", "status_requested": "ON"});
    app.bob().put("/v3/pods/docpod", both.clone()).await.is(403, "ADMIN");
    assert_eq!(app.alice().get("/v3/pods/docpod").await.ok()["description"], "by bob", "nothing changed");

    let on = app.alice().put("/v3/pods/docpod", both).await.ok();
    assert_eq!((on["status"].as_str(), on["description"].as_str()), (Some("REQUESTED"), Some("on")));
    assert_eq!(app.wake_ups().await, ["start"]);
    let row = app.row("docpod").await;
    let instance =
        pods_db::instances::get(&mut *app.conn().await, row.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(instance.effective.definition.description, "on", "the start uses the new definition");

    app.alice().put("/v3/pods/docpod", json!({"status_requested": "OFF"})).await.ok();
    let refused = json!({"description": "never", "status_requested": "ON"});
    app.alice().put("/v3/pods/docpod", refused).await.is(409, "SHUTTING_DOWN");
    let pod = app.alice().get("/v3/pods/docpod").await.ok();
    assert_eq!(pod["description"], "on", "a refused transition takes the other fields back");
    app.happens("docpod", Event::ObjectsGone).await;
    let restart = app.alice().put("/v3/pods/docpod", json!({"status_requested": "RESTART"})).await.ok();
    assert_eq!(restart["status"], "RESTARTING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_gets_its_deadline_moved() {
    let app = TestApp::start().await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "image": "busybox"})).await.ok();
    app.happens("docpod", Event::Running).await;
    let pod = app.alice().put("/v3/pods/docpod", json!({"time_to_stop_instance": "600"})).await.ok();
    let at = |key: &str| pod[key].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((at("time_to_stop_ts") - at("start_instance_ts")).num_seconds(), 600);
    let pod = app.alice().put("/v3/pods/docpod", json!({"time_to_stop_instance": -1})).await.ok();
    assert_eq!(pod["time_to_stop_ts"], json!(null));
    assert_eq!(pod["status"], "AVAILABLE", "the container is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_meet_are_all_kept() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let alice = app.alice();
    let bodies = [
        json!({"description": "d"}),
        json!({"command": ["c"]}),
        json!({"arguments": ["a"]}),
        json!({"time_to_stop_default": 900}),
    ];
    let requests = bodies.into_iter().map(|body| alice.put("/v3/pods/docpod", body));
    for answer in futures::future::join_all(requests).await {
        answer.ok();
    }
    let pod = alice.get("/v3/pods/docpod").await.ok();
    assert_eq!((&pod["description"], &pod["command"]), (&json!("d"), &json!(["c"])));
    assert_eq!((&pod["arguments"], &pod["time_to_stop_default"]), (&json!(["a"]), &json!(900)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_is_replaced_as_a_whole_and_null_resets_it() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let all = json!({
        "description": "d", "command": ["c"], "arguments": ["a"], "environment_variables": {"A": "1"},
        "secret_map": {"S": "literal"}, "time_to_stop_instance": 600,
        "volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "mine"}},
        "networking": {"default": {"port": 8080, "tapis_ui_uri": "/lab"}, "api": {"port": 8080}},
        "resources": {"cpu_request": 500, "gpus": 1},
        "template_overrides": {"secret_map": {"X": "y"}},
        "healthchecks": {"readiness": {"http_get_path": "/up", "http_get_port": 8080}},
    });
    let pod = alice.create("docpod", all.clone()).await;
    assert_eq!(pod["healthchecks"]["readiness"]["period_seconds"], 10, "defaults are filled in");
    assert_eq!(pod["volume_mounts"]["/data"]["mounted_by"], "alice");
    let names: Vec<&str> =
        pod["modified_fields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in [
        "secret_map",
        "volume_mounts",
        "template_overrides",
        "healthchecks",
        "resources.cpu_request",
        "resources.gpus",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    assert!(!names.contains(&"resources") && !names.contains(&"resources.mem_limit"));

    let put = async |body: serde_json::Value| alice.put("/v3/pods/docpod", body).await.ok();
    let pod = put(json!({"networking": {"default": {"port": 9000}}})).await;
    assert_eq!(pod["networking"].as_object().unwrap().len(), 1);
    assert_eq!(
        pod["networking"]["default"]["tapis_ui_uri"], "",
        "back to the default, not to the previous value"
    );
    let pod = put(json!({"resources": {"mem_request": "512"}})).await;
    assert_eq!((&pod["resources"]["cpu_request"], &pod["resources"]["gpus"]), (&json!(250), &json!(0)));
    let pod = put(json!({"secret_map": {"T": "${secret:mine}"}})).await;
    assert_eq!(pod["secret_map"], json!({"T": "${secret:alice:mine}"}));

    for (field, reset) in [
        ("description", json!("")),
        ("command", json!(null)),
        ("arguments", json!(null)),
        ("environment_variables", json!({})),
        ("secret_map", json!({})),
        ("volume_mounts", json!({})),
        ("template_overrides", json!(null)),
        ("healthchecks", json!(null)),
        ("time_to_stop_instance", json!(null)),
    ] {
        assert_eq!(put(json!({field: null})).await[field], reset, "{field}");
    }
    assert_eq!(put(json!({"networking": null})).await["networking"]["default"]["port"], 5000);
    let pod = put(json!({"resources": null})).await;
    assert_eq!(pod["resources"]["mem_request"], 256);
    let left = pod["modified_fields"].to_string();
    for field in
        ["description", "environment_variables", "secret_map", "volume_mounts", "networking", "resources"]
    {
        assert!(!left.contains(field), "{field} is not the user's any more: {left}");
    }
    for (field, value) in [
        ("pod_id", json!("other")),
        ("permissions", json!([])),
        ("status", json!("STOPPED")),
        ("stack_id", json!("")),
        ("depends_on", json!([])),
        ("ready_condition", json!("available")),
    ] {
        alice.put("/v3/pods/docpod", json!({field: value})).await.is_invalid("Extra inputs");
    }
    for field in ["image", "template", "compute_queue", "time_to_stop_default", "status_requested"] {
        alice.put("/v3/pods/docpod", json!({field: null})).await.is_invalid(field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_of_others_are_the_admins_business() {
    let app = TestApp::start().await;
    let mounts = json!({"/a": {"type": "tapisvolume", "source_id": "alices"}, "/b": {"type": "pvc", "source_id": "claim"}});
    app.alice().create("docpod", json!({"volume_mounts": mounts})).await;
    app.alice().grant("docpod", "bob", "USER").await;
    app.alice().grant("docpod", "carol", "ADMIN").await;
    let bob = app.bob();
    let path = "/v3/pods/docpod";
    let attach = "/v3/pods/docpod/volumes";
    let only_b = json!({"volume_mounts": {"/b": {"type": "pvc", "source_id": "claim"}}});
    bob.put(path, only_b.clone()).await.is(403, "/a");
    bob.put(path, json!({"volume_mounts": null})).await.is(403, "/a");
    bob.post(attach, json!({"volume_mounts": {"/a": null}})).await.is(403, "/a");
    let swapped = json!({"volume_mounts": {"/a": {"type": "tapisvolume", "source_id": "bobs"}}});
    bob.post(attach, swapped).await.is(403, "/a");
    let added = bob
        .post(attach, json!({"volume_mounts": {"/c": {"type": "tapisvolume", "source_id": "bobs"}}}))
        .await
        .ok();
    assert_eq!(added["volume_mounts"].as_object().unwrap().len(), 3, "merged by path");
    assert_eq!(added["volume_mounts"]["/c"]["mounted_by"], "bob");
    assert_eq!(added["volume_mounts"]["/a"]["mounted_by"], "alice");
    let forged =
        json!({"volume_mounts": {"/c": {"type": "tapisvolume", "source_id": "bobs", "mounted_by": "alice"}}});
    assert_eq!(bob.post(attach, forged).await.body["result"]["volume_mounts"]["/c"]["mounted_by"], "bob");
    bob.post(attach, json!({"volume_mounts": {"/c": null}})).await.ok();
    app.user("carol").put(path, only_b).await.ok();
    bob.post(attach, json!({})).await.is_invalid("required");
    bob.post(attach, json!({"volume_mounts": {}, "description": "x"})).await.is_invalid("Extra inputs");
    bob.post(attach, json!({"volume_mounts": {"relative": {"type": "pvc", "source_id": "x"}}}))
        .await
        .is_invalid("relative");
    bob.post(attach, json!({"volume_mounts": {"/x": {"type": "tapisvolume", "source_id": ""}}}))
        .await
        .is_invalid("source_id");
    app.user("dave").post(attach, json!({"volume_mounts": {}})).await.is(403, "USER");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_checked_when_it_is_touched() {
    let app = TestApp::start().await;
    let root = app.admin_mode();
    root.post("/v3/pods/images", json!({"image": "acme/shop", "tenants": ["dev"]})).await.ok();
    app.alice().create("docpod", json!({"image": "acme/shop:1"})).await;
    app.other_alice()
        .post("/v3/pods", json!({"pod_id": "docpod", "image": "acme/shop:1"}))
        .await
        .is_invalid("image");
    root.delete("/v3/pods/images/acme/shop").await.ok();
    app.alice().put("/v3/pods/docpod", json!({"description": "no image here"})).await.ok();
    app.alice().put("/v3/pods/docpod", json!({"image": "acme/shop:2"})).await.is_invalid("/pods/images");
    app.alice().put("/v3/pods/docpod", json!({"image": "busybox", "description": ""})).await.ok();
    app.alice().put("/v3/pods/docpod", json!({"image": ""})).await.is_invalid("image");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_action_log_names_what_changed_and_hides_values() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("docpod", json!({"description": "old"})).await;
    let secrets = json!({
        "description": "new", "environment_variables": {"E": "hunter2"}, "secret_map": {"S": "hunter2"},
        "volume_mounts": {"/c": {"type": "ephemeral", "config_content": "hunter2"}},
        "template_overrides": {"secret_map": {"O": "hunter2"}},
    });
    alice.put("/v3/pods/docpod", secrets).await.ok();
    app.admin_mode().put("/v3/pods/docpod", json!({"description": "by root"})).await.ok();
    alice.get("/v3/pods/docpod/start").await.ok();
    let logs = alice.get("/v3/pods/docpod/logs").await.ok();
    let lines: Vec<&str> =
        logs["action_logs"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines[0].ends_with("created by 'alice'"), "{lines:?}");
    assert!(lines[1].contains("'alice' updated pod: description: old→new"), "{lines:?}");
    assert!(lines[2].contains("ADMIN 'root' updated pod: description: new→by root"), "{lines:?}");
    assert!(lines[3].contains("'alice' asked for start"), "{lines:?}");
    for line in &lines {
        assert!(!line.contains("hunter2"), "{line}");
        let (date, _) = line.split_once(": ").unwrap();
        assert!(chrono::NaiveDateTime::parse_from_str(date, "%y/%m/%d %H:%M").is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_values_are_made_when_they_are_first_asked_for() {
    let app = TestApp::start().await;
    let alice = app.alice();
    alice.create("docpod", json!({})).await;
    let credentials = alice.get("/v3/pods/docpod/credentials").await.ok();
    alice.put("/v3/pods/docpod", json!({"secret_map": {"A": "${pods:random:16}"}})).await.ok();
    let path = "/v3/pods/docpod/derived?resolve_secrets=true";
    let value =
        async || app.admin_mode().get(path).await.ok()["secret_map"]["A"].as_str().unwrap().to_owned();
    let first = value().await;
    assert_eq!(first.len(), 16);
    alice.put("/v3/pods/docpod", json!({"description": "x"})).await.ok();
    assert_eq!(value().await, first);
    assert_eq!(alice.get("/v3/pods/docpod/credentials").await.ok(), credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_an_override_names_is_its_users_too() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    let mount = json!({"type": "tapisvolume", "source_id": "${:?Volume}"});
    tag(&alice, "base", "latest", json!({"image": "busybox", "volume_mounts": {"/data": mount}})).await;
    let body = json!({"pod_id": "docpod", "template": "base", "status_requested": "OFF",
        "template_overrides": {"volume_mounts": {"/data": {"source_id": "alices"}}}});
    let created = alice.post("/v3/pods", body).await;
    assert_eq!(created.body["metadata"]["mounted_by"], json!({"/data": "alice"}), "{}", created.body);
    let stored = created.ok();
    assert_eq!(stored["template_overrides"], json!({"volume_mounts": {"/data": {"source_id": "alices"}}}));
    alice.grant("docpod", "bob", "USER").await;
    let path = "/v3/pods/docpod";
    for body in [
        json!({"template_overrides": {"volume_mounts": {"/data": {"source_id": "bobs"}}}}),
        json!({"volume_mounts": {"/data": null}}),
        json!({"volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "bobs"}}}),
        json!({"template": "", "image": "busybox"}),
        json!({"environment_variables": {"_TAPIS_INTERNAL_USE_TEMPLATE_VOLUMES": "false"}}),
    ] {
        app.bob().put(path, body).await.is(403, "/data");
    }
    app.bob().put(path, json!({"description": "the rest is free"})).await.ok();
    let derived = app.bob().get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(derived["volume_mounts"]["/data"]["mounted_by"], "alice");
    alice.put(path, json!({"volume_mounts": {"/data": null}})).await.ok();
}
