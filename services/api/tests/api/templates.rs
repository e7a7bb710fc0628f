//! Templates: who sees them, what changes them, what happens to those who use a deleted one.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Caller, TestApp};

pub const TEMPLATES: &str = "/v3/pods/templates";

/// Adds a template that must be possible to add.
pub async fn template(caller: &Caller<'_>, template_id: &str) -> Value {
    caller.post(TEMPLATES, json!({"template_id": template_id})).await.ok()
}

/// Adds a tag that must be possible to add; answers its full reference.
pub async fn tag(caller: &Caller<'_>, template_id: &str, tag: &str, definition: Value) -> String {
    let body = json!({"tag": tag, "commit_message": "for a test", "pod_definition": definition});
    let added = caller.post(&format!("{TEMPLATES}/{template_id}/tags"), body).await.ok();
    format!("{template_id}:{}", added["tag_timestamp"].as_str().unwrap())
}

/// Gives somebody a level on a template.
pub async fn grant(caller: &Caller<'_>, template_id: &str, user: &str, level: &str) {
    let body = json!({"user": user, "level": level});
    caller.post(&format!("{TEMPLATES}/{template_id}/permissions"), body).await.ok();
}

/// The ids in a list of templates.
async fn listed(caller: &Caller<'_>) -> Vec<String> {
    let list = caller.get(TEMPLATES).await.ok();
    list.as_array().unwrap().iter().map(|item| item["template_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_added_read_changed_and_deleted() {
    let app = TestApp::start().await;
    let body = json!({"template_id": "postgres", "description": "a database", "metatags": ["db", "sql"]});
    let added = app.alice().post(TEMPLATES, body.clone()).await.ok();
    let created = added["creation_ts"].as_str().unwrap().to_owned();
    assert_eq!(
        added,
        json!({
            "template_id": "postgres", "description": "a database", "metatags": ["db", "sql"],
            "archive_message": "", "creation_ts": created, "update_ts": created,
            "tenant_id": "dev", "site_id": "dev", "permissions": ["alice:ADMIN"],
        })
    );
    let path = format!("{TEMPLATES}/postgres");
    assert_eq!(app.alice().get(&path).await.ok(), added);
    assert_eq!(app.alice().get(TEMPLATES).await.ok(), json!([added]));
    app.alice().post(TEMPLATES, body.clone()).await.is(409, "already exists");
    app.bob().post(TEMPLATES, body.clone()).await.is(409, "already exists");
    app.other_alice().post(TEMPLATES, body).await.is(409, "already exists");

    let changed = app.alice().put(&path, json!({"archive_message": "use postgres17"})).await.ok();
    assert_eq!(changed["archive_message"], "use postgres17");
    assert_eq!(
        (&changed["description"], &changed["creation_ts"]),
        (&added["description"], &added["creation_ts"])
    );
    assert!(changed["update_ts"].as_str() > added["update_ts"].as_str());
    for same in [json!({"archive_message": "use postgres17"}), json!({})] {
        let answer = app.alice().put(&path, same).await;
        assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("error")));
        assert!(answer.message().to_lowercase().contains("no changes"), "{}", answer.body);
        assert_eq!(answer.body["result"], changed);
    }
    let cleared = app.alice().put(&path, json!({"description": null, "archive_message": ""})).await.ok();
    assert_eq!((&cleared["description"], &cleared["archive_message"]), (&json!(""), &json!("")));

    let answer = app.alice().delete(&path).await;
    assert_eq!(answer.body["result"], "");
    app.alice().get(&path).await.is(404, "postgres");
    app.alice().put(&path, json!({"description": "x"})).await.is(404, "postgres");
    app.alice().delete(&path).await.is(404, "postgres");
    assert_eq!(listed(&app.alice()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_break_rules_are_refused() {
    let app = TestApp::start().await;
    for (body, problem) in [
        (json!({}), "template_id"),
        (json!({"template_id": "tags"}), "template_id"),
        (json!({"template_id": "ab"}), "template_id"),
        (json!({"template_id": "1abc"}), "template_id"),
        (json!({"template_id": "has-hyphen"}), "template_id"),
        (json!({"template_id": "Upper"}), "template_id"),
        (json!({"template_id": "good", "description": "ünïcode"}), "ASCII"),
        (json!({"template_id": "good", "description": "a".repeat(2000)}), "1600"),
        (json!({"template_id": "good", "metatags": "db"}), "metatags"),
        (json!({"template_id": "good", "permissions": ["bob:ADMIN"]}), "permissions"),
        (json!({"template_id": "good", "tenant_id": "dev-two"}), "tenant_id"),
        (json!(["good"]), "expected a JSON object"),
    ] {
        app.alice().post(TEMPLATES, body).await.is_invalid(problem);
    }
    template(&app.alice(), "good").await;
    for (body, problem) in [
        (json!({"template_id": "other"}), "template_id"),
        (json!({"description": 7}), "description"),
        (json!({"metatags": [1]}), "metatags"),
    ] {
        app.alice().put(&format!("{TEMPLATES}/good"), body).await.is_invalid(problem);
    }
    app.alice().get(&format!("{TEMPLATES}?include_dependencies=")).await.is_invalid("include_dependencies");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_and_tenant_templates_reach_other_tenants_and_private_ones_do_not() {
    let app = TestApp::start().await;
    for name in ["private", "forall", "fortwo"] {
        template(&app.alice(), name).await;
        tag(&app.alice(), name, "latest", json!({"image": "busybox"})).await;
    }
    grant(&app.admin_mode(), "forall", "**", "READ").await;
    grant(&app.admin_mode(), "fortwo", "tenant.dev-two", "READ").await;
    assert_eq!(listed(&app.alice()).await, ["forall", "fortwo", "private"]);
    assert_eq!(listed(&app.bob()).await, ["forall"]);
    // The alice of the other tenant is somebody else, although the names are the same.
    assert_eq!(listed(&app.other_alice()).await, ["forall", "fortwo"]);
    let other = app.other_alice();
    other.get(&format!("{TEMPLATES}/private")).await.is(403, "READ on this template");
    other.get(&format!("{TEMPLATES}/private/tags")).await.is(403, "READ");
    other.post("/v3/pods", json!({"pod_id": "one", "template": "private"})).await.is(403, "READ");
    for name in ["forall", "fortwo"] {
        let shown = other.get(&format!("{TEMPLATES}/{name}")).await.ok();
        assert_eq!((&shown["tenant_id"], &shown["permissions"]), (&json!("dev"), &Value::Null));
        assert_eq!(other.get(&format!("{TEMPLATES}/{name}/tags")).await.ok().as_array().unwrap().len(), 1);
        other.put(&format!("{TEMPLATES}/{name}"), json!({"description": "x"})).await.is(403, "USER");
        other.delete(&format!("{TEMPLATES}/{name}")).await.is(403, "ADMIN");
        other.get(&format!("{TEMPLATES}/{name}/permissions")).await.is(403, "USER");
        other.post("/v3/pods", json!({"pod_id": format!("my{name}"), "template": name})).await.ok();
    }
    // A right for the name in one tenant is none in the other; READ of everybody stays.
    grant(&app.alice(), "forall", "alice", "ADMIN").await;
    other.put(&format!("{TEMPLATES}/forall"), json!({"description": "x"})).await.is(403, "you have READ");
    // What everybody may read, NONE for one user does not take away.
    grant(&app.alice(), "forall", "bob", "NONE").await;
    app.bob().get(&format!("{TEMPLATES}/forall")).await.ok();

    app.admin_mode().delete(&format!("{TEMPLATES}/forall/permissions/%2A%2A")).await.ok();
    app.admin_mode().delete(&format!("{TEMPLATES}/fortwo/permissions/tenant.dev-two")).await.ok();
    assert_eq!(listed(&other).await, Vec::<String>::new());
    // Pods that use it go on.
    assert_eq!(other.get("/v3/pods/myforall/derived").await.ok()["image"], "busybox");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_all_templates_when_they_ask_for_it() {
    let app = TestApp::start().await;
    template(&app.alice(), "alices").await;
    template(&app.other_alice(), "others").await;
    template(&app.admin(), "own").await;
    assert_eq!(listed(&app.admin()).await, ["own"]);
    app.admin().get(&format!("{TEMPLATES}/alices")).await.is(403, "READ");
    assert_eq!(listed(&app.admin_mode()).await, ["alices", "others", "own"]);
    let answer = app.admin_mode().get(TEMPLATES).await;
    let context = &answer.body["metadata"]["admin_context"];
    assert_eq!((&context["admin_mode"], &context["user_accessible_ids"]), (&json!(true), &json!(["own"])));
    assert_eq!(answer.body["result"][0]["permissions"], json!(["alice:ADMIN"]));
    app.admin_mode().get(&format!("{TEMPLATES}/nothere")).await.is(404, "nothere");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_is_not_deleted_without_force() {
    let app = TestApp::start().await;
    template(&app.alice(), "base").await;
    let base = tag(&app.alice(), "base", "latest", json!({"image": "busybox", "description": "based"})).await;
    grant(&app.admin_mode(), "base", "**", "READ").await;
    template(&app.bob(), "child").await;
    grant(&app.bob(), "child", "alice", "READ").await;
    let child = tag(&app.bob(), "child", "latest", json!({"template": "base", "command": ["true"]})).await;
    for (user, pod_id, template) in [
        (app.bob(), "bobspod", "base"),
        (app.other_alice(), "elsewhere", "base"),
        (app.alice(), "deep", "child"),
    ] {
        let body = json!({"pod_id": pod_id, "template": template, "status_requested": "OFF"});
        user.post("/v3/pods", body).await.ok();
    }
    let path = format!("{TEMPLATES}/base");
    let refused = app.alice().delete(&path).await;
    refused.is(409, "2 pods and 1 template tag");
    // Its owner learns how many, not who.
    let expected = json!({"template_id": "base", "dependant_pod_count": 2, "dependant_tags_count": 1});
    assert_eq!(refused.body["metadata"], expected);
    let refused = app.admin_mode().delete(&path).await;
    refused.is(409, "force=true");
    assert_eq!(refused.body["metadata"]["dependant_pods"], json!(["bobspod", "elsewhere"]));
    assert_eq!(refused.body["metadata"]["dependant_tags"], json!([child]));
    app.alice().get(&path).await.ok();

    let deleted = app.alice().delete(&format!("{path}?force=True")).await;
    assert!(deleted.message().contains("2 pods and 1 template tag"), "{}", deleted.body);
    assert_eq!(deleted.ok(), json!(""));
    app.alice().get(&path).await.is(404, "base");
    app.alice().get(&format!("{path}/tags")).await.is(404, "base");
    assert!(!listed(&app.bob()).await.contains(&"base".to_owned()));
    app.bob().post("/v3/pods", json!({"pod_id": "late", "template": "base"})).await.is(400, "base");
    app.bob().post("/v3/pods", json!({"pod_id": "late", "template": base})).await.is(400, "base");
    // Who used it goes on, through every level.
    for (user, pod_id) in [(app.bob(), "bobspod"), (app.other_alice(), "elsewhere"), (app.alice(), "deep")] {
        let derived = user.get(&format!("/v3/pods/{pod_id}/derived")).await.ok();
        assert_eq!(
            (&derived["image"], &derived["description"]),
            (&json!("busybox"), &json!("based")),
            "{pod_id}"
        );
    }
    // A new template of the name is a new one, whoever adds it, and changes nothing for them.
    template(&app.other_alice(), "base").await;
    assert_eq!(app.other_alice().get(&format!("{path}/tags")).await.ok(), json!([]));
    tag(&app.other_alice(), "base", "latest", json!({"image": "busybox", "description": "another"})).await;
    let derived = app.bob().get("/v3/pods/bobspod/derived").await.ok();
    assert_eq!((&derived["description"], &derived["template"]), (&json!("based"), &json!(base)));
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_with_tags_are_one_object_by_id() {
    let app = TestApp::start().await;
    template(&app.alice(), "one").await;
    template(&app.alice(), "two").await;
    template(&app.bob(), "hidden").await;
    let first = tag(&app.alice(), "one", "latest", json!({"image": "busybox"})).await;
    let second = tag(&app.alice(), "one", "with.period", json!({"template": "one"})).await;
    let path = format!("{TEMPLATES}/tags");
    let all = app.alice().get(&path).await.ok();
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["one", "two"]);
    let tags = all["one"]["tags"].as_array().unwrap();
    let references: Vec<String> =
        tags.iter().map(|tag| format!("one:{}", tag["tag_timestamp"].as_str().unwrap())).collect();
    assert_eq!(references, [second.as_str(), first.as_str()], "newest first");
    assert_eq!(tags[1]["pod_definition"]["image"], "busybox");
    assert_eq!((&all["two"]["tags"], &all["two"]["permissions"]), (&json!([]), &json!(["alice:ADMIN"])));

    let brief = app.alice().get(&format!("{path}?full=false")).await.ok();
    let tag = brief["one"]["tags"][0].as_object().unwrap();
    assert!(!tag.contains_key("pod_definition") && tag["tag"] == "with.period", "{tag:?}");

    let asked = format!("{path}?include_dependencies=true");
    let answer = app.alice().get(&asked).await;
    assert!(answer.body["metadata"]["warnings"][0].as_str().unwrap().contains("administrators"));
    assert!(!answer.body["result"]["one"]["tags"][0].as_object().unwrap().contains_key("dependents"));
    let all = app.admin_mode().get(&asked).await.ok();
    assert_eq!(all.as_object().unwrap().len(), 3);
    assert_eq!(
        all["one"]["tags"][1]["dependents"],
        json!({
            "dependant_pods": [], "dependant_pod_count": 0,
            "dependant_tags": [second], "dependant_tags_count": 1,
        })
    );
    for path in [format!("{TEMPLATES}?include_dependencies=true"), TEMPLATES.to_owned()] {
        let answer = app.admin_mode().get(&path).await.ok();
        let one = answer.as_array().unwrap().iter().find(|item| item["template_id"] == "one").unwrap();
        assert_eq!(one.as_object().unwrap().contains_key("tag_dependents"), path.contains('?'));
    }
    let one = app.admin_mode().get(&format!("{TEMPLATES}/one?include_dependencies=1")).await.ok();
    let dependents = one["tag_dependents"].as_array().unwrap();
    assert_eq!(dependents.len(), 2);
    assert_eq!(
        (&dependents[1]["full_tag"], &dependents[1]["dependant_tags"]),
        (&json!(first), &json!([second]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_need_a_constant_number_of_statements() {
    let app = TestApp::start().await;
    let alice = app.alice();
    let mut counts = Vec::new();
    for number in 0..12 {
        let name = format!("template{number}");
        template(&alice, &name).await;
        tag(&alice, &name, "latest", json!({"image": "busybox"})).await;
        let before = app.statements();
        for path in [TEMPLATES.to_owned(), format!("{TEMPLATES}/tags")] {
            alice.get(&path).await.ok();
        }
        counts.push(app.statements() - before);
    }
    assert!(counts[0] > 0 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}
