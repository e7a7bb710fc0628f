//! Permissions on pods and templates: what may be granted, by whom, and what stays true under concurrency.
//! Which level each operation needs is checked for all of them in `operations`.

use pods_core::{
    Level,
    permission::{Action, Caller as Rights, decide},
};
use serde_json::{Value, json};

use crate::{
    app::{Answer, Caller, TestApp},
    templates::{TEMPLATES, tag, template},
};

fn set(user: &str, level: &str) -> Value {
    json!({"user": user, "level": level})
}

/// A pod and a template of alice's and the paths of their permissions.
async fn objects(app: &TestApp) -> [&'static str; 2] {
    app.alice().create("docpod", json!({})).await;
    template(&app.alice(), "doctemplate").await;
    ["/v3/pods/docpod/permissions", "/v3/pods/templates/doctemplate/permissions"]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operation_needs_beyond_itself_follows_the_table() {
    let app = TestApp::start().await;
    for level in Level::ALL {
        let name = format!("x{}", level.as_str().to_lowercase());
        let user = app.user("carol");
        app.alice().create(&name, json!({})).await;
        template(&app.alice(), &name).await;
        tag(&app.alice(), &name, "latest", json!({"image": "busybox"})).await;
        for path in [format!("/v3/pods/{name}/permissions"), format!("{TEMPLATES}/{name}/permissions")] {
            app.admin_mode().post(&path, set("carol", level.as_str())).await.ok();
        }
        let follows = |action: Action, answer: Answer| {
            let allowed = decide(Rights::USER, *level, action).is_ok();
            assert_eq!(answer.status.as_u16() != 403, allowed, "{level} {action}: {}", answer.body);
            assert!([200, 400, 403].contains(&answer.status.as_u16()), "{level} {action}: {}", answer.body);
        };
        let pod = json!({"pod_id": format!("{name}use"), "template": name, "status_requested": "OFF"});
        follows(Action::UseTemplate, user.post("/v3/pods", pod).await);
        let update = user.put(&format!("/v3/pods/{name}"), json!({"status_requested": "RESTART"})).await;
        follows(Action::ChangeStatusRequested, update);
        let derived = user.get(&format!("/v3/pods/{name}/derived?resolve_secrets=true")).await;
        follows(Action::ResolveSecrets, derived);
        let grant = user.post(&format!("/v3/pods/{name}/permissions"), set("zoe", "APPROVEDADMIN")).await;
        follows(Action::GrantRestrictedPodPermission, grant);
        let grant = user.post(&format!("{TEMPLATES}/{name}/permissions"), set("**", "READ")).await;
        follows(Action::GrantGroupTemplatePermission, grant);
        let grant = user.post(&format!("{TEMPLATES}/{name}/permissions"), set("zoe", "APPROVEDADMIN")).await;
        follows(Action::GrantRestrictedTemplatePermission, grant);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_set_shown_and_removed() {
    let app = TestApp::start().await;
    for path in objects(&app).await {
        let shown = app.alice().post(path, set("bob", "USER")).await.ok();
        assert_eq!(shown, json!({"permissions": ["alice:ADMIN", "bob:USER"]}));
        assert_eq!(app.bob().get(path).await.ok(), shown);
        app.alice().post(path, set("carol", "READ")).await.ok();
        let shown = app.alice().post(path, set("bob", "READ")).await.ok();
        assert_eq!(shown["permissions"], json!(["alice:ADMIN", "bob:READ", "carol:READ"]), "its place stays");
        app.alice().delete(&format!("{path}/carol")).await.ok();
        let answer = app.alice().delete(&format!("{path}/bob")).await;
        assert!(answer.message().contains("delet"), "{}", answer.body);
        let shown = answer.ok();
        assert_eq!(shown, json!({"permissions": ["alice:ADMIN"]}));
        app.alice().delete(&format!("{path}/bob")).await.is(400, "no permission");
        app.alice().delete(&format!("{path}/alice")).await.is(400, "ADMIN");
        app.alice().post(path, set("alice", "READ")).await.is(400, "ADMIN");
        app.admin_mode().post(path, set("alice", "NONE")).await.is(400, "ADMIN");
        for (body, problem) in [
            (json!({}), "user"),
            (set("", "READ"), "user"),
            (set("*", "READ"), "user"),
            (set("1bob", "READ"), "user"),
            (set("bob", "read"), "level"),
            (set("bob", "OWNER"), "level"),
            (json!({"user": "bob", "level": "READ", "more": 1}), "more"),
            (json!({"user": 7, "level": "READ"}), "user"),
            (set("tenant.dev-two", "USER"), "READ only"),
            (set("tenant.dev", "ADMIN"), "READ only"),
            (set("tenant.", "READ"), "tenant"),
            (set("tenant.bad!id", "READ"), "tenant"),
            (set("**", "USER"), ""),
        ] {
            app.alice().post(path, body.clone()).await.is_invalid(problem);
            app.admin_mode().post(path, body).await.is_invalid(problem);
        }
        assert_eq!(app.alice().get(path).await.ok(), shown, "nothing changed");
    }
    app.admin_mode()
        .post("/v3/pods/docpod/permissions", set("**", "READ"))
        .await
        .is_invalid("templates only");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_administrators_grant() {
    let app = TestApp::start().await;
    for path in objects(&app).await {
        let raise = set("alice", "APPROVEDADMIN");
        app.alice().post(path, raise.clone()).await.is(403, "administrators");
        app.admin().post(path, raise.clone()).await.is(403, "ADMIN");
        app.admin_mode().post(path, raise).await.ok();
        let many: &[&str] =
            if path.contains("templates") { &["tenant.dev-two", "**"] } else { &["tenant.dev-two"] };
        for many in many {
            app.alice().post(path, set(many, "READ")).await.is(403, "administrators");
            app.bob().post(path, set(many, "READ")).await.is(403, "");
            // The role is enough, without a level on the object and without the header.
            app.admin().post(path, set(many, "READ")).await.ok();
            app.admin().delete(&format!("{path}/{many}")).await.ok();
            app.admin().post(path, set(many, "READ")).await.ok();
        }
        app.admin().post(path, set("eve", "READ")).await.is(403, "needs ADMIN");
        app.bob().post(path, json!({"bogus": 1})).await.is(403, "needs ADMIN");
        app.admin().delete(&format!("{path}/alice")).await.is(403, "needs ADMIN");
        app.alice().delete(&format!("{path}/tenant.dev-two")).await.is(403, "administrators");
        if path.contains("templates") {
            app.alice().delete(&format!("{path}/**")).await.is(403, "administrators");
        }
        app.admin().delete(&format!("{path}/tenant.dev-two")).await.ok();
        // Who was raised may step down.
        app.alice().post(path, set("alice", "ADMIN")).await.ok();
    }
    // A tenant's entry on a pod is about its pages, not this API.
    app.admin_mode().post("/v3/pods/docpod/permissions", set("tenant.dev-two", "READ")).await.ok();
    app.other_alice().get("/v3/pods/docpod").await.is(404, "docpod");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_another_tenant_is_nobody_here() {
    let app = TestApp::start().await;
    let [pod, template] = objects(&app).await;
    for path in [pod, template] {
        app.alice().post(path, set("bob", "ADMIN")).await.ok();
    }
    let other = app.other_alice();
    other.get(pod).await.is(404, "docpod");
    other.post(pod, set("eve", "ADMIN")).await.is(404, "docpod");
    other.get(template).await.is(403, "you have NONE");
    other.post(template, set("eve", "ADMIN")).await.is(403, "you have NONE");
    other.delete(&format!("{template}/bob")).await.is(403, "you have NONE");
    assert_eq!(app.alice().get(template).await.ok(), json!({"permissions": ["alice:ADMIN", "bob:ADMIN"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_pods_permissions_are_in_its_action_log() {
    let app = TestApp::start().await;
    let [path, _] = objects(&app).await;
    for _ in 0..2 {
        // The second time is not noted: the line is there already.
        app.alice().post(path, set("bob", "READ")).await.ok();
    }
    app.admin_mode().delete(&format!("{path}/bob")).await.ok();
    app.alice().delete(&format!("{path}/alice")).await.is(400, "ADMIN");
    let lines = app.alice().get("/v3/pods/docpod/logs").await.ok()["action_logs"].clone();
    let lines: Vec<&str> = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let about: Vec<&&str> =
        lines.iter().filter(|line| line.contains("'bob'") || line.contains("'alice' removed")).collect();
    assert_eq!(about.len(), 2, "{lines:?}");
    assert!(about[0].ends_with("'alice' gave 'bob' READ"), "{lines:?}");
    assert!(about[1].ends_with("ADMIN 'root' removed the permission of 'bob'"), "{lines:?}");
}

/// How often two meet: 1000 times, or 100 in the short form of the suites.
fn rounds() -> usize {
    match std::env::var("PODS_FAULTS").as_deref() {
        Ok("short") => 100,
        _ => 1000,
    }
}

/// Two ADMINs remove each other at the same moment, again and again: one of them stays ADMIN each time.
async fn duel(app: &TestApp, path: &str, how: impl AsyncFn(&Caller<'_>, &str) -> Answer) {
    let users = [app.alice(), app.bob()];
    users[0].post(path, set("bob", "ADMIN")).await.ok();
    for round in 0..rounds() {
        let (first, second) = tokio::join!(how(&users[0], "bob"), how(&users[1], "alice"));
        let mut codes = [first.status.as_u16(), second.status.as_u16()];
        let winner = if codes[0] == 200 { 0 } else { 1 };
        codes.sort_unstable();
        assert_eq!(codes, [200, 403], "round {round}: {} {}", first.body, second.body);
        let (winner, loser) = (&users[winner], ["bob", "alice"][winner]);
        let held = winner.get(path).await.ok()["permissions"].clone();
        let admins =
            held.as_array().unwrap().iter().filter(|entry| entry.as_str().unwrap().ends_with(":ADMIN"));
        assert_eq!(admins.count(), 1, "round {round}: {held}");
        winner.post(path, set(loser, "ADMIN")).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_admins_of_a_pod_who_remove_each_other_one_stays() {
    let app = TestApp::start().await;
    let [path, _] = objects(&app).await;
    duel(&app, path, async |user, other| user.delete(&format!("{path}/{other}")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_admins_of_a_template_who_demote_each_other_one_stays() {
    let app = TestApp::start().await;
    let [_, path] = objects(&app).await;
    duel(&app, path, async |user, other| user.post(path, set(other, "READ")).await).await;
}
