//! Pods behind a login that show the request that reached them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::Caller,
    browser::{Browser, Shown},
    scene::{HTTPD, Scene},
    wait::{LIMIT, await_condition},
};

/// The cookie that a session is.
pub const SESSION: &str = "__Host-tapis-pods-session";
/// The cookie that ties a login to its browser.
pub const NONCE: &str = "__Host-tapis-pods-login";
/// A program of the image that shows the request it got.
pub const ENV: &str = "/cgi-bin/env";
/// What leads to the login and the logout of a pod's host.
pub const WELL_KNOWN: &str = "/.well-known/tapis-pods/";

/// The example of the user guide, with the image's port, users of this platform, and whatever else is wanted.
pub fn networking(more: &Value) -> Value {
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

/// A running pod of alice's behind a login, its proxy included: its id and its host.
pub async fn pod(scene: &Scene, prefix: &str, more: Value) -> (String, String) {
    let id = scene.id(prefix);
    let host = pod_of(scene, &scene.alice, &id, &more).await;
    (id, host)
}

/// The same for anybody's pod; the answer is its host.
pub async fn pod_of(scene: &Scene, owner: &Caller, id: &str, more: &Value) -> String {
    let body = json!({ "pod_id": id, "image": HTTPD, "networking": networking(more) });
    scene.create(owner, body).await;
    let pod = owner.await_status(id, "AVAILABLE").await;
    let host = pod["networking"]["default"]["url"].as_str().expect("an entry has a host").to_owned();
    let stranger = Browser::new(&scene.env);
    await_condition("strangers are led to the login", LIMIT, || async {
        let shown = stranger.get(&stranger.url(&host, "/")).await;
        assert_ne!(shown.code, 200, "open to everybody: {shown:?}");
        if shown.code == 302 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    await_listening(scene, owner, &host).await;
    host
}

/// Waits until the container answers, which it may do a moment after its start; its owner passes the login.
pub async fn await_listening(scene: &Scene, owner: &Caller, host: &str) {
    let program = Browser::new(&scene.env);
    let (url, token) = (program.url(host, "/"), [("Accept", "*/*"), ("X-Tapis-Token", owner.token.as_str())]);
    await_condition("the container answers", LIMIT, || async {
        let shown = program.send(Method::GET, &url, &token, &[]).await;
        if shown.code == 200 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

/// What the pod was told is what the example says, about this user of the tenant `dev`.
pub fn is_told_of(shown: &Shown, user: &str) {
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

/// Whether a login was refused because it is not known, or not this browser's.
pub fn is_broken(shown: &Shown) -> bool {
    shown.code == 400 && shown.text.contains("This login cannot be completed")
}

/// The addresses of a login that stopped before its end.
#[derive(Debug)]
pub struct Begun {
    /// Where the platform sends the browser back to.
    pub callback: String,
    /// Where a ticket becomes a session.
    pub exchange: String,
}

/// Logs in at a page until all that is missing is the exchange of the ticket.
pub async fn almost_logged_in(browser: &Browser, url: &str, user: &str) -> Begun {
    let callback = returned(browser, url, user).await;
    let back = browser.get(&callback).await;
    assert_eq!(back.code, 302, "{back:?}");
    Begun { callback, exchange: back.location }
}

/// The address that the platform's login page sends a browser back to, which was not opened yet.
pub async fn returned(browser: &Browser, url: &str, user: &str) -> String {
    let form = browser.visit(url).await;
    assert!(form.url.contains("/v3/oauth2/authorize?"), "this is no login page: {form:?}");
    browser.fill_in(&form, user).await.location
}
