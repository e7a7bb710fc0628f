//! Pods with templates: pinning and merging.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    templates::{TEMPLATES, grant, tag, template},
};

/// T1 on T2 on T3, each setting some fields; answers the references, closest first.
pub async fn chain(app: &TestApp) -> [String; 3] {
    let alice = app.alice();
    for id in ["tone", "ttwo", "tthree"] {
        template(&alice, id).await;
    }
    let three = json!({
        "image": "busybox:3", "description": "three", "command": ["three"],
        "environment_variables": {"LEVEL": "three", "THREE": "3"}, "time_to_stop_default": -1,
    });
    let three = tag(&alice, "tthree", "latest", three).await;
    let two = json!({
        "template": "tthree", "image": "busybox:2", "description": "two", "arguments": ["two"],
        "environment_variables": {"LEVEL": "two", "TWO": "2"},
    });
    let two = tag(&alice, "ttwo", "latest", two).await;
    let one = json!({
        "template": "ttwo:latest", "description": "one", "compute_queue": "gpu",
        "environment_variables": {"LEVEL": "one"},
    });
    [tag(&alice, "tone", "latest", one).await, two, three]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_comes_from_the_closest_template_that_sets_it() {
    let app = TestApp::start().await;
    let [one, _, _] = chain(&app).await;
    let alice = app.alice();
    let stored = alice
        .post("/v3/pods", json!({"pod_id": "docpod", "template": "tone", "status_requested": "OFF"}))
        .await
        .ok();
    assert_eq!(
        (&stored["template"], &stored["image"]),
        (&json!(one), &json!("")),
        "pinned; nothing is copied"
    );
    assert_eq!(stored["environment_variables"], json!({}));
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    for (field, value) in [
        ("template", json!(one)),
        ("image", json!("busybox:2")),
        ("description", json!("one")),
        ("command", json!(["three"])),
        ("arguments", json!(["two"])),
        ("compute_queue", json!("gpu")),
        ("time_to_stop_default", json!(-1)),
        ("environment_variables", json!({"LEVEL": "one", "TWO": "2", "THREE": "3"})),
    ] {
        assert_eq!(derived[field], value, "{field}");
    }

    // What the user sets wins, and only that.
    let set =
        json!({"time_to_stop_default": 7200, "command": ["mine"], "environment_variables": {"LEVEL": "pod"}});
    alice.put("/v3/pods/docpod", set).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(derived["time_to_stop_default"], 7200);
    assert_eq!(derived["command"], json!(["mine"]));
    assert_eq!(derived["environment_variables"], json!({"LEVEL": "pod", "TWO": "2", "THREE": "3"}));
    assert_eq!(derived["arguments"], json!(["two"]));

    // Even a value that equals the default is the user's decision.
    let default = json!({"time_to_stop_default": 43_200, "description": ""});
    alice.put("/v3/pods/docpod", default).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!((&derived["time_to_stop_default"], &derived["description"]), (&json!(43_200), &json!("")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_freezes_the_merged_pod() {
    let app = TestApp::start().await;
    chain(&app).await;
    app.alice().post("/v3/pods", json!({"pod_id": "docpod", "template": "tone"})).await.ok();
    let row = app.row("docpod").await;
    let instance =
        pods_db::instances::get(&mut *app.conn().await, row.instance_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(instance.effective.definition.image, "busybox:2");
    assert_eq!(instance.effective.definition.command, Some(vec!["three".to_owned()]));
    let pod = app.happens("docpod", pods_core::transition::Event::Running).await;
    assert_eq!(pod.time_to_stop_ts, None, "the template says -1");
    app.alice().put("/v3/pods/docpod", json!({"time_to_stop_default": 600})).await.ok();
    let pod = app.row("docpod").await;
    assert_eq!((pod.time_to_stop_ts.unwrap() - pod.start_instance_ts.unwrap()).num_seconds(), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn networking_of_a_template_replaces_the_default_entry() {
    let app = TestApp::start().await;
    template(&app.alice(), "base").await;
    let networking = json!({"default": {"port": 8080}, "api": {"port": 3000}});
    tag(&app.alice(), "base", "latest", json!({"image": "busybox", "networking": networking})).await;
    template(&app.alice(), "only").await;
    tag(&app.alice(), "only", "latest", json!({"image": "busybox", "networking": {"api": {"port": 3000}}}))
        .await;
    let create = |id: &str, template: &str, more: Value| {
        let mut body = json!({"pod_id": id, "template": template, "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let derived = async |id: &str| app.alice().get(&format!("/v3/pods/{id}/derived")).await.ok();

    app.alice().post("/v3/pods", create("mypod", "base", json!({}))).await.ok();
    let pod = derived("mypod").await;
    assert_eq!(pod["networking"]["default"]["port"], 8080);
    assert_eq!(pod["networking"]["default"]["url"], "mypod.pods.dev.localhost");
    assert_eq!(pod["networking"]["api"]["url"], "mypod-api.pods.dev.localhost");

    let own = json!({"networking": {"default": {"port": 9000}}});
    app.alice().post("/v3/pods", create("own", "base", own)).await.ok();
    let pod = derived("own").await;
    assert_eq!(
        (&pod["networking"]["default"]["port"], &pod["networking"]["api"]["port"]),
        (&json!(9000), &json!(3000))
    );

    app.alice().post("/v3/pods", create("api0", "only", json!({}))).await.ok();
    let pod = derived("api0").await;
    let names: Vec<&String> = pod["networking"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["api"], "no route that nobody asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_pinned_and_move_only_when_asked() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    template(&alice, "other").await;
    tag(&alice, "other", "latest", json!({"image": "busybox:other"})).await;
    let period = tag(&alice, "base", "fastapi.withperiod", json!({"image": "busybox:p"})).await;
    let first = tag(&alice, "base", "latest", json!({"image": "busybox:1"})).await;
    let body =
        |id: &str, template: &str| json!({"pod_id": id, "template": template, "status_requested": "OFF"});
    let pod = alice.post("/v3/pods", body("docpod", "base")).await.ok();
    assert_eq!(pod["template"], json!(first));
    assert_eq!(
        alice.post("/v3/pods", body("dots", "base:fastapi.withperiod")).await.ok()["template"],
        json!(period)
    );
    let second = tag(&alice, "base", "latest", json!({"image": "busybox:2"})).await;
    assert_ne!(first, second);
    assert_eq!(
        alice.get("/v3/pods/docpod/derived").await.ok()["image"],
        "busybox:1",
        "later tags change nothing"
    );
    assert_eq!(alice.post("/v3/pods", body("exact", &first)).await.ok()["template"], json!(first));

    // Sending back what an answer showed asks for nothing.
    let same = alice.put("/v3/pods/docpod", json!({"template": first})).await;
    assert_eq!(same.body["status"], "error");
    let restarted = alice.get("/v3/pods/docpod/restart").await.ok();
    assert_eq!(restarted["template"], json!(first));
    let answer = alice.get("/v3/pods/docpod/restart?grab_latest_template_tag=True").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let restarted = answer.ok();
    assert_eq!((&restarted["template"], &restarted["status"]), (&json!(second), &json!("RESTARTING")));
    let logs = alice.get("/v3/pods/docpod/logs").await.ok().to_string();
    assert!(logs.contains(&format!("{first}→")), "{logs}");

    // A PUT that names the template resolves it again.
    let put = alice.put("/v3/pods/exact", json!({"template": "base:latest"})).await.ok();
    assert_eq!(put["template"], json!(second));
    for (reference, problem) in [
        ("nope", "nope"),
        ("base:nope", "nope"),
        ("base:latest@2001-01-01-00:00:00", "2001"),
        ("base@2001-01-01-00:00:00", "template"),
        ("a:b:c", "template"),
        ("Base", "template"),
    ] {
        alice.post("/v3/pods", body("refused", reference)).await.is_invalid(problem);
        alice.put("/v3/pods/docpod", json!({"template": reference})).await.is_invalid(problem);
    }
    let none = alice.put("/v3/pods/docpod", json!({"template": ""})).await;
    none.is_invalid("image");
    let own = alice.put("/v3/pods/docpod", json!({"template": "", "image": "busybox"})).await.ok();
    assert_eq!((&own["template"], &own["image"]), (&json!(""), &json!("busybox")));
}

#[tokio::test(flavor = "multi_thread")]
async fn using_a_template_needs_read_on_it_at_that_moment() {
    let app = TestApp::start().await;
    let [one, two, _] = chain(&app).await;
    let body =
        |id: &str, reference: &str| json!({"pod_id": id, "template": reference, "status_requested": "OFF"});
    app.bob().post("/v3/pods", body("bobpod", "tone")).await.is(403, "READ");
    app.bob().post("/v3/pods", body("bobpod", "tone:nope")).await.is(403, "READ");
    grant(&app.alice(), "tone", "bob", "READ").await;
    app.bob().post("/v3/pods", body("bobpod", "tone")).await.ok();
    app.bob().post("/v3/pods", body("deeper", &two)).await.is(403, "READ");
    // A template of the same name does not exist in other tenants for its users.
    app.other_alice().post("/v3/pods", body("other", "tone")).await.is(403, "READ");

    app.alice().delete(&format!("{TEMPLATES}/tone/permissions/bob")).await.ok();
    app.bob().get("/v3/pods/bobpod/start").await.ok();
    app.bob().put("/v3/pods/bobpod", json!({"description": "still mine"})).await.ok();
    app.bob().put("/v3/pods/bobpod", json!({"template": one, "command": ["x"]})).await.ok();
    app.bob().put("/v3/pods/bobpod", json!({"template": "tone"})).await.is(403, "READ");
    app.bob().get("/v3/pods/bobpod/restart?grab_latest_template_tag=true").await.is(403, "READ");
    app.bob().get("/v3/pods/bobpod/restart").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_the_merge_obeys_the_rules() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "noimage").await;
    tag(&alice, "noimage", "latest", json!({"description": "no image"})).await;
    let body = |more: Value| {
        let mut body = json!({"pod_id": "docpod", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    alice.post("/v3/pods", body(json!({}))).await.is_invalid("image");
    alice.post("/v3/pods", body(json!({"template": "noimage"}))).await.is_invalid("image");
    alice
        .post("/v3/pods", body(json!({"template": "noimage", "image": "evil"})))
        .await
        .is_invalid("/pods/images");
    alice.post("/v3/pods", body(json!({"template": "noimage", "image": "busybox"}))).await.ok();

    template(&alice, "big").await;
    tag(&alice, "big", "latest", json!({"image": "busybox", "resources": {"mem_limit": 600}})).await;
    let too_much = json!({"template": "big", "resources": {"mem_request": 2000}});
    alice.put("/v3/pods/docpod", too_much).await.is_invalid("mem_request");
    let fits = json!({"template": "big", "resources": {"mem_request": 500}});
    alice.put("/v3/pods/docpod", fits).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(
        (&derived["resources"]["mem_request"], &derived["resources"]["mem_limit"]),
        (&json!(500), &json!(600))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_messages_are_told_to_those_who_use_the_template() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    tag(&alice, "base", "latest", json!({"image": "busybox"})).await;
    alice.put(&format!("{TEMPLATES}/base"), json!({"archive_message": "use base2"})).await.ok();
    let body = json!({"pod_id": "docpod", "template": "base", "status_requested": "OFF"});
    let answer = alice.post("/v3/pods", body).await;
    assert!(
        answer.body["metadata"]["warnings"][0].as_str().unwrap().contains("use base2"),
        "{}",
        answer.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_never_moves_to_a_template_that_took_over_a_name() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    let old = tag(&alice, "base", "latest", json!({"image": "busybox:old"})).await;
    let body = json!({"pod_id": "docpod", "template": "base", "status_requested": "OFF"});
    alice.post("/v3/pods", body).await.ok();
    alice.delete(&format!("{TEMPLATES}/base?force=true")).await.ok();
    let bob = app.bob();
    template(&bob, "base").await;
    let new = tag(&bob, "base", "latest", json!({"image": "busybox:evil"})).await;
    assert_ne!(old, new);
    grant(&bob, "base", "alice", "READ").await;
    alice.get("/v3/pods/docpod/restart?grab_latest_template_tag=true").await.is(409, "deleted");
    assert_eq!(alice.get("/v3/pods/docpod").await.ok()["template"], json!(old));
    assert_eq!(alice.get("/v3/pods/docpod/derived").await.ok()["image"], "busybox:old");
    alice.get("/v3/pods/docpod/start").await.ok();
    // Whoever names it means it.
    assert_eq!(alice.put("/v3/pods/docpod", json!({"template": "base"})).await.ok()["template"], json!(new));
}
