//! What visitors see, in a real browser. `PODS_SHOTS_DIR` names a folder for screenshots of every page.

use std::time::Duration;

use integration_tests::{
    Scene, await_condition,
    browser::Browser,
    chromium::Chromium,
    env::TokenWish,
    guarded::{ENV, NONCE, SESSION, WELL_KNOWN, almost_logged_in, networking, pod},
    wait::LIMIT,
};
use serde_json::{Value, json};

/// What is taken from a visitor counts within this time.
const REVOKED_WITHIN: Duration = Duration::from_secs(60);

/// The page is one of ours, and fit for everybody: title, language, landmark and one heading; nothing that runs or is
/// fetched; nothing wider than a telephone.
async fn is_a_page(chromium: &Chromium, name: &str, title: &str) {
    chromium.await_text("h1", title).await;
    let seen = chromium
        .run(
            "return { title: document.title, lang: document.documentElement.lang, \
             headings: document.querySelectorAll('h1').length, scripts: document.scripts.length, \
             fetched: performance.getEntriesByType('resource').length }",
        )
        .await;
    let expected = json!({ "title": title, "lang": "en", "headings": 1, "scripts": 0, "fetched": 0 });
    assert_eq!(seen, expected, "{name}");
    let spoken = chromium.spoken().await;
    for (role, name) in [("main", ""), ("heading", title)] {
        let told = spoken.iter().any(|(is, called)| is == role && (name.is_empty() || called == name));
        assert!(told, "a screen reader is not told of {role} {name:?}: {spoken:?}");
    }
    let used = |role: &str| matches!(role, "link" | "button");
    let nameless = spoken.iter().find(|(role, name)| used(role) && name.is_empty());
    assert_eq!(nameless, None, "{name}");
    chromium.shot(name).await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    let telephone = json!({ "width": 360, "height": 720, "deviceScaleFactor": 2, "mobile": true });
    chromium.command("Emulation.setEmulatedMedia", dark).await;
    chromium.command("Emulation.setDeviceMetricsOverride", telephone).await;
    let wide = chromium.run("return document.documentElement.scrollWidth").await;
    assert!(wide.as_u64().is_some_and(|wide| wide <= 360), "{name} is {wide} wide");
    chromium.shot(&format!("{name}-dark-telephone")).await;
    chromium.command("Emulation.setEmulatedMedia", json!({ "features": [] })).await;
    chromium.command("Emulation.clearDeviceMetricsOverride", json!({})).await;
}

fn address(scene: &Scene, host: &str, path: &str) -> String {
    format!("https://{host}:{}{path}", scene.env.https_port)
}

/// A variable that the pod's program was called with, from the page that it made.
async fn told(chromium: &Chromium, name: &str) -> Option<String> {
    let text = chromium.await_text("body", "GATEWAY_INTERFACE").await;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

#[tokio::test]
async fn a_visitor_logs_in_is_back_at_the_page_and_logs_out() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "visitor", json!({})).await;
    let chromium = Chromium::start().await;
    // Nothing of ours needs scripts.
    chromium.command("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    let url = address(&scene, &host, &format!("{ENV}?x=1&y=a%2Fb"));
    chromium.go(&url).await;
    chromium.log_in("alice", "wrong").await;
    chromium.await_text("[role=alert]", "Wrong username or password").await;
    chromium.log_in("alice", "alice").await;
    assert_eq!(told(&chromium, "HTTP_INTERNAL").await.as_deref(), Some("alice.dev.dev"));
    assert_eq!(chromium.url().await, url, "where the first visit led");
    assert_eq!(told(&chromium, "HTTP_COOKIE").await, None);

    chromium.command("Emulation.setScriptExecutionDisabled", json!({ "value": false })).await;
    let cookies = chromium.cookies().await;
    assert_eq!(cookies.len(), 1, "the nonce is gone: {cookies:?}");
    let cookie = &cookies[0];
    for (key, value) in [
        ("name", json!(SESSION)),
        ("domain", json!(host)),
        ("path", json!("/")),
        ("secure", json!(true)),
        ("httpOnly", json!(true)),
        ("sameSite", json!("Lax")),
    ] {
        assert_eq!(cookie[key], value, "{cookie}");
    }
    assert_eq!(chromium.run("return document.cookie").await, "", "no script reads it");
    let fetched = chromium.run("return fetch(location.href).then(answer => answer.status)").await;
    assert_eq!(fetched, 200, "the pod's own scripts go on");

    chromium.go(&address(&scene, &host, &format!("{WELL_KNOWN}logout"))).await;
    is_a_page(&chromium, "logout", "Log out").await;
    chromium.click("button").await;
    is_a_page(&chromium, "logged-out", "You are logged out").await;
    assert_eq!(chromium.cookies().await, Vec::<Value>::new());
    chromium.click("a").await;
    chromium.await_text("h1", "Log in to dev").await;
    chromium.go(&url).await;
    chromium.await_text("h1", "Log in to dev").await;
}

#[tokio::test]
async fn who_may_not_pass_sees_why_and_what_to_do() {
    let scene = Scene::new().await;
    let (id, host) = pod(&scene, "list", json!({})).await;
    let chromium = Chromium::start().await;
    let url = address(&scene, &host, ENV);
    chromium.go(&url).await;
    chromium.log_in("bob", "bob").await;
    is_a_page(&chromium, "not-allowed", "This pod is not open to you").await;
    let text = chromium.text("main").await.unwrap();
    assert!(text.contains("bob"), "somebody sees that it is the wrong account: {text}");
    // Another account may be on the list.
    chromium.go(&url).await;
    chromium.log_in("carol", "carol").await;
    assert_eq!(told(&chromium, "HTTP_X_TAPIS_USERNAME").await.as_deref(), Some("carol"));
    let fewer = json!({ "networking": networking(&json!({ "tapis_auth_allowed_users": ["alice"] })) });
    scene.alice.put(&format!("/v3/pods/{id}"), fewer).await.result();
    await_condition("carol is refused", REVOKED_WITHIN, || async {
        chromium.go(&url).await;
        chromium.text("h1").await.map(|_| ())
    })
    .await;
    is_a_page(&chromium, "not-allowed-any-more", "This pod is not open to you").await;
    chromium.await_text("footer", "You are logged in as carol").await;
    chromium.click("footer button").await;
    chromium.await_text("h1", "You are logged out").await;

    // Users of several tenants say which one is theirs.
    let open = json!({ "networking": networking(&json!({ "tapis_auth_allowed_users": ["*"] })) });
    scene.alice.put(&format!("/v3/pods/{id}"), open).await.result();
    let grant = json!({ "user": "tenant.dev-two", "level": "READ" });
    scene.admin.in_admin_mode().post(&format!("/v3/pods/{id}/permissions"), grant).await.result();
    chromium.go(&url).await;
    is_a_page(&chromium, "choose-tenant", "Log in").await;
    chromium.click("nav li:nth-child(2) a").await;
    chromium.await_text("h1", "Log in to dev-two").await;
    chromium.log_in("bob", "bob").await;
    // Until the proxy has heard of the grant this is the page from before.
    await_condition("the other tenant's user passes", REVOKED_WITHIN, || async {
        match chromium.text("body").await {
            Ok(text) if text.contains("HTTP_INTERNAL=bob.dev-two.dev") => Ok(()),
            seen => {
                chromium.go(&url).await;
                Err(format!("{seen:?}"))
            }
        }
    })
    .await;
}

/// Sets cookies for all hosts beside `host`, on whose page the browser is: under all names that anybody could take for
/// ours, and a harmless one.
async fn toss(chromium: &Chromium, host: &str, values: &[&str]) {
    let above = host.split_once('.').expect("a pod has a host below the tenant's").1;
    let quoted = [SESSION, NONCE].map(|name| format!("\"{name}\""));
    let names = [
        SESSION,
        NONCE,
        &quoted[0],
        &quoted[1],
        "__host-tapis-pods-session",
        "__Host-Tapis_Pods_Session",
        "X-Tapis-Token",
        "x_tapis_token",
        // A cookie without a name, which is sent as its value alone.
        &format!("={SESSION}"),
    ];
    let tossed = names.iter().flat_map(|name| values.iter().map(move |value| format!("{name}={value}")));
    for cookie in tossed.chain(["tossed=yes".to_owned()]) {
        for path in ["/", "/cgi-bin"] {
            chromium.run(&format!("document.cookie = '{cookie}; Domain={above}; Path={path}; Secure'")).await;
        }
    }
}

#[tokio::test]
async fn another_pod_of_the_tenant_can_do_a_visitor_no_harm() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "victim", json!({})).await;
    let evil = scene.httpd("evil").await;
    scene.alice.await_status(&evil, "AVAILABLE").await;
    let evil = scene.env.pod_host(&evil, "default");
    scene.visitor.await_page(&evil, "/", 200, "It works").await;
    let (url, elsewhere) = (address(&scene, &host, ENV), address(&scene, &evil, "/"));
    let logout = address(&scene, &host, &format!("{WELL_KNOWN}logout"));
    let chromium = Chromium::start().await;
    chromium.go(&url).await;
    chromium.log_in("alice", "alice").await;
    assert_eq!(told(&chromium, "HTTP_X_TAPIS_USERNAME").await.as_deref(), Some("alice"));

    // Cookies for all hosts of the tenant's pods: browsers take none with our names, what they take is none of ours, and
    // a token in one is no login.
    chromium.go(&elsewhere).await;
    let token = scene.env.token(TokenWish { user: "carol", ..TokenWish::default() });
    let carol = Browser::new(&scene.env);
    carol.log_in(&carol.url(&host, ENV), "carol").await;
    let session = carol.cookie(&host, SESSION).expect("carol may log in");
    toss(&chromium, &evil, &[&token, &session]).await;
    chromium.go(&url).await;
    assert_eq!(told(&chromium, "HTTP_X_TAPIS_USERNAME").await.as_deref(), Some("alice"));
    let cookies = told(&chromium, "HTTP_COOKIE").await.expect("the harmless one arrives");
    assert!(cookies.contains("tossed=yes"), "the page could set cookies: {cookies}");
    assert!(!cookies.contains(&session) && !cookies.contains(&token), "{cookies}");

    // What the visitor sees cannot be read from there, nor shown in a frame.
    chromium.go(&elsewhere).await;
    let read =
        format!("return fetch('{url}', {{ credentials: 'include' }}).then(() => 'read', () => 'refused')");
    assert_eq!(chromium.run(&read).await, "refused");
    let framed = format!(
        "const frame = document.createElement('iframe'); frame.src = '{logout}'; document.body.append(frame); \
         return new Promise(done => frame.onload = () => done('loaded'))"
    );
    assert_eq!(chromium.run(&framed).await, "loaded");
    let shown = chromium.text_in_frame().await;
    assert!(!shown.contains("Log out"), "in a frame: {shown}");

    // Nor can anything be sent in the visitor's name, or the session be ended.
    let post = format!(
        "return fetch('{logout}', {{ method: 'POST', mode: 'no-cors', credentials: 'include' }}).then(() => 'sent')"
    );
    assert_eq!(chromium.run(&post).await, "sent");
    for (target, name, title) in
        [(&logout, "foreign-logout", "You are not logged out"), (&url, "foreign-page", "Nothing was done")]
    {
        chromium.go(&elsewhere).await;
        let form = format!(
            "const form = document.createElement('form'); form.method = 'post'; form.action = '{target}'; \
             document.body.append(form); form.submit()"
        );
        chromium.run(&form).await;
        is_a_page(&chromium, name, title).await;
    }
    chromium.go(&url).await;
    assert_eq!(told(&chromium, "HTTP_X_TAPIS_USERNAME").await.as_deref(), Some("alice"));
    // The pod's own page can.
    let own = format!("return fetch('{url}', {{ method: 'POST', body: 'x' }}).then(answer => answer.status)");
    assert_eq!(chromium.run(&own).await, 200);

    // Nor is a visitor made somebody else by a link.
    let attacker = Browser::new(&scene.env);
    let ticket = async || almost_logged_in(&attacker, &url, "carol").await.exchange;
    chromium.go(&ticket().await).await;
    assert_eq!(
        told(&chromium, "HTTP_X_TAPIS_USERNAME").await.as_deref(),
        Some("alice"),
        "who was there stays"
    );
    chromium.forget_cookies().await;
    chromium.go(&ticket().await).await;
    is_a_page(&chromium, "login-broken", "This login cannot be completed").await;
    assert!(chromium.cookies().await.iter().all(|cookie| cookie["name"] != SESSION));
}

/// The address at which the machine reaches a container, whether it is ready or not.
async fn container(scene: &Scene, id: &str) -> String {
    let pod = scene.cluster.pod_of(id).await;
    pod.status.and_then(|status| status.pod_ip).expect("a running pod has an address")
}

#[tokio::test]
async fn every_state_of_a_pod_has_a_page() {
    let scene = Scene::new().await;
    let chromium = Chromium::start().await;
    let host = |id: &str| address(&scene, &scene.env.pod_host(id, "default"), "/lab?x=1");
    // All of them at once; they take their time.
    let off = scene.id("off");
    let body = json!({ "pod_id": off, "image": "busyhttpd", "status_requested": "OFF" });
    scene.create(&scene.alice, body).await;
    let finished = scene.shell("finished", "exit 0").await;
    let failed = scene.shell("failed", "echo a secret; exit 3").await;
    let bolt = scene.id("bolt");
    let tcp = json!({ "default": { "protocol": "tcp", "port": 5000 } });
    scene.create(&scene.alice, json!({ "pod_id": bolt, "image": "busyhttpd", "networking": tcp })).await;
    let slow = scene.id("slow");
    let script = "mkdir -p /tmp/www/cgi-bin; cp /www/cgi-bin/env /tmp/www/cgi-bin/env; \
                  printf '#!/bin/sh\\ntouch /tmp/ready\\necho; echo fine\\n' > /tmp/www/cgi-bin/open; \
                  chmod 755 /tmp/www/cgi-bin/open; mkdir /tmp/www/lab; echo '<h1>Opened</h1>' > /tmp/www/lab/index.html; \
                  exec httpd -f -p 5000 -h /tmp/www";
    let probe = json!({ "exec_command": ["test", "-e", "/tmp/ready"], "initial_delay_seconds": 0, "period_seconds": 1 });
    let body = json!({ "pod_id": slow, "image": "busyhttpd", "command": ["sh", "-c", script],
        "healthchecks": { "readiness": probe } });
    scene.create(&scene.alice, body).await;

    chromium.go(&host(&scene.id("nobody"))).await;
    is_a_page(&chromium, "unknown", "There is no pod here").await;
    reach(&chromium, &host(&off), "This pod is stopped").await;
    is_a_page(&chromium, "stopped", "This pod is stopped").await;
    scene.alice.await_status(&finished, "COMPLETE").await;
    reach(&chromium, &host(&finished), "This pod has finished").await;
    is_a_page(&chromium, "finished", "This pod has finished").await;
    scene.alice.await_status(&bolt, "AVAILABLE").await;
    // Over TLS the proxy passes connections on as they are.
    let bolt = format!("http://{}:{}/", scene.env.pod_host(&bolt, "default"), scene.env.http_port);
    reach(&chromium, &bolt, "This is not a web page").await;
    is_a_page(&chromium, "not-http", "This is not a web page").await;

    // Strangers learn that it failed; who may read the pod logs in on the page and learns why.
    scene.alice.await_status(&failed, "ERROR").await;
    reach(&chromium, &host(&failed), "This pod is not running").await;
    is_a_page(&chromium, "error", "This pod is not running").await;
    let stranger = chromium.text("body").await.unwrap();
    assert!(!stranger.contains(&failed) && !stranger.contains("exit"), "{stranger}");
    chromium.click(".login a").await;
    chromium.log_in("alice", "alice").await;
    chromium.await_text("section", "What is known").await;
    assert_eq!(chromium.url().await, host(&failed));
    is_a_page(&chromium, "error-for-readers", "This pod is not running").await;
    let reader = chromium.text("section").await.unwrap();
    assert!(reader.contains(&failed) && reader.contains("exit code 3"), "{reader}");

    // A page that waits leads to the pod by itself.
    scene.alice.await_status(&slow, "AVAILABLE").await;
    reach(&chromium, &host(&slow), "This pod is starting").await;
    is_a_page(&chromium, "starting", "This pod is starting").await;
    let inside = Browser::new(&scene.env);
    let opened = format!("http://{}:5000/cgi-bin/open", container(&scene, &slow).await);
    let shown = inside.get(&opened).await;
    assert!(shown.code == 200 && shown.text.contains("fine"), "{shown:?}");
    chromium.await_text_within("h1", "Opened", LIMIT).await;

    scene.alice.delete(&format!("/v3/pods/{slow}")).await.result();
    reach(&chromium, &host(&slow), "This pod is being deleted").await;
    is_a_page(&chromium, "deleting", "This pod is being deleted").await;
}

/// Opens an address until it shows a page with this title: the edge follows the database within a moment.
async fn reach(chromium: &Chromium, url: &str, title: &str) {
    await_condition(&format!("{url} shows {title:?}"), LIMIT, || async {
        chromium.go(url).await;
        match chromium.text("h1").await {
            Ok(text) if text == title => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}
