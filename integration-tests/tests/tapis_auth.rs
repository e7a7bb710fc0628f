//! Logins of visitors through the real proxy, at the development platform. What a real browser sees of them is in
//! `browser.rs`, what must not work in `attacks`.

use std::time::Duration;

use integration_tests::{
    Scene, await_condition,
    browser::Browser,
    env::TokenWish,
    guarded::{ENV, SESSION, WELL_KNOWN, is_told_of, networking, pod},
    wait::LIMIT,
};
use reqwest::Method;
use serde_json::json;

/// What ends a session, or what it is worth, counts everywhere within this time.
const REVOKED_WITHIN: Duration = Duration::from_secs(60);

/// Waits until a page has this code for a visitor who has a session.
async fn await_code(browser: &Browser, url: &str, code: u16) {
    await_condition(&format!("{url} answers {code}"), REVOKED_WITHIN, || async {
        let shown = browser.get(url).await;
        if shown.code == code { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_browser_logs_in_and_is_back_where_it_wanted_to_go() {
    let scene = Scene::new().await;
    let (id, host) = pod(&scene, "login", json!({})).await;
    let browser = Browser::new(&scene.env);
    browser.set_cookie(&host, "theme", "dark");
    let url = browser.url(&host, &format!("{ENV}?x=1&y=a%2Fb"));
    let first = browser.get(&url).await;
    assert!(first.location.starts_with(&format!("{}/v3/pods/{id}/auth?", scene.env.base_url)), "{first:?}");
    let shown = browser.log_in(&url, "alice").await;
    assert_eq!((shown.code, shown.url.as_str()), (200, url.as_str()), "{shown:?}");
    is_told_of(&shown, "alice");
    assert_eq!(shown.variable("HTTP_COOKIE"), Some("theme=dark"));
    assert_eq!(shown.variable("QUERY_STRING"), Some("x=1&y=a%2Fb"));

    // Who asked for nothing in particular ends at the entry's return path.
    let other = Browser::new(&scene.env);
    let shown = other.log_in(&other.url(&host, &format!("{WELL_KNOWN}login")), "carol").await;
    assert_eq!(shown.url, other.url(&host, "/welcome"), "{shown:?}");
}

#[tokio::test]
async fn who_is_not_on_the_list_sees_why_and_who_logs_out_is_out() {
    let scene = Scene::new().await;
    let (id, host) = pod(&scene, "list", json!({})).await;
    let bob = Browser::new(&scene.env);
    let shown = bob.log_in(&bob.url(&host, "/"), "bob").await;
    assert_eq!(shown.code, 403, "{shown:?}");
    assert!(shown.text.contains("This pod is not open to you"), "{shown:?}");

    let carol = Browser::new(&scene.env);
    let url = carol.url(&host, ENV);
    assert_eq!(carol.log_in(&url, "carol").await.code, 200);
    // The list counts for those who are in as well.
    let fewer = json!({ "networking": networking(&json!({ "tapis_auth_allowed_users": ["alice"] })) });
    scene.alice.put(&format!("/v3/pods/{id}"), fewer).await.result();
    await_code(&carol, &url, 403).await;

    let alice = Browser::new(&scene.env);
    assert_eq!(alice.log_in(&url, "alice").await.code, 200);
    let copy = Browser::new(&scene.env);
    copy.set_cookie(&host, SESSION, &alice.cookie(&host, SESSION).unwrap());
    assert_eq!(copy.get(&url).await.code, 200);
    let logout = alice.url(&host, &format!("{WELL_KNOWN}logout"));
    let foreign = alice.send(Method::POST, &logout, &[("Origin", "https://evil.example")], &[]).await;
    assert_eq!((foreign.code, alice.get(&url).await.code), (403, 200), "{foreign:?}");
    let origin = alice.url(&host, "");
    let shown = alice.send(Method::POST, &logout, &[("Origin", &origin)], &[]).await;
    assert!(shown.code == 200 && shown.text.contains("You are logged out"), "{shown:?}");
    assert_eq!((alice.cookie(&host, SESSION), alice.get(&url).await.code), (None, 302));
    await_code(&copy, &url, 302).await;
}

#[tokio::test]
async fn a_session_is_worth_what_its_user_may() {
    let scene = Scene::new().await;
    let more = json!({ "tapis_auth_allowed_users": ["AUTHORIZED_USERS"] });
    let (id, host) = pod(&scene, "group", more).await;
    scene.alice.grant(&id, "bob", "USER").await;
    let bob = Browser::new(&scene.env);
    let url = bob.url(&host, ENV);
    bob.log_in(&url, "bob").await;
    await_code(&bob, &url, 200).await;
    // A lower level, none, and the same as before: the session goes on and counts as much as its user may.
    scene.alice.grant(&id, "bob", "READ").await;
    await_code(&bob, &url, 403).await;
    scene.alice.grant(&id, "bob", "ADMIN").await;
    await_code(&bob, &url, 200).await;
    scene.alice.delete(&format!("/v3/pods/{id}/permissions/bob")).await.result();
    await_code(&bob, &url, 403).await;
}

#[tokio::test]
async fn programs_send_a_token() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "token", json!({})).await;
    let program = Browser::new(&scene.env);
    let url = program.url(&host, ENV);
    let send = async |token: &str| {
        program.send(Method::GET, &url, &[("Accept", "*/*"), ("X-Tapis-Token", token)], &[]).await
    };
    let token = |user| scene.env.token(TokenWish { user, ..TokenWish::default() });
    let shown = send(&token("alice")).await;
    assert_eq!(shown.code, 200, "{shown:?}");
    is_told_of(&shown, "alice");
    assert_eq!(shown.variable("HTTP_X_TAPIS_TOKEN"), None);
    let shown = send(&token("bob")).await;
    assert!(shown.code == 403 && shown.text.contains("\"not_listed\""), "{shown:?}");
    let expired = scene.env.token(TokenWish { user: "alice", ttl: Some(-5), ..TokenWish::default() });
    let shown = send(&expired).await;
    assert!(shown.code == 403 && shown.text.contains("\"token_expired\""), "{shown:?}");
    let shown = send("nonsense").await;
    assert!(shown.code == 403 && shown.text.contains("\"token_malformed\""), "{shown:?}");
    assert!(shown.text.contains("X-Tapis-Token is not valid"), "{shown:?}");
    let shown = program.send(Method::GET, &url, &[("Accept", "*/*")], &[]).await;
    assert_eq!(shown.code, 302, "as documented: {shown:?}");
    assert!(shown.location.starts_with(&scene.env.base_url), "{shown:?}");
    // A cookie of that name is no login.
    program.set_cookie(&host, "X-Tapis-Token", &token("alice"));
    assert_eq!(program.get(&url).await.code, 302);
}

#[tokio::test]
async fn users_of_another_tenant_come_in_where_an_administrator_opened_the_pod_to_them() {
    let scene = Scene::new().await;
    let (id, host) = pod(&scene, "tenants", json!({ "tapis_auth_allowed_users": ["*"] })).await;
    let (program, visitor) = (Browser::new(&scene.env), Browser::new(&scene.env));
    let url = program.url(&host, ENV);
    let two = scene.env.token(TokenWish { user: "bob", tenant: "dev-two", ..TokenWish::default() });
    let headers = [("Accept", "*/*"), ("X-Tapis-Token", two.as_str())];
    assert_eq!(program.send(Method::GET, &url, &headers, &[]).await.code, 403);
    let grant = json!({ "user": "tenant.dev-two", "level": "READ" });
    let permissions = format!("/v3/pods/{id}/permissions");
    scene.admin.in_admin_mode().post(&permissions, grant).await.result();
    let shown = await_condition("the other tenant comes in", LIMIT, || async {
        let shown = program.send(Method::GET, &url, &headers, &[]).await;
        if shown.code == 200 { Ok(shown) } else { Err(format!("{shown:?}")) }
    })
    .await;
    assert_eq!(shown.variable("HTTP_INTERNAL"), Some("bob.dev-two.dev"));

    // In a browser somebody chooses the tenant.
    let choice = visitor.visit(&url).await;
    assert!(choice.text.contains(">dev</a>") && choice.text.contains(">dev-two</a>"), "{choice:?}");
    let shown = visitor.log_in(&format!("{}&tenant=dev-two", choice.url), "bob").await;
    assert_eq!((shown.code, shown.url.as_str()), (200, url.as_str()), "{shown:?}");
    assert_eq!(shown.variable("HTTP_INTERNAL"), Some("bob.dev-two.dev"));
    // The grant goes, and with it what sessions and tokens are worth.
    scene.admin.in_admin_mode().delete(&format!("{permissions}/tenant.dev-two")).await.result();
    await_code(&visitor, &url, 403).await;
    assert_eq!(program.send(Method::GET, &url, &headers, &[]).await.code, 403);
}

#[tokio::test]
async fn excluded_paths_need_no_login_and_name_nobody() {
    let scene = Scene::new().await;
    let more =
        json!({ "tapis_auth_excluded_paths": ["/cgi-bin"], "tapis_auth_excluded_path_regex": ["\\.css$"] });
    let (_, host) = pod(&scene, "excluded", more).await;
    let browser = Browser::new(&scene.env);
    let (open, closed) = (browser.url(&host, ENV), browser.url(&host, "/index.html"));
    assert_eq!(browser.get(&open).await.code, 200);
    browser.log_in(&closed, "alice").await;
    assert_eq!(browser.get(&closed).await.code, 200);
    let shown = browser.get(&open).await;
    for name in ["HTTP_X_TAPIS_USERNAME", "HTTP_INTERNAL", "HTTP_COOKIE"] {
        assert_eq!(shown.variable(name), None, "{shown:?}");
    }
    assert!(!shown.text.contains(SESSION), "{shown:?}");
}

#[tokio::test]
async fn the_platform_forgets_the_client_of_a_pod_that_is_deleted() {
    let scene = Scene::new().await;
    let (id, host) = pod(&scene, "client", json!({})).await;
    let browser = Browser::new(&scene.env);
    let form = browser.visit(&browser.url(&host, "/")).await;
    assert!(form.url.contains("client_id=PODS-SERVICE-"), "{form:?}");
    assert_eq!(browser.get(&form.url).await.code, 200);
    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    await_condition("the platform does not know the client", LIMIT, || async {
        let shown = browser.get(&form.url).await;
        let unknown = shown.code == 400 && shown.text.contains("has no client");
        if unknown { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}
