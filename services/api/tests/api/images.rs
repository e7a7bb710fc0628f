//! The list of allowed images: who reads what, who writes it, and what pods may then use.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Caller, Setup, TestApp};

const IMAGES: &str = "/v3/pods/images";

/// The images in a list.
async fn listed(caller: &Caller<'_>) -> Vec<String> {
    let list = caller.get(IMAGES).await.ok();
    list.as_array().unwrap().iter().map(|item| item["image"].as_str().unwrap().to_owned()).collect()
}

/// Whether a pod with the image can be created.
async fn usable(caller: &Caller<'_>, pod_id: &str, image: &str) -> bool {
    let answer =
        caller.post("/v3/pods", json!({"pod_id": pod_id, "image": image, "status_requested": "OFF"})).await;
    match answer.status {
        StatusCode::OK => {
            caller.delete(&format!("/v3/pods/{pod_id}")).await.ok();
            true
        }
        _ => {
            answer.is_invalid("must be in allowlist");
            assert!(answer.message().contains("/pods/images"), "{}", answer.body);
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_added_read_changed_and_removed() {
    let app = TestApp::start().await;
    let admin = app.admin_mode();
    let body = json!({"image": "acme/web", "tenants": ["*"], "description": "demo"});
    let added = admin.post(IMAGES, body.clone()).await.ok();
    let created = added["creation_ts"].clone();
    assert_eq!(
        added,
        json!({"image": "acme/web", "tenants": ["*"], "description": "demo", "creation_ts": created, "added_by": "root"})
    );
    assert!(created.as_str().unwrap().ends_with('Z'));
    admin.post(IMAGES, body).await.is(409, "already exists");
    admin.post(IMAGES, json!({"image": "docker.io/acme/web"})).await.is(409, "already exists");
    for path in
        ["acme/web", "acme%2Fweb", "docker.io/acme/web", "acme/web:7", "acme%2Fweb%3A7", "/acme//web/"]
    {
        assert_eq!(app.alice().get(&format!("{IMAGES}/{path}")).await.ok(), added, "{path}");
    }
    for path in ["acme/other", "nothere", "BAD%20NAME"] {
        app.alice().get(&format!("{IMAGES}/{path}")).await.is(404, "not found");
        admin.put(&format!("{IMAGES}/{path}"), json!({"description": "x"})).await.is(404, "not found");
        admin.delete(&format!("{IMAGES}/{path}")).await.is(404, "not found");
    }
    let path = format!("{IMAGES}/acme%2Fweb");
    let changed = admin.put(&path, json!({"tenants": ["dev"]})).await.ok();
    assert_eq!((&changed["tenants"], &changed["description"]), (&json!(["dev"]), &json!("demo")));
    for same in [json!({"tenants": ["dev"], "description": "demo"}), json!({}), json!({"tenants": null})] {
        let answer = admin.put(&path, same).await;
        assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("error")));
        assert_eq!(answer.body["result"], changed);
    }
    assert_eq!(admin.delete(&path).await.ok(), json!("acme/web"));
    admin.delete(&path).await.is(404, "not found");
    app.alice().get(&path).await.is(404, "not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admin_mode_writes() {
    let app = TestApp::start().await;
    app.admin_mode().post(IMAGES, json!({"image": "acme/web", "tenants": ["*"]})).await.ok();
    let before = app.admin_mode().get(IMAGES).await.ok();
    for user in [app.alice(), app.other_alice(), app.admin()] {
        for answer in [
            user.post(IMAGES, json!({"image": "acme/db"})).await,
            // Before the body is looked at.
            user.post(IMAGES, json!({"bogus": 1})).await,
            user.post(&format!("{IMAGES}/bulk"), json!([{"image": "acme/db"}])).await,
            user.put(&format!("{IMAGES}/acme/web"), json!({"tenants": ["**"]})).await,
            user.delete(&format!("{IMAGES}/acme/web")).await,
        ] {
            answer.is(403, "admin mode");
            answer.is(403, "X-Pods-Admin");
        }
    }
    assert_eq!(app.admin_mode().get(IMAGES).await.ok(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_break_rules_are_refused() {
    let app = TestApp::start().await;
    let admin = app.admin_mode();
    for (body, problem) in [
        (json!({}), "image"),
        (json!({"image": ""}), "image"),
        (json!({"image": "a:b:c"}), "image"),
        (json!({"image": "UPPER/case"}), "image"),
        (json!({"image": "a", "tenants": "dev"}), "tenants"),
        (json!({"image": "a", "tenants": ["has space"]}), "tenants"),
        (json!({"image": "a", "tenants": ["***"]}), "tenants"),
        (json!({"image": "a", "description": "a".repeat(256)}), "255"),
        (json!({"image": "a", "description": "ünï"}), "ASCII"),
        (json!({"image": "a", "added_by": "me"}), "added_by"),
        (json!([{"image": "a"}]), "expected a JSON object"),
    ] {
        admin.post(IMAGES, body).await.is_invalid(problem);
    }
    for (body, problem) in [
        (json!({"image": "a"}), "list"),
        (json!([{"image": "ok/one"}, {"image": "UPPER"}]), "image"),
        (json!([{"image": "ok/one"}, 7]), "object"),
    ] {
        admin.post(&format!("{IMAGES}/bulk"), body).await.is_invalid(problem);
    }
    admin
        .post(&format!("{IMAGES}/bulk?skip_duplicates=maybe"), json!([]))
        .await
        .is_invalid("skip_duplicates");
    assert_eq!(listed(&admin).await, ["busybox"], "nothing was added");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_added_together_or_not_at_all() {
    let app = TestApp::start().await;
    let admin = app.admin_mode();
    let bulk = format!("{IMAGES}/bulk");
    let first = admin.post(&bulk, json!([{"image": "acme/a", "tenants": ["*"]}, {"image": "acme/b"}])).await;
    assert!(first.message().starts_with("2 images"), "{}", first.body);
    assert_eq!(first.ok().as_array().unwrap().len(), 2);
    let more = json!([{"image": "acme/b"}, {"image": "acme/c"}, {"image": "docker.io/acme/a"}]);
    let refused = admin.post(&bulk, more.clone()).await;
    refused.is(409, "acme/b");
    refused.is(409, "docker.io/acme/a");
    assert!(!listed(&admin).await.contains(&"acme/c".to_owned()), "nothing of it was added");
    let twice = admin.post(&bulk, json!([{"image": "acme/d"}, {"image": "acme/d"}])).await;
    twice.is(409, "acme/d");
    let answer = admin.post(&format!("{bulk}?skip_duplicates=True"), more).await;
    let notice = answer.body["metadata"]["notice"].as_str().unwrap().to_owned();
    assert!(notice.starts_with("2 duplicates skipped: ") && notice.contains("acme/b"), "{notice}");
    let added = answer.ok();
    assert_eq!((added.as_array().unwrap().len(), &added[0]["image"]), (1, &json!("acme/c")));
    assert_eq!(app.alice().get(&format!("{IMAGES}/acme/a")).await.ok()["tenants"], json!(["*"]), "as it was");
    assert_eq!(admin.post(&bulk, json!([])).await.ok(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_and_use_what_is_open_to_them() {
    let app = TestApp::start_with(Setup { main_tenants: &["dev"], ..Setup::default() }).await;
    let admin = app.admin_mode();
    let (dev, two) = (app.alice(), app.other_alice());
    // `dev` is one of the main tenants, `dev-two` is not.
    let table: [(&str, Value, bool, bool); 7] = [
        ("acme/everybody", json!(["**"]), true, true),
        ("acme/main", json!(["*"]), true, false),
        ("acme/two", json!(["dev-two"]), false, true),
        ("acme/notdev", json!(["**", "-dev"]), false, true),
        ("acme/denied", json!(["dev", "-dev"]), false, false),
        ("acme/nobody", json!([]), false, false),
        ("acme/both", json!(["dev", "dev-two"]), true, true),
    ];
    for (image, tenants, ..) in &table {
        admin.post(IMAGES, json!({"image": image, "tenants": tenants})).await.ok();
    }
    for (image, _, for_dev, for_two) in &table {
        for (user, expected) in [(&dev, *for_dev), (&two, *for_two)] {
            assert_eq!(listed(user).await.contains(&(*image).to_owned()), expected, "{image}");
            let answer = user.get(&format!("{IMAGES}/{image}")).await;
            assert_eq!(answer.status == StatusCode::OK, expected, "{image}: {}", answer.body);
            assert_eq!(usable(user, "probe", &format!("{image}:any")).await, expected, "{image}");
        }
    }
    let answer = admin.get(IMAGES).await;
    let context = answer.body["metadata"]["admin_context"].clone();
    assert_eq!(context["admin_mode"], true);
    let own = ["acme/both", "acme/everybody", "acme/main", "busybox"];
    assert_eq!(context["user_accessible_images"], json!(own));
    assert_eq!(answer.ok().as_array().unwrap().len(), table.len() + 1);
    assert_eq!(admin.get(&format!("{IMAGES}/acme/nobody")).await.ok()["tenants"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_with_a_tag_or_digest_allows_that_one() {
    let app = TestApp::start().await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let bodies = json!([
        {"image": "acme/tagged:1.2", "tenants": ["*"]},
        {"image": format!("acme/exact@{digest}"), "tenants": ["*"]},
        {"image": "registry.example:5000/team/tool", "tenants": ["*"]},
    ]);
    app.admin_mode().post(&format!("{IMAGES}/bulk"), bodies).await.ok();
    let alice = app.alice();
    for (image, expected) in [
        ("acme/tagged:1.2", true),
        ("acme/tagged", false),
        ("acme/tagged:1.3", false),
        ("docker.io/acme/tagged:1.2", true),
        ("evil.example/acme/tagged:1.2", false),
        (&format!("acme/exact@{digest}"), true),
        ("acme/exact", false),
        ("registry.example:5000/team/tool:any", true),
        ("team/tool", false),
        ("library/busybox:musl", true),
    ] {
        assert_eq!(usable(&alice, "probe", image).await, expected, "{image}");
    }
    assert_eq!(alice.get(&format!("{IMAGES}/acme/tagged:1.2")).await.ok()["image"], "acme/tagged:1.2");
    alice.get(&format!("{IMAGES}/acme/tagged")).await.is(404, "not found");
    // Removing one never removes another.
    app.admin_mode().delete(&format!("{IMAGES}/acme/tagged")).await.is(404, "not found");
    app.admin_mode()
        .delete(&format!("{IMAGES}/registry.example:5000/team/tool:any"))
        .await
        .is(404, "not found");
    // Changing finds what reading finds.
    let path = format!("{IMAGES}/registry.example:5000/team/tool:any");
    let changed = app.admin_mode().put(&path, json!({"description": "a tool"})).await.ok();
    assert_eq!(changed["image"], "registry.example:5000/team/tool");
    assert_eq!(alice.get(&path).await.ok(), changed);
    let path = format!("{IMAGES}/acme/tagged:1.2");
    assert_eq!(app.admin_mode().delete(&path).await.ok(), json!("acme/tagged:1.2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_allows_is_shown_and_not_changed() {
    let app = TestApp::start().await;
    let shown = app.alice().get(IMAGES).await.ok();
    assert_eq!(
        shown,
        json!([{
            "image": "busybox", "tenants": ["*"], "description": "",
            "creation_ts": null, "added_by": "configuration",
        }])
    );
    let path = format!("{IMAGES}/busybox");
    assert_eq!(app.alice().get(&path).await.ok(), shown[0]);
    assert_eq!(app.alice().get(&format!("{path}:1.36")).await.ok(), shown[0]);
    app.admin_mode().put(&path, json!({"tenants": []})).await.is(409, "configuration");
    app.admin_mode().put(&format!("{path}:1.36"), json!({"tenants": []})).await.is(409, "configuration");
    app.admin_mode().delete(&path).await.is(409, "configuration");
    // An entry of its own tells more about it and can be changed.
    app.admin_mode().post(IMAGES, json!({"image": "busybox", "tenants": ["**"]})).await.ok();
    assert_eq!(listed(&app.alice()).await, ["busybox"]);
    assert_eq!(app.admin_mode().delete(&path).await.ok(), json!("busybox"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_keep_an_image_that_is_no_longer_allowed() {
    let app = TestApp::start().await;
    app.admin_mode().post(IMAGES, json!({"image": "acme/web", "tenants": ["dev"]})).await.ok();
    let alice = app.alice();
    alice.create("docpod", json!({"image": "acme/web:1"})).await;
    app.admin_mode().delete(&format!("{IMAGES}/acme/web")).await.ok();
    alice.put("/v3/pods/docpod", json!({"description": "still here"})).await.ok();
    alice.put("/v3/pods/docpod", json!({"image": "acme/web:2"})).await.is_invalid("allowlist");
    assert!(!usable(&alice, "probe", "acme/web").await);
}
