//! Ways around: redirects that lead away, and paths that mean two things.

use integration_tests::{
    Scene,
    browser::{Browser, Shown},
    curl::Curl,
    guarded::{self, WELL_KNOWN, almost_logged_in, is_broken, pod},
    scene::HTTPD,
};
use serde_json::json;

#[tokio::test]
async fn nobody_is_led_to_another_site() {
    let scene = Scene::new().await;
    for path in ["//evil.example", "https://evil.example/", "/\\evil.example", "/a b", "/?x", "evil", ""] {
        let networking = guarded::networking(&json!({ "tapis_auth_return_path": path }));
        let body = json!({ "pod_id": scene.id("away"), "image": HTTPD, "status_requested": "OFF",
            "networking": networking });
        let message = scene.try_create(&scene.alice, body).await.refused(400);
        assert!(message.contains("tapis_auth_return_path"), "{path}: {message}");
    }
    let (_, host) = pod(&scene, "led", json!({})).await;
    let browser = Browser::new(&scene.env);
    let home = browser.url(&host, "/welcome");
    let login = browser.url(&host, &format!("{WELL_KNOWN}login?return="));
    let stay = |shown: &Shown, what: &str| {
        assert_eq!((shown.code, shown.location.as_str()), (302, home.as_str()), "{what}: {shown:?}");
    };
    let bad = [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example",
        "/%09/evil.example",
        "javascript:alert(1)",
        "@evil.example",
        ".evil.example",
        ":80@evil.example",
        "/a%0d%0aLocation:%20https://evil.example",
        "/.well-known/tapis-pods/logout",
        "",
    ];
    // On the way through a login.
    let begun = almost_logged_in(&browser, &format!("{login}//evil.example/"), "alice").await;
    stay(&browser.get(&begun.exchange).await, "login");
    // With a session there is nothing to log in for.
    for path in bad {
        stay(&browser.get(&format!("{login}{path}")).await, path);
    }
    let fine = browser.get(&format!("{login}/lab?x=1%26y=2")).await;
    assert_eq!(fine.location, browser.url(&host, "/lab?x=1&y=2"), "{fine:?}");
    // The tenant's host sends nobody to a host that is not the pod's.
    let stranger = Browser::new(&scene.env);
    let begun = stranger.get(&stranger.url(&host, "/")).await.location;
    for other in
        ["evil.example", "evil.example%23", &format!("{host}:80"), &format!("{host}.evil.example"), ""]
    {
        let moved = begun.replace(&format!("host={host}"), &format!("host={other}"));
        assert_ne!(moved, begun);
        assert!(is_broken(&stranger.get(&moved).await), "{other}");
    }
}

#[tokio::test]
async fn tricks_with_paths_need_the_login() {
    let scene = Scene::new().await;
    let more = json!({
        "tapis_auth_excluded_paths": ["/open"],
        "tapis_auth_excluded_path_regex": ["\\.css$", "^/index\\.html$"],
    });
    // Whatever the path, a request that reaches the container is answered with 200.
    let (_, host) = guarded::echo(&scene, "tricks", more).await;
    let (browser, curl) = (Browser::new(&scene.env), Curl::new(&scene.env));
    for (path, code) in [
        ("/index.html", 200),
        ("/open", 200),
        ("/open/x", 200),
        ("/cgi-bin/a.css", 200),
        ("/cgi-bin/env", 302),
        ("/openly", 302),
        ("/open-admin/x", 302),
    ] {
        assert_eq!(curl.get(&browser.url(&host, path), &[]).await.code, code, "{path}");
    }
    let target = format!("https://{host}/open/../cgi-bin/env");
    let ours = format!("{WELL_KNOWN}../../cgi-bin/env");
    for path in [
        "/open/../cgi-bin/env",
        "/open/./../cgi-bin/env",
        "/open/%2e%2e/cgi-bin/env",
        "/open/%2E./cgi-bin/env",
        "/open/..%2fcgi-bin/env",
        "/open/%2e%2e%2fcgi-bin%2fenv",
        "/open%2f..%2fcgi-bin/env",
        "/open/..;/cgi-bin/env",
        "/open;/../cgi-bin/env",
        "/open/..%5ccgi-bin/env",
        "/open/..\\cgi-bin/env",
        "/open//../cgi-bin/env",
        "//open/../cgi-bin/env",
        "/open/%252e%252e/cgi-bin/env",
        "/open/%00/../../cgi-bin/env",
        "/open/%c0%ae%c0%ae/cgi-bin/env",
        "/open/%ef%bc%8e%ef%bc%8e/cgi-bin/env",
        "/open/%e2%80%a5/cgi-bin/env",
        "/OPEN/../cgi-bin/env",
        "/cgi-bin/env;.css",
        "/cgi-bin/env%3b.css",
        "/cgi-bin/env%3f.css",
        "/cgi-bin/env?.css",
        "/cgi-bin/env?x=/open/a.css",
        "/cgi-bin/env%23.css",
        "/cgi-bin/env%00.css",
        "/cgi-bin/env%0a.css",
        "/cgi-bin/env%2f.css",
        "/cgi-bin/%2e/env",
        &ours,
        &target,
    ] {
        for version in ["--http1.1", "--http2"] {
            // Whatever curl would make of the path, this is what it sends.
            let options = [version, "--request-target", path];
            let shown = curl.get(&browser.url(&host, "/"), &options).await;
            assert!(matches!(shown.code, 302 | 400), "{version} {path}: {shown:?}");
        }
    }
    // A whole address counts more than the header `Host`.
    let elsewhere = ["--http1.1", "--request-target", "http://elsewhere.example/open/x"];
    let shown = curl.get(&browser.url(&host, "/"), &elsewhere).await;
    assert!(shown.code == 404 && shown.text.contains("There is no pod here"), "{shown:?}");
}
