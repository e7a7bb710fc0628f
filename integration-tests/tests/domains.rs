//! Domains of users, proven by a record in a real DNS server, and reached through the proxy.

use integration_tests::{
    Caller, Scene, await_condition,
    browser::Browser,
    dns::{Records, SERVER},
    env::TokenWish,
    guarded::{self, ENV, SESSION, WELL_KNOWN, is_told_of},
    process::Outage,
    scene::BUSYBOX,
    visit::Visitor,
    wait::LIMIT,
};
use reqwest::Method;
use serde_json::{Value, json};

/// A pod that says its id, and wants a domain.
async fn shop(scene: &Scene, caller: &Caller, prefix: &str, domain: &str) -> String {
    let id = scene.id(prefix);
    let script =
        format!("mkdir /tmp/www; echo I am {id} > /tmp/www/index.html; httpd -f -p 5000 -h /tmp/www");
    let entry = json!({ "port": 5000, "custom_domain": domain, "custom_domain_verified": true });
    let networking = json!({ "default": entry });
    let body = json!({
        "pod_id": id, "image": BUSYBOX, "command": ["sh", "-c", script], "networking": networking,
    });
    scene.create(caller, body).await;
    id
}

/// What the users of a pod are told about its domain.
async fn note(caller: &Caller, id: &str) -> Value {
    let explained = caller.get(&format!("/v3/pods/{id}/explain")).await.result();
    explained["networking"][0]["custom_domain"].clone()
}

/// Waits until the users of a pod are told so about its domain.
async fn await_note(caller: &Caller, id: &str, verified: bool, part: &str) -> Value {
    await_condition(&format!("the domain of {id}: verified {verified}, {part:?}"), LIMIT, || async {
        let note = note(caller, id).await;
        let fine =
            note["verified"] == verified && note["message"].as_str().unwrap_or_default().contains(part);
        if fine { Ok(note) } else { Err(note.to_string()) }
    })
    .await
}

async fn await_logged(caller: &Caller, id: &str, part: &str) {
    await_condition(&format!("the action log of {id} says {part:?}"), LIMIT, || async {
        let lines = caller.action_logs(id).await;
        if lines.iter().any(|line| line.contains(part)) { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_domain_is_proven_by_its_record_moves_with_it_and_is_lost_without_it() {
    let scene = Scene::new().await;
    let domain = format!("{}.example.org", scene.id("shop"));
    let alices = shop(&scene, &scene.alice, "domain", &domain.to_uppercase()).await;
    scene.alice.await_status(&alices, "AVAILABLE").await;
    let visitor = Visitor::of_domain(&scene.env, &domain);
    let reaches = async |id: &str| visitor.await_page(&domain, "/", 200, &format!("I am {id}")).await;
    let unproven = await_note(&scene.alice, &alices, false, "once there is a TXT record").await;
    let (name, text) = (unproven["record_name"].as_str().unwrap(), unproven["record_text"].as_str().unwrap());
    assert_eq!(name, format!("_tapis-pods.{domain}"));
    let page = visitor.https(&domain, "/").await;
    assert_eq!(page.code, 404, "nothing is proven by wanting it: {page:?}");
    assert!(page.text.contains("There is no pod here"), "{page:?}");

    let mut dns = Records::new(&scene.env);
    dns.say(name, &["v=spf1 -all", text]);
    await_note(&scene.alice, &alices, true, "Verified at").await;
    assert_eq!(scene.alice.pod(&alices).await["networking"]["default"]["custom_domain_verified"], true);
    reaches(&alices).await;
    await_logged(&scene.alice, &alices, &format!("Custom domain {domain} is verified")).await;
    let plain = visitor.http(&domain, "/a?b=c").await;
    let location = format!("https://{domain}:{}/a?b=c", scene.env.https_port);
    assert_eq!((plain.code, plain.location), (308, location));
    let own = scene.env.pod_host(&alices, "default");
    scene.visitor.await_page(&own, "/", 200, &format!("I am {alices}")).await;

    // Nobody else gets it, not even with a record, while it is somebody's.
    let bobs = shop(&scene, &scene.bob, "rival", &domain).await;
    scene.bob.await_status(&bobs, "AVAILABLE").await;
    let rival = await_note(&scene.bob, &bobs, false, "names something else").await;
    let rivals_text = rival["record_text"].as_str().unwrap();
    assert!(
        rivals_text != text && !rival.to_string().contains(text),
        "whose it is is nobody's business: {rival}"
    );
    dns.say(name, &[rivals_text, text]);
    await_note(&scene.bob, &bobs, false, "Another pod has it").await;
    reaches(&alices).await;

    // No answer is no "no".
    let outage = Outage::stop(&scene.env, SERVER);
    await_note(&scene.alice, &alices, true, "DNS has not answered").await;
    reaches(&alices).await;
    outage.end();

    // Without its record it goes on for the time of grace.
    dns.say(name, &[]);
    await_note(&scene.alice, &alices, true, "stops leading to the pod unless").await;
    reaches(&alices).await;
    await_logged(&scene.alice, &alices, "has lost its proof and stops leading to the pod at").await;
    dns.say(name, &[text]);
    await_note(&scene.alice, &alices, true, "Verified at").await;
    await_logged(&scene.alice, &alices, "has its proof again").await;
    dns.say(name, &[]);
    await_note(&scene.alice, &alices, false, "once there is a TXT record").await;
    await_logged(&scene.alice, &alices, "no longer leads to the pod").await;
    visitor.await_page(&domain, "/", 404, "There is no pod here").await;
    scene.visitor.await_page(&own, "/", 200, &format!("I am {alices}")).await;

    // A record that names another pod moves it at once.
    dns.say(name, &[text]);
    await_note(&scene.alice, &alices, true, "Verified at").await;
    reaches(&alices).await;
    dns.say(name, &[rivals_text]);
    await_note(&scene.bob, &bobs, true, "Verified at").await;
    await_note(&scene.alice, &alices, false, "names something else").await;
    reaches(&bobs).await;
    // A stopped pod keeps it, a deleted one does not.
    scene.bob.act(&bobs, "stop").await;
    visitor.await_page(&domain, "/", 503, "is stopped").await;
    scene.bob.delete(&format!("/v3/pods/{bobs}")).await.result();
    visitor.await_page(&domain, "/", 404, "There is no pod here").await;
}

#[tokio::test]
async fn a_login_at_a_domain_is_one_for_the_domain_alone() {
    let scene = Scene::new().await;
    let domain = format!("{}.example.org", scene.id("club"));
    let open_env = "/cgi-bin/env/open";
    let more = json!({ "custom_domain": domain, "tapis_auth_excluded_paths": [open_env] });
    let (id, host) = guarded::pod(&scene, "club", more).await;
    let unproven = await_note(&scene.alice, &id, false, "once there is a TXT record").await;
    let mut dns = Records::new(&scene.env);
    dns.say(unproven["record_name"].as_str().unwrap(), &[unproven["record_text"].as_str().unwrap()]);
    await_note(&scene.alice, &id, true, "Verified at").await;

    let browser = Browser::of_domain(&scene.env, &domain);
    let url = browser.url(&domain, &format!("{ENV}?x=1&y=a%2Fb"));
    await_condition("strangers are led to the login", LIMIT, || async {
        let shown = browser.get(&url).await;
        assert_ne!(shown.code, 200, "open to everybody: {shown:?}");
        if shown.code == 302 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    let shown = browser.log_in(&url, "alice").await;
    assert_eq!((shown.code, shown.url.as_str()), (200, url.as_str()), "{shown:?}");
    is_told_of(&shown, "alice");
    let named = shown.variable("HTTP_X_FORWARDED_HOST").unwrap_or_default();
    assert!(named.starts_with(&domain), "{shown:?}");
    assert_eq!(shown.variable("QUERY_STRING"), Some("x=1&y=a%2Fb"));

    // What is open at the pod's host is open here, and names nobody.
    let shown = browser.get(&browser.url(&domain, open_env)).await;
    assert_eq!((shown.code, shown.variable("HTTP_X_TAPIS_USERNAME")), (200, None), "{shown:?}");
    assert!(!shown.text.contains(SESSION), "{shown:?}");
    let stranger = Browser::of_domain(&scene.env, &domain);
    assert_eq!(stranger.get(&stranger.url(&domain, open_env)).await.code, 200);
    let token = scene.env.token(TokenWish { user: "carol", ..TokenWish::default() });
    let headers = [("Accept", "*/*"), ("X-Tapis-Token", token.as_str())];
    let shown = stranger.send(Method::GET, &stranger.url(&domain, ENV), &headers, &[]).await;
    is_told_of(&shown, "carol");

    // A session counts at the host where it began.
    let own = browser.url(&host, ENV);
    assert_eq!(browser.get(&own).await.code, 302, "nobody is logged in at the other host");
    let session = browser.cookie(&domain, SESSION).unwrap();
    browser.set_cookie(&host, SESSION, &session);
    assert_eq!(browser.get(&own).await.code, 302, "nor with a copy");
    assert_eq!(stranger.log_in(&own, "carol").await.code, 200);
    stranger.set_cookie(&domain, SESSION, &stranger.cookie(&host, SESSION).unwrap());
    assert_eq!(stranger.get(&url).await.code, 302, "nor the other way round");

    let logout = browser.url(&domain, &format!("{WELL_KNOWN}logout"));
    let origin = browser.url(&domain, "");
    let shown = browser.send(Method::POST, &logout, &[("Origin", &origin)], &[]).await;
    assert!(shown.code == 200 && shown.text.contains("You are logged out"), "{shown:?}");
    browser.set_cookie(&domain, SESSION, &session);
    assert_eq!(browser.get(&url).await.code, 302, "a copy of the session has ended as well");
}

#[tokio::test]
async fn hosts_of_the_platform_are_nobodys() {
    let scene = Scene::new().await;
    let tenant = scene.env.tenant_host();
    let own = |name: &str| format!("{name}{tenant}");
    for domain in
        [own(""), own("www."), own("other.pods."), "shop.pods".to_owned(), "pods.example.org".to_owned()]
    {
        let networking = json!({ "default": { "port": 5000, "custom_domain": domain } });
        let body = json!({ "pod_id": scene.id("greedy"), "image": "busyhttpd", "networking": networking });
        let message = scene.try_create(&scene.alice, body).await.refused(400);
        assert!(message.contains("custom_domain"), "{domain}: {message}");
    }
}
