//! Logins of visitors through the real proxy, at the development platform.

use integration_tests::{
    Scene, await_condition,
    browser::{Browser, Shown},
    env::TokenWish,
    wait::LIMIT,
};
use reqwest::Method;
use serde_json::{Value, json};

const SESSION: &str = "__Host-tapis-pods-session";
const ENV: &str = "/cgi-bin/env";

/// The example of the user guide, with the image's port and users of this platform.
fn guarded(more: Value) -> Value {
    let mut entry = json!({
        "protocol": "http",
        "port": 5000,
        "tapis_auth": true,
        "tapis_auth_response_headers": {
            "X-Tapis-Username": "<<tapisusername>>",
            "X-Tapis-Tenant": "<<tapistenantid>>",
            "X-Tapis-Site": "<<tapissiteid>>",
            "Flask-does-not-accept-underscores-in-headers": "tip#1",
            "pods_service_still_accepts-underscores-in-headers_though": "tip#2",
            "Random-Header-Which-User-Might-Set": "nottip#3",
            "Lot-Of-Apps-Expect-Email-This-Works-For-Some": "<<tapisusername>>@domain.io",
            "Internal": "<<tapisusername>>.<<tapistenantid>>.<<tapissiteid>>",
        },
        "tapis_auth_allowed_users": ["alice", "carol"],
        "tapis_auth_return_path": "/welcome",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    json!({ "default": entry })
}

/// A running pod behind a login, its proxy included: its id and its host.
async fn pod(scene: &Scene, prefix: &str, more: Value) -> (String, String) {
    let id = scene.id(prefix);
    let body = json!({ "pod_id": id, "image": "busyhttpd", "networking": guarded(more) });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let host = scene.env.pod_host(&id, "default");
    let stranger = Browser::new(&scene.env);
    await_condition("strangers are led to the login", LIMIT, || async {
        let shown = stranger.get(&stranger.url(&host, "/")).await;
        assert_ne!(shown.code, 200, "open to everybody: {shown:?}");
        if shown.code == 302 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    (id, host)
}

fn all_headers_are_there(shown: &Shown, user: &str) {
    let email = format!("{user}@domain.io");
    let internal = format!("{user}.dev.dev");
    for (name, value) in [
        ("HTTP_X_TAPIS_USERNAME", user),
        ("HTTP_X_TAPIS_TENANT", "dev"),
        ("HTTP_X_TAPIS_SITE", "dev"),
        ("HTTP_FLASK_DOES_NOT_ACCEPT_UNDERSCORES_IN_HEADERS", "tip#1"),
        ("HTTP_PODS_SERVICE_STILL_ACCEPTS_UNDERSCORES_IN_HEADERS_THOUGH", "tip#2"),
        ("HTTP_RANDOM_HEADER_WHICH_USER_MIGHT_SET", "nottip#3"),
        ("HTTP_LOT_OF_APPS_EXPECT_EMAIL_THIS_WORKS_FOR_SOME", email.as_str()),
        ("HTTP_INTERNAL", internal.as_str()),
    ] {
        assert_eq!(shown.variable(name), Some(value), "{name}: {shown:?}");
    }
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
    all_headers_are_there(&shown, "alice");
    assert_eq!(shown.variable("HTTP_COOKIE"), Some("theme=dark"));
    assert_eq!(shown.variable("QUERY_STRING"), Some("x=1&y=a%2Fb"));

    // What the visitor says about itself is not what the pod hears.
    let token = scene.env.token(TokenWish { user: "alice", ..TokenWish::default() });
    browser.set_cookie(&host, "X-Tapis-Token", &token);
    let forged = [
        ("X-Tapis-Username", "root"),
        ("X_Tapis_Username", "root"),
        ("x-tapis_USERNAME", "root"),
        ("X-Tapis-Tenant", "root"),
        ("X-Tapis-User", "root"),
        ("Internal", "root"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Uri", "/open"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-For", "10.0.0.1"),
    ];
    let shown = browser.send(Method::GET, &url, &forged, &[]).await;
    assert_eq!(shown.code, 200, "{shown:?}");
    all_headers_are_there(&shown, "alice");
    assert!(!shown.text.contains("root") && !shown.text.contains("evil.example"), "{shown:?}");
    assert!(!shown.text.contains(&token) && !shown.text.contains(SESSION), "{shown:?}");

    // The session is of no use at another pod.
    let (_, other) = pod(&scene, "other", json!({})).await;
    browser.set_cookie(&other, SESSION, &browser.cookie(&host, SESSION).unwrap());
    assert_eq!(browser.get(&browser.url(&other, "/")).await.code, 302);
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
    // The list counts at once, also for those who are in.
    let fewer = json!({ "networking": guarded(json!({ "tapis_auth_allowed_users": ["alice"] })) });
    scene.alice.put(&format!("/v3/pods/{id}"), fewer).await.result();
    await_condition("carol is refused", LIMIT, || async {
        let shown = carol.get(&url).await;
        if shown.code == 403 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;

    let alice = Browser::new(&scene.env);
    assert_eq!(alice.log_in(&url, "alice").await.code, 200);
    let copy = alice.cookie(&host, SESSION).unwrap();
    let logout = alice.url(&host, "/.well-known/tapis-pods/logout");
    let foreign = alice.send(Method::POST, &logout, &[("Origin", "https://evil.example")], &[]).await;
    assert_eq!((foreign.code, alice.get(&url).await.code), (403, 200), "{foreign:?}");
    let origin = alice.url(&host, "");
    let shown = alice.send(Method::POST, &logout, &[("Origin", &origin)], &[]).await;
    assert!(shown.code == 200 && shown.text.contains("You are logged out"), "{shown:?}");
    assert_eq!(alice.get(&url).await.code, 302);
    alice.set_cookie(&host, SESSION, &copy);
    assert_eq!(alice.get(&url).await.code, 302, "a copy is worth nothing either");
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
    all_headers_are_there(&shown, "alice");
    assert_eq!(shown.variable("HTTP_X_TAPIS_TOKEN"), None);
    assert_eq!(send(&token("bob")).await.code, 403);
    let expired = scene.env.token(TokenWish { user: "alice", ttl: Some(-5), ..TokenWish::default() });
    let shown = send(&expired).await;
    assert!(shown.code == 403 && shown.text.contains("token_expired"), "{shown:?}");
    assert_eq!(program.send(Method::GET, &url, &[("Accept", "*/*")], &[]).await.code, 302, "as documented");

    // Another tenant's users come in where an administrator opened the pod to them.
    let (id, host) = pod(&scene, "tenants", json!({ "tapis_auth_allowed_users": ["*"] })).await;
    let url = program.url(&host, ENV);
    let two = scene.env.token(TokenWish { user: "bob", tenant: "dev-two", ..TokenWish::default() });
    let headers = [("Accept", "*/*"), ("X-Tapis-Token", two.as_str())];
    assert_eq!(program.send(Method::GET, &url, &headers, &[]).await.code, 403);
    let grant = json!({ "user": "tenant.dev-two", "level": "READ" });
    scene.admin.in_admin_mode().post(&format!("/v3/pods/{id}/permissions"), grant).await.result();
    let shown = await_condition("the other tenant comes in", LIMIT, || async {
        let shown = program.send(Method::GET, &url, &headers, &[]).await;
        if shown.code == 200 { Ok(shown) } else { Err(format!("{shown:?}")) }
    })
    .await;
    assert_eq!(shown.variable("HTTP_INTERNAL"), Some("bob.dev-two.dev"));
}

#[tokio::test]
async fn excluded_paths_need_no_login_and_name_nobody() {
    let scene = Scene::new().await;
    let more =
        json!({ "tapis_auth_excluded_paths": ["/cgi-bin"], "tapis_auth_excluded_path_regex": ["\\.css$"] });
    let (_, host) = pod(&scene, "excluded", more).await;
    let browser = Browser::new(&scene.env);
    let forged = [
        ("X-Tapis-Username", "root"),
        ("X_Tapis_Username", "root"),
        ("Internal", "root"),
        ("X-Tapis-Token", "x.y.z"),
    ];
    let url = browser.url(&host, ENV);
    let shown = browser.send(Method::GET, &url, &forged, &[]).await;
    assert_eq!(shown.code, 200, "{shown:?}");
    assert!(!shown.text.contains("root") && !shown.text.contains("x.y.z"), "{shown:?}");
    browser.log_in(&browser.url(&host, "/index.html"), "alice").await;
    assert_eq!(browser.get(&browser.url(&host, "/index.html")).await.code, 200);
    let shown = browser.get(&url).await;
    assert_eq!(shown.variable("HTTP_X_TAPIS_USERNAME"), None, "{shown:?}");
    assert!(!shown.text.contains(SESSION), "{shown:?}");
    let stranger = Browser::new(&scene.env);
    for tricky in [
        "/cgi-bin/..%2findex.html",
        "/cgi-bin/%252e%252e/index.html",
        "/cgi-bin//index.html",
        "/cgi-bin/..;/index.html",
        "/cgi-bin/..%5cindex.html",
        "/index.html%3f.css",
        "/index.html;.css",
        "/index.html%23.css",
    ] {
        let shown = stranger.get(&stranger.url(&host, tricky)).await;
        assert_ne!(shown.code, 200, "{tricky}: {shown:?}");
    }
}
