//! Who may do what.

use pods_core::{
    Level,
    permission::{Action, Caller as Rights, decide},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::TestApp;

/// Every action as a request that changes as little as possible.
fn request(action: Action, pod: &str) -> Option<(Method, String, Option<Value>)> {
    let path = |suffix: &str| format!("/v3/pods/{pod}{suffix}");
    Some(match action {
        Action::ListPods => (Method::GET, "/v3/pods".to_owned(), None),
        // A body that is refused: it is read only after the caller was accepted.
        Action::CreatePod => (Method::POST, "/v3/pods".to_owned(), Some(json!({}))),
        Action::GetPod => (Method::GET, path(""), None),
        Action::UpdatePod => (Method::PUT, path(""), Some(json!({"description": "x"}))),
        Action::ChangeStatusRequested => {
            (Method::PUT, path(""), Some(json!({"status_requested": "RESTART"})))
        }
        Action::StartPod => (Method::GET, path("/start"), None),
        Action::StopPod => (Method::GET, path("/stop"), None),
        Action::RestartPod => (Method::GET, path("/restart"), None),
        Action::GetPodLogs => (Method::GET, path("/logs"), None),
        Action::GetPodPermissions => (Method::GET, path("/permissions"), None),
        Action::SetPodPermission => {
            (Method::POST, path("/permissions"), Some(json!({"user": "zoe", "level": "READ"})))
        }
        Action::GrantRestrictedPermission => {
            (Method::POST, path("/permissions"), Some(json!({"user": "zoe", "level": "APPROVEDADMIN"})))
        }
        Action::DeletePodPermission => (Method::DELETE, path("/permissions/nobody"), None),
        Action::DeletePod => return None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_may_do_what_the_table_says() {
    let app = TestApp::start().await;
    for level in Level::ALL {
        let pod = format!("pod{}", level.as_str().to_lowercase());
        app.alice().create(&pod, json!({})).await;
        let user = app.user("carol");
        app.admin_mode().grant(&pod, "carol", level.as_str()).await;
        let deletion = (Method::DELETE, format!("/v3/pods/{pod}"), None);
        let deletion = std::iter::once((Action::DeletePod, deletion));
        let actions = Action::ALL.iter().filter_map(|action| Some((*action, request(*action, &pod)?)));
        for (action, (method, path, body)) in actions.chain(deletion) {
            let answer = user.send(method, &path, body.map(|body| body.to_string().into_bytes())).await;
            let allowed = decide(Rights::USER, *level, action).is_ok();
            let code = answer.status.as_u16();
            assert_eq!(code != 403, allowed, "{level} {action}: {}", answer.body);
            assert!([200, 400, 403, 409].contains(&code), "{level} {action}: {}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_other_tenants_reach_nothing() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let before = app.alice().get("/v3/pods/docpod").await.ok();
    for action in Action::ALL.iter().filter(|action| !matches!(action, Action::ListPods | Action::CreatePod))
    {
        let (method, path, body) =
            request(*action, "docpod").unwrap_or((Method::DELETE, "/v3/pods/docpod".to_owned(), None));
        let body = body.map(|body| body.to_string().into_bytes());
        let stranger = app.bob().send(method.clone(), &path, body.clone()).await;
        assert_eq!(stranger.status.as_u16(), 403, "{action}: {}", stranger.body);
        let other = app.other_alice().send(method, &path, body).await;
        assert_eq!(other.status.as_u16(), 404, "{action}: {}", other.body);
    }
    // A stranger learns nothing from the checks of a body either.
    app.bob().put("/v3/pods/docpod", json!({"bogus": 1})).await.is(403, "USER");
    assert_eq!(app.alice().get("/v3/pods/docpod").await.ok(), before);
    assert_eq!(app.wake_ups().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_set_shown_and_removed() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let path = "/v3/pods/docpod/permissions";
    let set = |user: &str, level: &str| json!({"user": user, "level": level});
    let shown = app.alice().post(path, set("bob", "USER")).await.ok();
    assert_eq!(shown, json!({"permissions": ["alice:ADMIN", "bob:USER"]}));
    assert_eq!(app.bob().get(path).await.ok(), shown);
    let shown = app.alice().delete(&format!("{path}/bob")).await.ok();
    assert_eq!(shown, json!({"permissions": ["alice:ADMIN"]}));
    app.alice().delete(&format!("{path}/bob")).await.is(400, "no permission");
    app.alice().delete(&format!("{path}/alice")).await.is(400, "ADMIN");
    app.alice().post(path, set("alice", "READ")).await.is(400, "ADMIN");
    app.admin_mode().post(path, set("alice", "NONE")).await.is(400, "ADMIN");
    for (body, problem) in [
        (json!({}), "user"),
        (set("", "READ"), "user"),
        (set("**", "READ"), "user"),
        (set("bob", "read"), "level"),
        (set("bob", "OWNER"), "level"),
        (json!({"user": "bob", "level": "READ", "more": 1}), "more"),
        (json!({"user": 7, "level": "READ"}), "user"),
        (set("tenant.dev-two", "USER"), "READ only"),
    ] {
        app.alice().post(path, body).await.is_invalid(problem);
    }
    assert_eq!(app.alice().get(path).await.ok(), shown, "nothing changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_administrators_grant() {
    let app = TestApp::start().await;
    app.alice().create("docpod", json!({})).await;
    let path = "/v3/pods/docpod/permissions";
    let approved = json!({"user": "alice", "level": "APPROVEDADMIN"});
    let tenant = json!({"user": "tenant.dev-two", "level": "READ"});
    for body in [&approved, &tenant] {
        app.alice().post(path, body.clone()).await.is(403, "administrators");
        app.admin().post(path, body.clone()).await.is(403, "ADMIN");
        app.admin_mode().post(path, body.clone()).await.ok();
    }
    app.alice().delete(&format!("{path}/tenant.dev-two")).await.is(403, "administrators");
    app.other_alice().get("/v3/pods/docpod").await.is(404, "docpod");
    app.alice().grant("docpod", "root", "ADMIN").await;
    app.admin().delete(&format!("{path}/tenant.dev-two")).await.ok();
}
