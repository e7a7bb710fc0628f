//! Pods behind a login that show the request that reached them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::Caller,
    browser::{Browser, Shown},
    scene::{HTTPD, PYTHON, Scene},
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

/// Shows each request as it came, whatever the path: `python3 -c <this> <port>`.
pub const ECHO: &str = include_str!("../networking/echo.py");

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
    start(scene, owner, body).await
}

/// The same as [`pod`] with a container that answers every request with 200 and what it was asked.
pub async fn echo(scene: &Scene, prefix: &str, more: Value) -> (String, String) {
    let id = scene.id(prefix);
    let command = ["python3", "-u", "-c", ECHO, "5000"];
    let body = json!({ "pod_id": id, "image": PYTHON, "command": command, "networking": networking(&more) });
    let host = start(scene, &scene.alice, body).await;
    (id, host)
}

async fn start(scene: &Scene, owner: &Caller, body: Value) -> String {
    let pod = scene.create(owner, body).await;
    let id = pod["pod_id"].as_str().expect("a pod has an id");
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

/// What the example tells a pod about this user of the tenant `dev`.
fn told_of(user: &str) -> [(&'static str, String); 8] {
    [
        ("X-Tapis-Username", user.to_owned()),
        ("X-Tapis-Tenant", "dev".to_owned()),
        ("X-Tapis-Site", "dev".to_owned()),
        ("Flask-does-not-accept-underscores-in-headers", "tip#1".to_owned()),
        ("pods_service_still_accepts-underscores-in-headers_though", "tip#2".to_owned()),
        ("Random-Header-Which-User-Might-Set", "nottip#3".to_owned()),
        ("Lot-Of-Apps-Expect-Email-This-Works-For-Some", format!("{user}@domain.io")),
        ("Internal", format!("{user}.dev.dev")),
    ]
}

/// What the pod was told is what the example says, about this user of the tenant `dev`.
pub fn is_told_of(shown: &Shown, user: &str) {
    for (name, value) in told_of(user) {
        let variable = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
        assert_eq!(shown.variable(&variable), Some(value.as_str()), "{name}: {shown:?}");
    }
}

/// The same as [`is_told_of`] for [`ECHO`], which sees what CGI does not show: `-` is not `_`, and no header comes
/// twice.
pub fn is_told_word_for_word(shown: &Shown, user: &str) {
    for (name, value) in told_of(user) {
        assert_eq!(echoed(shown, name), [value], "{name}: {shown:?}");
    }
}

/// The values of a header that reached [`ECHO`].
pub fn echoed(shown: &Shown, name: &str) -> Vec<String> {
    let request: Value =
        serde_json::from_str(&shown.text).unwrap_or_else(|_| panic!("not the pod: {shown:?}"));
    let headers: Vec<(String, String)> =
        serde_json::from_value(request["headers"].clone()).expect("a request has headers");
    let named = headers.into_iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value).collect()
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
