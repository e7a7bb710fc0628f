//! Headers and cookies: what visitors forge, and what owners write.

use integration_tests::{
    Scene,
    browser::{Browser, Shown},
    curl::Curl,
    guarded::{self, ENV, NONCE, SESSION, is_told_of, pod},
    scene::HTTPD,
};
use serde_json::{Value, json};

use crate::{header, slices, token_of};

/// An excluded path below the program that shows its request.
const OPEN_ENV: &str = "/cgi-bin/env/open";
/// What stands in every forged header.
const FORGED: &str = "mallory";

/// Headers that programs believe to come from a proxy. The program that shows them makes `_` of all but letters and
/// digits, as CGI programs do, so that every separator counts.
const BELIEVED: [&str; 43] = [
    "X-Tapis-Username",
    "X_Tapis_Username",
    "x-tapis_USERNAME",
    "X.Tapis.Username",
    "X~Tapis!Username",
    "X-Tapis-Tenant",
    "X-Tapis.Tenant",
    "X-Tapis-User",
    "X_Tapis_Site",
    "X_Tapis_Token",
    "X.Tapis.Token",
    "X-Tapis-Anything",
    "Internal",
    "INTERNAL",
    "Flask_does_not_accept_underscores_in_headers",
    "Flask.does.not.accept.underscores.in.headers",
    "pods-service-still-accepts-underscores-in-headers-though",
    "Random_Header_Which_User_Might_Set",
    "Lot-Of-Apps-Expect-Email-This-Works-For-Some",
    "X-Forwarded-Host",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X_Forwarded_For",
    "X.Forwarded.For",
    "X-Forwarded_Host",
    "X-Forwarded~Proto",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X_Forwarded_User",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Real-Ip",
    "X_Real_Ip",
    "X.Real.Ip",
];

fn open_env() -> Value {
    json!({ "tapis_auth_excluded_paths": [OPEN_ENV] })
}

#[tokio::test]
async fn forged_headers_do_not_reach_the_pod() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "forged", open_env()).await;
    let (browser, curl) = (Browser::new(&scene.env), Curl::new(&scene.env));
    let token = token_of(&scene, "alice");
    let mut forged: Vec<String> = BELIEVED.iter().flat_map(|name| header(name, FORGED)).collect();
    // The same name again: whoever looks at the last one only must not be misled either.
    forged.extend(header("X-Tapis-Username", FORGED));
    for version in ["--http1.1", "--http2"] {
        let mut options = forged.clone();
        options.push(version.to_owned());
        let open = curl.get(&browser.url(&host, OPEN_ENV), &slices(&options)).await;
        is_clean(&open, &token);
        for name in ["HTTP_X_TAPIS_USERNAME", "HTTP_X_TAPIS_TENANT", "HTTP_INTERNAL"] {
            assert_eq!(open.variable(name), None, "{version}: nobody is named: {open:?}");
        }
        options.extend(header("X-Tapis-Token", &token));
        let closed = curl.get(&browser.url(&host, ENV), &slices(&options)).await;
        is_clean(&closed, &token);
        is_told_of(&closed, "alice");
        let named = closed.variable("HTTP_X_FORWARDED_HOST").unwrap_or_default();
        assert!(named.starts_with(&host), "{version}: {closed:?}");
    }
}

/// The request reached the pod, and nothing that was forged or is secret came with it.
fn is_clean(shown: &Shown, token: &str) {
    assert!(shown.code == 200 && shown.text.contains("GATEWAY_INTERFACE"), "{shown:?}");
    assert!(!shown.text.contains(FORGED), "{shown:?}");
    assert!(!shown.text.contains(token) && !shown.text.contains("HTTP_X_TAPIS_TOKEN"), "{shown:?}");
}

#[tokio::test]
async fn nobody_takes_the_headers_out_that_tell_the_pod_who_comes() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "hop", json!({})).await;
    let (browser, curl) = (Browser::new(&scene.env), Curl::new(&scene.env));
    let token = token_of(&scene, "alice");
    // What `Connection` names is for the next hop only, which a proxy takes out.
    for named in [
        "close, X-Tapis-Username, Internal",
        "keep-alive, x-tapis-username, x-tapis-tenant, x-forwarded-host",
        "X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-Proto",
    ] {
        let mut options = vec!["--http1.1".to_owned()];
        options.extend(header("Connection", named));
        options.extend(header("X-Tapis-Token", &token));
        let shown = curl.get(&browser.url(&host, ENV), &slices(&options)).await;
        assert_eq!(shown.code, 200, "{named}: {shown:?}");
        is_told_of(&shown, "alice");
        assert_eq!(shown.variable("HTTP_X_FORWARDED_PROTO"), Some("https"), "{named}: {shown:?}");
    }
    // Who has the login itself taken out has none.
    let options = [header("Connection", "X-Tapis-Token"), header("X-Tapis-Token", &token)].concat();
    let mut options = slices(&options);
    options.push("--http1.1");
    let shown = curl.get(&browser.url(&host, ENV), &options).await;
    assert_eq!(shown.code, 302, "{shown:?}");
}

#[tokio::test]
async fn the_pod_gets_no_cookie_of_ours_and_no_token() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "cookies", open_env()).await;
    let (browser, curl) = (Browser::new(&scene.env), Curl::new(&scene.env));
    assert_eq!(browser.log_in(&browser.url(&host, ENV), "alice").await.code, 200);
    let session = browser.cookie(&host, SESSION).unwrap();
    let token = token_of(&scene, "alice");
    let lines = [
        format!("a=1; {SESSION}={session}; X-Tapis-Token={token}"),
        format!("{NONCE}=n; x_tapis_token={token}; b=2; __host-tapis_pods_session={session}"),
        format!("\"X-Tapis-Token\"={token};c=3"),
    ];
    for version in ["--http1.1", "--http2"] {
        let mut options = vec![version.to_owned()];
        options.extend(lines.iter().flat_map(|line| header("Cookie", line)));
        for path in [ENV, OPEN_ENV] {
            let shown = curl.get(&browser.url(&host, path), &slices(&options)).await;
            is_clean(&shown, &token);
            assert_eq!(shown.variable("HTTP_COOKIE"), Some("a=1; b=2; c=3"), "{version} {path}: {shown:?}");
            assert!(!shown.text.contains(&session), "{version} {path}: {shown:?}");
        }
    }
    // Beside a session a token in the header is used up as well, and one that is none on an excluded path.
    for (path, sent) in [(ENV, token.as_str()), (OPEN_ENV, token.as_str()), (OPEN_ENV, "x.y.z")] {
        let options = [header("Cookie", &lines[0]), header("X-Tapis-Token", sent)].concat();
        let shown = curl.get(&browser.url(&host, path), &slices(&options)).await;
        is_clean(&shown, sent);
        is_clean(&shown, &session);
    }
}

#[tokio::test]
async fn what_owners_write_into_headers_stays_one_header() {
    let scene = Scene::new().await;
    let refused = async |headers: Value| {
        let networking = guarded::networking(&json!({ "tapis_auth_response_headers": headers }));
        let id = scene.id("split");
        let body =
            json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF", "networking": networking });
        scene.try_create(&scene.alice, body).await.refused(400)
    };
    for value in ["a\r\nX-Admin: 1", "a\nX-Admin: 1", "a\rb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
        let message = refused(json!({ "X-User": value })).await;
        assert!(message.contains("one line") || message.contains("NUL"), "{value:?}: {message}");
    }
    for name in [
        "X-User\r\nX-Admin",
        "X User",
        "X-User:",
        "",
        "Cookie",
        "Set-Cookie",
        "X-Tapis-Token",
        "x_tapis_token",
        "Host",
        "Transfer_Encoding",
        "Content-Length",
        "Connection",
        "X-Forwarded-For",
    ] {
        let message = refused(json!({ name: "x" })).await;
        assert!(message.contains("header name") || message.contains("cannot be set"), "{name:?}: {message}");
    }
    // What only looks like a line's end or a placeholder is text.
    let value = "<<tapisusername>>%0d%0aX-Admin: 1\\r\\nX-Admin: 2 <<tapis<<tapisusername>>username>>";
    let more = json!({ "tapis_auth_response_headers": { "X-User": value } });
    let (_, host) = pod(&scene, "split", more).await;
    let options = header("X-Tapis-Token", &token_of(&scene, "alice"));
    let url = Browser::new(&scene.env).url(&host, ENV);
    let shown = Curl::new(&scene.env).get(&url, &slices(&options)).await;
    let told = "alice%0d%0aX-Admin: 1\\r\\nX-Admin: 2 <<tapisaliceusername>>";
    assert_eq!(shown.variable("HTTP_X_USER"), Some(told), "{shown:?}");
    assert_eq!(shown.variable("HTTP_X_ADMIN"), None, "{shown:?}");
}
