//! Pods with templates: pinning, merging, placeholders, overrides, where fields come from.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    templates::{TEMPLATES, grant, tag, template},
};

/// T1 on T2 on T3, each setting some fields; answers the references, closest first.
async fn chain(app: &TestApp) -> [String; 3] {
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
async fn required_placeholders_must_be_filled() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "database").await;
    let definition = json!({
        "image": "busybox",
        "secret_map": {"PGPASS": "${:?Password of the superuser}", "PGDB": "${pods:default:app:?Database name}"},
        "environment_variables": {"P": "${pods:secrets:PGPASS}", "D": "${pods:secrets:PGDB}"},
    });
    tag(&alice, "database", "latest", definition).await;
    let body = |id: &str, more: Value| {
        let mut body = json!({"pod_id": id, "template": "database", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let refused = alice.post("/v3/pods", body("docpod", json!({}))).await;
    refused.is_invalid("PGPASS");
    refused.is_invalid("Password of the superuser");
    let literal = alice.post("/v3/pods", body("docpod", json!({"secret_map": {"PGPASS": "hunter2"}}))).await;
    let placeholders = &literal.body["metadata"]["template_placeholders"];
    assert_eq!(placeholders["required"], json!([]));
    assert!(placeholders["optional"][0].as_str().unwrap().contains("PGDB"), "{placeholders}");
    assert_eq!(literal.ok()["secret_map"], json!({"PGPASS": "hunter2"}));
    let own = json!({"secret_map": {"PGPASS": "${secret:dbpass}", "EXTRA": "x${secret:bob:key}"}});
    let pod = alice.post("/v3/pods", body("secretive", own)).await.ok();
    assert_eq!(
        pod["secret_map"],
        json!({"PGPASS": "${secret:alice:dbpass}", "EXTRA": "x${secret:bob:key}"}),
        "a short reference goes on meaning its writer's secret"
    );
    let overridden = json!({"template_overrides": {"secret_map": {"PGPASS": "${secret:dbpass}"}}});
    let pod = alice.post("/v3/pods", body("overridden", overridden)).await.ok();
    assert_eq!(pod["template_overrides"]["secret_map"]["PGPASS"], "${secret:alice:dbpass}");
    let derived = alice.get("/v3/pods/overridden/derived").await;
    assert!(derived.body["metadata"]["template_placeholders"].is_object());
    assert_eq!(derived.ok()["secret_map"]["PGPASS"], "${secret:alice:dbpass}");

    let found = alice.get("/v3/pods/secretive").await;
    let unresolved = &found.body["metadata"]["unresolved_patterns"];
    assert_eq!(unresolved["has_unresolved"], true, "{}", found.body);
    assert_eq!(unresolved["secret_map_unresolved"][1]["patterns"][0]["type"], "user_secret", "{unresolved}");
    let quiet = alice.get("/v3/pods/secretive?check_unresolved=false").await;
    assert_eq!(quiet.body["metadata"], json!({}));

    let plain = json!({"pod_id": "plain", "image": "busybox", "status_requested": "OFF",
        "secret_map": {"A": "${:?What A is}", "B": "${pods:default:b}"},
        "environment_variables": {"X": "<TAPIS_user_username>"}});
    let plain = alice.post("/v3/pods", plain).await;
    let available = &plain.body["metadata"]["available_placeholders"];
    assert!(available["required"][0].as_str().unwrap().contains('A'), "{}", plain.body);
    assert!(plain.body["metadata"]["config_syntax_warnings"][0].as_str().unwrap().contains("TAPIS_"));
    plain.ok();
    alice
        .put("/v3/pods/plain", json!({"secret_map": {"A": "${pods:random:4}"}}))
        .await
        .is_invalid("secret_map");
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_replace_parts_of_the_templates_mounts() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    let definition = json!({"image": "busybox", "volume_mounts": {
        "/data": {"type": "tapisvolume", "source_id": "${:?Volume for the data}", "sub_path": "here"},
        "/etc/app.conf": {"type": "ephemeral", "config_content": "a=1"},
    }});
    tag(&alice, "base", "latest", definition.clone()).await;
    let body = |id: &str, more: Value| {
        let mut body = json!({"pod_id": id, "template": "base", "status_requested": "OFF"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    alice.post("/v3/pods", body("docpod", json!({}))).await.is_invalid("Volume for the data");
    let overrides = json!({"template_overrides": {"volume_mounts": {
        "/data": {"source_id": "mine"}, "/nowhere": {"read_only": true},
    }}});
    let answer = alice.post("/v3/pods", body("docpod", overrides)).await;
    let metadata = answer.body["metadata"].clone();
    assert!(metadata["warnings"][0].as_str().unwrap().contains("/nowhere"), "{metadata}");
    assert_eq!(
        metadata["volume_placeholders"],
        json!({"resolved": [{"mount_path": "/data", "mount_type": "tapisvolume",
            "original_placeholder": "${:?Volume for the data}", "resolved_to": "mine"}], "unresolved": []})
    );
    assert_eq!(answer.ok()["volume_mounts"], json!({}), "only the user's own mounts are stored");
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    let data = &derived["volume_mounts"]["/data"];
    assert_eq!((&data["source_id"], &data["sub_path"]), (&json!("mine"), &json!("here")));
    let content = derived["volume_mounts"]["/etc/app.conf"]["config_content"].as_str().unwrap();
    assert!(content.starts_with("<3") && content.contains("include_configs=true"), "{content}");
    let shown = alice.get("/v3/pods/docpod/derived?include_configs=True").await.ok();
    assert_eq!(shown["volume_mounts"]["/etc/app.conf"]["config_content"], "a=1");
    alice
        .put("/v3/pods/docpod", json!({"volume_mounts": derived["volume_mounts"]}))
        .await
        .is_invalid("config_content");

    // The pod's own mounts win over overrides; null removes a template's mount.
    let own = json!({"volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "own"}, "/etc/app.conf": null}});
    let stored = alice.put("/v3/pods/docpod", own).await.ok();
    assert_eq!(stored["volume_mounts"].as_object().unwrap().len(), 1, "never a null mount");
    assert_eq!(stored["volume_mounts"]["/data"]["mounted_by"], "alice");
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(derived["volume_mounts"]["/data"]["source_id"], "own");
    assert!(derived["volume_mounts"].get("/etc/app.conf").is_none());
    // The removal outlives a PUT that does not mention the path, and ends when the path is set.
    let again = json!({"volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "own2"}}});
    alice.put("/v3/pods/docpod", again).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert!(derived["volume_mounts"].get("/etc/app.conf").is_none());
    alice.post("/v3/pods/docpod/reset_field", json!({"fields": ["volume_mounts"]})).await.ok();
    let derived = alice.get("/v3/pods/docpod/derived").await.ok();
    assert_eq!(derived["volume_mounts"]["/data"]["source_id"], "mine");
    assert!(derived["volume_mounts"].get("/etc/app.conf").is_some());

    let tags = alice.get(&format!("{TEMPLATES}/base/tags?include_configs=true")).await.ok();
    let mounts = &tags[0]["pod_definition"]["volume_mounts"];
    assert_eq!(mounts["/data"]["source_id"], "${:?Volume for the data}", "the template is as it was");
    for bad in [
        json!({"volume_mounts": {"data": {"read_only": true}}}),
        json!({"volume_mounts": {"/data": {"read_only": "perhaps"}}}),
        json!({"volume_mounts": {"/data": {"bogus": 1}}}),
        json!({"secret_map": {"A": 1}}),
        json!({"bogus": {}}),
        json!([]),
    ] {
        alice
            .put("/v3/pods/docpod", json!({"template_overrides": bad}))
            .await
            .is_invalid("template_overrides");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_filled_in_for_those_who_may_see_them() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "base").await;
    let environment = json!({
        "U": "<<tapissecret_user_username>>", "P": "x<<TAPIS_user_password>>x", "S": "<<tapissecret_service_username>>",
        "N": "<<tapissecret_nothing>>", "I": "<<tapissecret_pod_id>>", "SINGLE": "<TAPIS_user_username>",
    });
    tag(&alice, "base", "latest", json!({"image": "busybox", "environment_variables": environment})).await;
    alice
        .post("/v3/pods", json!({"pod_id": "docpod", "template": "base", "status_requested": "OFF"}))
        .await
        .ok();
    alice.grant("docpod", "bob", "USER").await;
    alice.grant("docpod", "carol", "READ").await;
    let credentials = app.bob().get("/v3/pods/docpod/credentials").await.ok();
    let keys: Vec<&String> = credentials.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["user_password", "user_username"], "never the administrative pair");
    assert_eq!(credentials["user_username"], "docpod");
    let password = credentials["user_password"].as_str().unwrap();
    assert_eq!(password.len(), 30);
    assert!(password.chars().all(|c| c.is_ascii_alphanumeric()));
    assert_eq!(alice.get("/v3/pods/docpod/credentials").await.ok(), credentials, "generated once");
    app.user("carol").get("/v3/pods/docpod/credentials").await.is(403, "USER");

    let filled = json!({
        "U": "docpod", "P": format!("x{password}x"), "S": "podsservice", "N": "", "I": "docpod",
        "SINGLE": "<TAPIS_user_username>",
    });
    let carol = app.user("carol");
    for path in ["/v3/pods/docpod/derived", "/v3/pods/docpod?derived=true"] {
        assert_eq!(alice.get(path).await.ok()["environment_variables"], filled, "{path}");
        assert_eq!(app.bob().get(path).await.ok()["environment_variables"], filled, "{path}");
        assert_eq!(app.admin_mode().get(path).await.ok()["environment_variables"], filled, "{path}");
        assert_eq!(carol.get(path).await.ok()["environment_variables"], environment, "{path}");
    }
    let listed = |list: Value| list[0]["environment_variables"].clone();
    assert_eq!(listed(app.bob().get("/v3/pods?derived=true").await.ok()), filled);
    assert_eq!(listed(app.admin_mode().get("/v3/pods?derived=true").await.ok()), filled);
    assert_eq!(listed(carol.get("/v3/pods?derived=true").await.ok()), environment);
    assert_eq!(listed(app.bob().get("/v3/pods?derived_lite=true&derived=true").await.ok()), environment);
    assert_eq!(listed(app.bob().get("/v3/pods").await.ok()), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_can_have_secrets_resolved() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let body = json!({
        "secret_map": {"LITERAL": "value1", "RANDOM": "${pods:random:24}", "OTHERS": "${secret:bob:key}"},
        "environment_variables": {"A": "a-${pods:secrets:LITERAL}", "R": "${pods:secrets:RANDOM}", "O": "${pods:secrets:OTHERS}"},
        "volume_mounts": {"/etc/app.conf": {"type": "ephemeral", "config_content": "k=${pods:secrets:LITERAL}"}},
    });
    alice.create("docpod", body).await;
    let path = "/v3/pods/docpod/derived?resolve_secrets=true&include_configs=true";
    alice.get(path).await.is(403, "administrators");
    alice.get("/v3/pods/docpod/derived?reveal_write_only=true").await.is(403, "administrators");
    app.admin().get(path).await.is(403, "READ");
    let answer = app.admin_mode().get(path).await;
    let metadata = answer.body["metadata"].clone();
    assert_eq!(metadata["secrets_resolved"], true);
    assert!(metadata["secret_resolution_errors"][0].as_str().unwrap().contains("OTHERS"), "{metadata}");
    let pod = answer.ok();
    assert_eq!(pod["secret_map"]["LITERAL"], "value1");
    assert_eq!(pod["environment_variables"]["A"], "a-value1");
    assert_eq!(pod["volume_mounts"]["/etc/app.conf"]["config_content"], "k=value1");
    let random = pod["secret_map"]["RANDOM"].as_str().unwrap().to_owned();
    assert_eq!(random.len(), 24);
    assert_eq!(pod["environment_variables"]["R"], json!(random));
    assert_eq!(
        app.admin_mode().get(path).await.ok()["secret_map"]["RANDOM"],
        json!(random),
        "generated once"
    );
    // Nobody else ever sees it.
    for path in [
        "/v3/pods/docpod",
        "/v3/pods/docpod/derived",
        "/v3/pods/docpod/overrides",
        "/v3/pods/docpod/provenance",
    ] {
        let answer = alice.get(path).await;
        assert!(!answer.body.to_string().contains(&random), "{path}");
        answer.ok();
    }
    assert_eq!(alice.get("/v3/pods/docpod").await.ok()["secret_map"]["RANDOM"], "${pods:random:24}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_can_be_traced_and_given_back() {
    let app = TestApp::start().await;
    chain(&app).await;
    let alice = app.alice();
    let body = json!({"pod_id": "docpod", "template": "tone", "status_requested": "OFF", "command": ["mine"],
        "resources": {"cpu_request": 500}});
    alice.post("/v3/pods", body).await.ok();
    let overrides = alice.get("/v3/pods/docpod/overrides").await.ok();
    assert_eq!(overrides["overrides"]["command"], json!(["mine"]));
    assert_eq!(overrides["overrides"]["resources"], json!({"cpu_request": 500}));
    assert_eq!(overrides["status"], "STOPPED");
    let provenance = alice.get("/v3/pods/docpod/provenance").await.ok();
    assert_eq!(provenance["has_template"], true);
    for (field, source) in [("command", "pod"), ("image", "template"), ("healthchecks", "default")] {
        assert_eq!(provenance["fields"][field]["source"], source, "{field}");
    }
    assert_eq!(provenance["fields"]["command"]["template_value"], json!(["three"]));
    let total: u64 =
        ["pod", "template", "default"].iter().map(|s| provenance["summary"][s].as_u64().unwrap()).sum();
    assert_eq!(total as usize, provenance["fields"].as_object().unwrap().len());

    let path = "/v3/pods/docpod/reset_field";
    let reset = alice.post(path, json!({"fields": ["command"]})).await.ok();
    assert!(!reset["modified_fields"].as_array().unwrap().contains(&json!("command")));
    assert_eq!(alice.get("/v3/pods/docpod/derived").await.ok()["command"], json!(["three"]));
    let again = alice.post(path, json!({"fields": ["command"]})).await;
    assert_eq!((again.status.as_u16(), &again.body["status"]), (200, &json!("error")));
    assert_eq!(again.body["result"]["pod_id"], "docpod");
    alice.post(path, json!({"fields": []})).await.is(400, "fields");
    alice.post(path, json!({"fields": ["pod_id"]})).await.is(400, "pod_id");
    alice.post(path, json!({})).await.is_invalid("required");
    alice.post(path, json!({"fields": "command"})).await.is_invalid("fields");
    alice.post(path, json!({"fields": ["command"], "x": 1})).await.is_invalid("Extra inputs");
    alice.create("plain", json!({})).await;
    alice.post("/v3/pods/plain/reset_field", json!({"fields": ["command"]})).await.is(400, "template");
    alice.grant("docpod", "bob", "USER").await;
    app.bob().post(path, json!({"fields": ["command"]})).await.is(403, "ADMIN");
    let logs = alice.get("/v3/pods/docpod/logs").await.ok().to_string();
    assert!(logs.contains("'alice' gave command back to the template"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_can_be_saved_as_a_tag() {
    let app = TestApp::start().await;
    chain(&app).await;
    let alice = app.alice();
    let body = json!({
        "pod_id": "docpod", "template": "tone", "status_requested": "OFF", "command": ["mine"],
        "resources": {"cpu_request": 500},
        "secret_map": {"KEY": "hunter2"}, "environment_variables": {"K": "${pods:secrets:KEY}"},
        "volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "mine"}},
        "networking": {"default": {"port": 8080}},
    });
    alice.post("/v3/pods", body).await.ok();
    template(&alice, "saved").await;
    let path = "/v3/pods/docpod/save_pod_as_template_tag";
    let saved = alice.post(path, json!({"template_id": "saved", "commit_message": "from a pod"})).await.ok();
    assert!(saved["tag_timestamp"].as_str().unwrap().starts_with("latest@"));
    let definition = &saved["pod_definition"];
    assert_eq!(definition["command"], json!(["mine"]));
    assert_eq!(definition["image"], Value::Null, "the template's");
    assert!(definition["template"].as_str().unwrap().starts_with("tone:latest@"));
    assert_eq!(
        (&definition["resources"]["cpu_request"], &definition["resources"]["mem_limit"]),
        (&json!(500), &Value::Null)
    );
    assert!(!saved.to_string().contains("hunter2"), "{saved}");
    assert!(definition["secret_map"]["KEY"].as_str().unwrap().starts_with("${:?"));
    assert!(definition["volume_mounts"]["/data"]["source_id"].as_str().unwrap().starts_with("${:?"));
    assert_eq!(definition["networking"]["default"]["url"], "");
    let logs = alice.get("/v3/pods/docpod/logs").await.ok().to_string();
    assert!(logs.contains("saved pod as template tag saved:latest@"), "{logs}");

    let fill = json!({
        "pod_id": "second", "template": "saved", "status_requested": "OFF", "secret_map": {"KEY": "other"},
        "template_overrides": {"volume_mounts": {"/data": {"source_id": "theirs"}}},
    });
    alice.post("/v3/pods", fill).await.ok();
    let derived = alice.get("/v3/pods/second/derived").await.ok();
    assert_eq!((&derived["command"], &derived["image"]), (&json!(["mine"]), &json!("busybox:2")));

    alice.post(path, json!({"template_id": "nope", "commit_message": "x"})).await.is(404, "nope");
    alice.post(path, json!({"template_id": "saved"})).await.is_invalid("required");
    grant(&alice, "saved", "bob", "READ").await;
    alice.grant("docpod", "bob", "USER").await;
    let body = json!({"template_id": "saved", "commit_message": "by bob"});
    app.bob().post(path, body.clone()).await.is(403, "ADMIN");
    alice.grant("docpod", "bob", "ADMIN").await;
    app.bob().post(path, body.clone()).await.is(403, "USER");
    grant(&alice, "saved", "bob", "USER").await;
    app.bob().post(path, body.clone()).await.is(403, "READ");
    grant(&alice, "tone", "bob", "READ").await;
    app.bob().post(path, body).await.ok();
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
