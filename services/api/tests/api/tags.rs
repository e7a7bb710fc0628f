//! Tags of templates: adding, finding, chains, deletion.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    templates::{TEMPLATES, grant, tag, template},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_has_every_documented_field_and_says_what_to_fill_in() {
    let app = TestApp::start().await;
    template(&app.alice(), "postgres").await;
    let path = format!("{TEMPLATES}/postgres/tags");
    let body = json!({
        "tag": "16", "commit_message": "first cut",
        "pod_definition": {
            "image": "busybox:16",
            "networking": {"default": {"protocol": "postgres", "port": "5432"}},
            "resources": {"cpu_request": "500"},
            "secret_map": {"PGPASS": "${:?Password of the superuser}", "PGDB": "${pods:default:app:?Database name}"},
            "environment_variables": {"POSTGRES_PASSWORD": "${pods:secrets:PGPASS}"},
            "volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "${:?Volume for the data}"}},
        },
    });
    let answer = app.alice().post(&path, body).await;
    let metadata = answer.body["metadata"].clone();
    assert_eq!(
        metadata["secret_placeholders"],
        json!([
            {"env_var": "PGPASS", "placeholder": "${:?Password of the superuser}",
             "description": "Password of the superuser", "has_default": false, "default_value": null},
            {"env_var": "PGDB", "placeholder": "${pods:default:app:?Database name}",
             "description": "Database name", "has_default": true, "default_value": "app"},
        ])
    );
    assert_eq!(
        metadata["volume_placeholders"],
        json!({"required": [
            {"mount_path": "/data", "mount_type": "tapisvolume", "description": "Volume for the data"},
        ]})
    );
    let added = answer.ok();
    let created = added["creation_ts"].as_str().unwrap();
    let stamp = added["tag_timestamp"].as_str().unwrap();
    // YYYY-MM-DD-HH:MM:SS of the creation.
    assert_eq!(stamp, format!("16@{}-{}", &created[..10], &created[11..19]));
    let definition = &added["pod_definition"];
    let keys: Vec<&str> = added.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "added_by",
            "archive_message",
            "commit_message",
            "creation_ts",
            "description",
            "pod_definition",
            "site_id",
            "tag",
            "tag_timestamp",
            "template_id",
            "tenant_id",
        ]
    );
    assert_eq!((&added["added_by"], &added["tenant_id"]), (&json!("alice"), &json!("dev")));
    for (field, value) in [
        ("image", json!("busybox:16")),
        ("template", Value::Null),
        ("description", Value::Null),
        ("command", Value::Null),
        ("arguments", Value::Null),
        ("time_to_stop_default", Value::Null),
        ("time_to_stop_instance", Value::Null),
        ("healthchecks", Value::Null),
        ("compute_queue", json!("default")),
    ] {
        assert_eq!(definition[field], value, "{field}");
    }
    assert_eq!(definition["resources"]["cpu_request"], 500);
    assert_eq!(definition["resources"].as_object().unwrap().len(), 7);
    assert_eq!(definition["resources"]["gpus"], Value::Null);
    assert_eq!(definition["networking"]["default"]["port"], 5432);
    assert_eq!(app.alice().get(&path).await.ok(), json!([added]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_found_by_name_and_by_timestamp_however_the_path_is_written() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "fastapi").await;
    let path = format!("{TEMPLATES}/fastapi/tags");
    let mut all = Vec::new();
    for number in 1..=3 {
        // Within one second, so that two of them would have the same timestamp.
        let reference =
            tag(&alice, "fastapi", "latest", json!({"image": "busybox", "description": number.to_string()}))
                .await;
        all.insert(0, reference.strip_prefix("fastapi:").unwrap().to_owned());
        assert_eq!(alice.get(&path).await.ok().as_array().unwrap().len(), number);
    }
    tag(&alice, "fastapi", "withperiod.2", json!({"image": "busybox"})).await;
    let found = alice.get(&format!("{path}/latest")).await.ok();
    let stamps: Vec<&str> =
        found.as_array().unwrap().iter().map(|tag| tag["tag_timestamp"].as_str().unwrap()).collect();
    assert_eq!(stamps, all, "newest first, all different");
    for written in [all[1].clone(), all[1].replace('@', "%40").replace(':', "%3A")] {
        let found = alice.get(&format!("{path}/{written}")).await.ok();
        assert_eq!(found.as_array().unwrap().len(), 1, "{written}");
        assert_eq!(found[0]["tag_timestamp"], all[1]);
    }
    assert_eq!(alice.get(&format!("{path}/withperiod.2")).await.ok()[0]["tag"], "withperiod.2");
    for unknown in ["nothing", "latest@2020-01-01-00:00:00", "latest@yesterday"] {
        assert_eq!(alice.get(&format!("{path}/{unknown}")).await.ok(), json!([]), "{unknown}");
    }
    alice.get(&format!("{TEMPLATES}/nothere/tags/latest")).await.is(404, "nothere");
    let brief = alice.get(&format!("{path}?full=False")).await.ok();
    assert!(brief.as_array().unwrap().iter().all(|tag| tag.get("pod_definition").is_none()));

    // A reference without a tag means `latest`, one without a timestamp the newest.
    for (pod_id, reference, description) in [
        ("bare", "fastapi".to_owned(), "3"),
        ("named", "fastapi:latest".to_owned(), "3"),
        ("exact", format!("fastapi:{}", all[2]), "1"),
    ] {
        let body = json!({"pod_id": pod_id, "template": reference, "status_requested": "OFF"});
        alice.post("/v3/pods", body).await.ok();
        let derived = alice.get(&format!("/v3/pods/{pod_id}/derived")).await.ok();
        assert_eq!(derived["description"], description, "{reference}");
    }
    let body = json!({"pod_id": "period", "template": "fastapi:withperiod.2"});
    let pinned = alice.post("/v3/pods", body).await.ok()["template"].clone();
    assert!(pinned.as_str().unwrap().starts_with("fastapi:withperiod.2@"), "{pinned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closest_template_of_a_chain_that_sets_a_field_wins() {
    let app = TestApp::start().await;
    let alice = app.alice();
    for name in ["deepest", "middle", "closest"] {
        template(&alice, name).await;
    }
    let deepest = json!({
        "image": "busybox:3", "command": ["three"], "description": "three", "arguments": ["three"],
        "environment_variables": {"LEVEL": "three", "DEEP": "three"},
        "networking": {"default": {"protocol": "http", "port": 8080}, "api": {"protocol": "http", "port": 3000}},
    });
    let pinned = tag(&alice, "deepest", "latest", deepest).await;
    let middle = json!({
        "template": "deepest", "image": "busybox:2", "arguments": ["two"],
        "environment_variables": {"LEVEL": "two", "MIDDLE": "two"},
    });
    tag(&alice, "middle", "latest", middle).await;
    let shown = alice.get(&format!("{TEMPLATES}/middle/tags/latest")).await.ok();
    assert_eq!(shown[0]["pod_definition"]["template"], json!(pinned), "references are pinned");
    // What comes later changes nothing for those who use it already.
    tag(&alice, "deepest", "latest", json!({"image": "busybox:9", "command": ["nine"]})).await;
    let closest = json!({
        "template": "middle", "description": "one", "compute_queue": "gpu",
        "environment_variables": {"LEVEL": "one"},
    });
    tag(&alice, "closest", "latest", closest).await;

    alice.post("/v3/pods", json!({"pod_id": "mypod", "template": "closest"})).await.ok();
    let derived = alice.get("/v3/pods/mypod/derived").await.ok();
    for (field, value) in [
        ("image", json!("busybox:2")),
        ("description", json!("one")),
        ("command", json!(["three"])),
        ("arguments", json!(["two"])),
        ("compute_queue", json!("gpu")),
        ("environment_variables", json!({"LEVEL": "one", "MIDDLE": "two", "DEEP": "three"})),
    ] {
        assert_eq!(derived[field], value, "{field}");
    }
    let entries = derived["networking"].as_object().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries["default"]["port"], &entries["api"]["port"]), (&json!(8080), &json!(3000)));
    assert_eq!(entries["default"]["url"], "mypod.pods.dev.localhost");
    assert_eq!(entries["api"]["url"], "mypod-api.pods.dev.localhost");
    let body = json!({
        "pod_id": "other", "template": "closest", "networking": {"default": {"protocol": "http", "port": 9000}}
    });
    alice.post("/v3/pods", body).await.ok();
    let entries = alice.get("/v3/pods/other/derived").await.ok()["networking"].clone();
    assert_eq!((&entries["default"]["port"], &entries["api"]["port"]), (&json!(9000), &json!(3000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_break_rules_are_refused() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "mine").await;
    template(&app.bob(), "bobs").await;
    tag(&app.bob(), "bobs", "latest", json!({"image": "busybox"})).await;
    let path = format!("{TEMPLATES}/mine/tags");
    let add = async |definition: Value| {
        alice.post(&path, json!({"commit_message": "x", "pod_definition": definition})).await
    };
    for (definition, problem) in [
        (json!({"template": "mine"}), "mine"),
        (json!({"template": "mine:latest"}), "mine:latest"),
        (json!({"template": "nothere"}), "nothere"),
        (json!({"template": "bobs@2026-01-01-00:00:00"}), "template"),
        (json!({"template": "a:b:c"}), "template"),
        (json!({"image": "evil/image"}), "must be in allowlist"),
        (json!({"image": "BAD IMAGE"}), "image"),
        (json!({"secret_map": {"KEY": "${secret:mine}"}}), "secret"),
        (json!({"secret_map": {"KEY": "${secret:bob:mine}"}}), "secret"),
        (json!({"environment_variables": {"A": "${pods:secrets:NOTHERE}"}}), "NOTHERE"),
        (
            json!({"volume_mounts": {"/data": {"type": "tapisvolume", "source_id": "literal"}}}),
            "volume_mounts",
        ),
        (json!({"volume_mounts": {"/data": {"type": "ephemeral"}}}), "config_content"),
        (json!({"resources": {"cpu_request": 1}}), "out of bounds"),
        (json!({"status_requested": "ON"}), "status_requested"),
        (json!({"template_overrides": {}}), "template_overrides"),
        (json!({"stack_id": "x"}), "stack_id"),
    ] {
        add(definition).await.is_invalid(problem);
    }
    for (body, problem) in [
        (json!({"pod_definition": {}}), "commit_message"),
        (json!({"commit_message": "x", "pod_definition": {}, "tag": "no spaces"}), "tag"),
        (json!({"commit_message": "x", "pod_definition": {}, "tag": "a".repeat(81)}), "tag"),
        (json!({"commit_message": "x", "pod_definition": {}, "kind": "stack"}), "kind"),
        (json!({"commit_message": "a".repeat(256), "pod_definition": {}}), "255"),
    ] {
        alice.post(&path, body).await.is_invalid(problem);
    }
    add(json!({"template": "bobs"})).await.is(403, "READ");
    add(json!({"template": "bobs:unknown"})).await.is(403, "READ");
    assert_eq!(alice.get(&path).await.ok(), json!([]));

    // A key that the deeper template's secret_map has is known.
    add(json!({"image": "busybox", "secret_map": {"KEY": "${:?Give a key}"}})).await.ok();
    add(json!({"template": "mine", "environment_variables": {"A": "${pods:secrets:KEY}"}})).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_templates_may_build_on_each_other_and_no_more() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "tower").await;
    tag(&alice, "tower", "latest", json!({"image": "busybox"})).await;
    for _ in 1..16 {
        tag(&alice, "tower", "latest", json!({"template": "tower"})).await;
    }
    let body = json!({"commit_message": "x", "pod_definition": {"template": "tower"}});
    alice.post(&format!("{TEMPLATES}/tower/tags"), body).await.is_invalid("16");
    alice.post("/v3/pods", json!({"pod_id": "high", "template": "tower"})).await.ok();
    assert_eq!(alice.get("/v3/pods/high/derived").await.ok()["image"], "busybox");
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_of_files_are_shown_only_when_asked_for() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "files").await;
    let content = "the content of a file";
    let definition = json!({"image": "busybox", "volume_mounts": {
        "/etc/app.conf": {"type": "ephemeral", "config_content": content},
        "/gone": null,
    }});
    let body = json!({"commit_message": "x", "pod_definition": definition});
    let path = format!("{TEMPLATES}/files/tags");
    let added = alice.post(&path, body).await.ok();
    let listed = alice.get(&path).await.ok()[0].clone();
    let single = alice.get(&format!("{path}/latest")).await.ok()[0].clone();
    let in_map = alice.get(&format!("{TEMPLATES}/tags")).await.ok()["files"]["tags"][0].clone();
    for shown in [added, listed, single, in_map] {
        let mounts = shown["pod_definition"]["volume_mounts"].as_object().unwrap();
        assert_eq!(mounts.len(), 1, "a removal is not shown");
        let text = mounts["/etc/app.conf"]["config_content"].as_str().unwrap();
        assert!(text.contains("include_configs=true") && text.starts_with("<21"), "{text}");
    }
    for asked in [format!("{path}?include_configs=True"), format!("{path}/latest?include_configs=true")] {
        let shown = alice.get(&asked).await.ok();
        assert_eq!(shown[0]["pod_definition"]["volume_mounts"]["/etc/app.conf"]["config_content"], content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_deleted_by_administrators_only() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "web").await;
    let path = format!("{TEMPLATES}/web/tags");
    let used = tag(&alice, "web", "latest", json!({"image": "busybox", "description": "used"})).await;
    alice
        .post("/v3/pods", json!({"pod_id": "user", "template": "web", "status_requested": "OFF"}))
        .await
        .ok();
    let child = tag(&alice, "web", "child", json!({"template": "web"})).await;
    let newer = tag(&alice, "web", "latest", json!({"image": "busybox"})).await;
    let stamp = |reference: &str| reference.strip_prefix("web:").unwrap().to_owned();
    grant(&app.admin_mode(), "web", "**", "READ").await;

    for user in [app.alice(), app.bob(), app.other_alice()] {
        user.delete(&format!("{path}/{}", stamp(&newer))).await.is(403, "administrators");
        user.delete(&format!("{path}/{}?force=true", stamp(&newer))).await.is(403, "administrators");
    }
    // The role is enough for tags, without asking for its powers.
    let admin = app.admin();
    admin.delete(&format!("{path}/latest")).await.is(409, "tag@timestamp");
    admin.delete(&format!("{path}/nothere")).await.is(404, "nothere");
    admin.delete(&format!("{path}/latest@2020-01-01-00:00:00")).await.is(404, "latest@2020");
    admin.delete(&format!("{TEMPLATES}/nothere/tags/latest")).await.is(404, "nothere");
    let refused = admin.delete(&format!("{path}/{}", stamp(&used))).await;
    refused.is(409, "1 pod and 1 template tag");
    assert_eq!(
        refused.body["metadata"],
        json!({
            "template_id": "web", "tag": "latest", "tag_timestamp": stamp(&used),
            "dependant_pod_count": 1, "dependant_tags_count": 1,
            "dependant_pods": ["user"], "dependant_tags": [child],
        })
    );
    let deleted = admin.delete(&format!("{path}/{}", stamp(&newer))).await.ok();
    assert_eq!((&deleted["tag_timestamp"], &deleted["template_id"]), (&json!(stamp(&newer)), &json!("web")));
    let forced = admin.delete(&format!("{path}/latest?force=true")).await;
    assert!(forced.message().contains("1 pod and 1 template tag"), "{}", forced.body);
    assert_eq!(forced.ok()["tag"], "latest");
    let left = alice.get(&path).await.ok();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["tag"], "child");
    alice.post("/v3/pods", json!({"pod_id": "late", "template": used})).await.is(400, "web");
    let derived = alice.get("/v3/pods/user/derived").await.ok();
    assert_eq!((&derived["description"], &derived["template"]), (&json!("used"), &json!(used)));
    // The child builds on it and can still be used.
    alice.post("/v3/pods", json!({"pod_id": "onchild", "template": "web:child"})).await.ok();
    assert_eq!(alice.get("/v3/pods/onchild/derived").await.ok()["image"], "busybox");
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_messages_reach_those_who_build_on_a_template() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "old").await;
    tag(&alice, "old", "latest", json!({"image": "busybox"})).await;
    alice.put(&format!("{TEMPLATES}/old"), json!({"archive_message": "use new"})).await.ok();
    let body = json!({"commit_message": "x", "tag": "next", "pod_definition": {"template": "old"}});
    let tag = alice.post(&format!("{TEMPLATES}/old/tags"), body).await;
    let pod = alice.post("/v3/pods", json!({"pod_id": "mypod", "template": "old"})).await;
    for answer in [tag, pod] {
        let warnings = answer.body["metadata"]["warnings"].to_string();
        assert!(warnings.contains("use new"), "{}", answer.body);
        answer.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_takes_so_many_tags_and_no_more_in_a_short_time() {
    let app = TestApp::start().await;
    let alice = app.alice();
    template(&alice, "busy").await;
    let path = format!("{TEMPLATES}/busy/tags");
    let body = json!({"tag": "latest", "commit_message": "again", "pod_definition": {"image": "busybox"}});
    // A minute of seconds can be taken at once, and each second that passes meanwhile is one more.
    let mut refused = None;
    for _ in 0..200 {
        let answer = alice.post(&path, body.clone()).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the stamps do not run away from the clock");
    refused.is(429, "too many requests");
    let other = json!({"tag": "other", "commit_message": "one", "pod_definition": {"image": "busybox"}});
    alice.post(&path, other).await.ok();
}
