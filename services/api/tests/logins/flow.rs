//! What visitors do.

use pods_core::{Level, Networking};
use reqwest::Method;

use crate::{
    browser::{Browser, Sent},
    world::{World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab/tree?path=a%2Fb&x=1";
const SESSION: &str = "__Host-tapis-pods-session";
const NONCE: &str = "__Host-tapis-pods-login";

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_logs_in_and_arrives_where_the_first_visit_led() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    browser.set_cookie(HOST, "theme", "dark");

    let first = browser.get(URL).await;
    assert_eq!(first.status, 302);
    assert!(first.location().starts_with(&format!("http://{}/v3/pods/shop/auth?", world.platform.address())));
    assert_eq!(first.headers["cache-control"], "no-store");
    let nonce = browser.cookie(HOST, NONCE).unwrap();
    assert!(!first.location().contains(&nonce), "the nonce stays in the browser");
    assert!(!first.location().contains("lab"), "nor does anybody read where the visitor goes");

    let (end, answer) = browser.log_in(URL, "ann").await;
    assert_eq!(end, URL);
    for (name, value) in [
        ("x-tapis-username", Some("ann")),
        ("x-tapis-tenant", Some("dev")),
        ("x-tapis-site", Some("dev")),
        ("internal", Some("ann.dev.dev")),
        ("pods_service_accepts-underscores", Some("tip#2")),
        ("cookie", Some("theme=dark")),
        ("x-tapis-token", None),
    ] {
        assert_eq!(answer.told(name), value, "{name}");
    }
    assert_eq!(browser.cookie(HOST, NONCE), None, "it was used");
    for (host, cookie) in browser.set.borrow().iter() {
        assert_eq!(host, HOST, "no cookie of a tenant: {cookie}");
        let (name, rest) = cookie.split_once('=').unwrap();
        assert!([SESSION, NONCE].contains(&name));
        let (value, attributes) = rest.split_once("; ").unwrap();
        assert!(attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="), "{attributes}");
        assert!(!value.contains('.'), "no token: {value}");
    }
    let session = browser.cookie(HOST, SESSION).unwrap();
    assert!(session.len() < 1000, "{} bytes", session.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_page_in_particular_ends_at_the_return_path() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"])), ("admin", entry(&["ann"]))]).await;
    for (url, end) in [
        ("https://shop.pods.dev.example.org/.well-known/tapis-pods/login", "/welcome"),
        ("https://shop.pods.dev.example.org/.well-known/tapis-pods/login?return=%2Flab%3Fx%3D1", "/lab?x=1"),
    ] {
        let browser = Browser::new(&world, &[&shop]);
        let (at, answer) = browser.log_in(url, "ann").await;
        assert_eq!(at, format!("https://{HOST}{end}"));
        assert!(answer.at_pod.is_some());
        let (again, _) = browser.follow(url).await;
        assert_eq!(again, at, "with a session there is nothing to do");
    }
    // The address that the API had before; it begins at the pod.
    let browser = Browser::new(&world, &[&shop]);
    let old = format!("http://{}/v3/pods/shop-admin/auth", world.platform.address());
    let (at, answer) = browser.log_in(&old, "ann").await;
    assert_eq!(at, "https://shop-admin.pods.dev.example.org/welcome");
    assert_eq!(answer.told("x-tapis-username"), Some("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tabs_log_in_at_the_same_time() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (one, two) = (format!("https://{HOST}/one"), format!("https://{HOST}/two"));
    let (first_form, _) = browser.follow(&one).await;
    let (second_form, _) = browser.follow(&two).await;
    // A part of the page that is asked for meanwhile disturbs nobody.
    let image = Sent {
        headers: vec![("accept", "image/*".to_owned()), ("sec-fetch-mode", "no-cors".to_owned())],
        ..Sent::default()
    };
    let answer = browser.send(&format!("https://{HOST}/logo.png"), image).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (401, None));
    for (form, url) in [(second_form, two), (first_form, one)] {
        let answer = browser.submit(&form, "ann").await;
        let (end, answer) = browser.follow_from(form, answer).await;
        assert_eq!(end, url);
        assert!(answer.at_pod.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_on_the_list_is_told_so() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["AUTHORIZED_READS"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (end, answer) = browser.log_in(URL, "bob").await;
    assert!(end.contains("/auth/callback?"), "{end}");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("<h1>This pod is not open to you</h1>"), "{}", answer.body);
    assert!(answer.body.contains("logged in to Tapis as <strong>bob</strong>"), "{}", answer.body);
    assert_eq!(browser.cookie(HOST, SESSION), None);

    world.grant(&shop, "bob", Level::Read).await;
    let (end, answer) = browser.log_in(URL, "bob").await;
    assert_eq!((end.as_str(), answer.told("x-tapis-username")), (URL, Some("bob")));
    // Taking the permission away ends what the session is worth, without ending the session.
    world.grant(&shop, "bob", Level::None).await;
    until("the visitor is refused", async || browser.get(URL).await.status == 403).await;
    let page = browser.get(URL).await;
    assert!(
        page.body.contains("bob") && page.body.contains("/.well-known/tapis-pods/logout"),
        "{}",
        page.body
    );
    let program = Sent { headers: vec![("accept", "*/*".to_owned())], ..Sent::default() };
    let answer = browser.send(URL, program).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("\"code\":\"not_listed\""), "{}", answer.body);
    world.grant(&shop, "bob", Level::User).await;
    until("the visitor passes again", async || browser.get(URL).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_session_everywhere() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let replica = world.another_edge().await;
    let browser = Browser::new(&world, &[&shop]);
    browser.log_in(URL, "ann").await;
    // Somebody has a copy of the session, and another edge process.
    let session = browser.cookie(HOST, SESSION).unwrap();
    let copy = Browser::new(&world, &[&shop]).at(&replica);
    copy.set_cookie(HOST, SESSION, &session);
    until("the other edge knows the pod", async || copy.get(URL).await.status == 200).await;

    let logout = format!("https://{HOST}/.well-known/tapis-pods/logout");
    let page = browser.get(&logout).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<form method=\"post\""), "{}", page.body);
    assert_eq!(page.headers["referrer-policy"], "same-origin");
    assert_eq!(browser.get(URL).await.status, 200, "looking at the page ends nothing");
    let post = |headers: &[(&'static str, &str)]| Sent {
        method: Method::POST,
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        ..Sent::default()
    };
    for foreign in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "https://shop.pods.dev.example.org.evil.example")],
        &[("origin", "http://shop.pods.dev.example.org")],
        &[("origin", "null")],
        &[("origin", "null"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://shop.pods.dev.example.org"), ("sec-fetch-site", "cross-site")],
    ] {
        let answer = browser.send(&logout, post(foreign)).await;
        assert_eq!(answer.status, 403, "{foreign:?}");
        assert_eq!(browser.get(URL).await.status, 200, "{foreign:?}");
    }
    let own = post(&[("origin", "https://shop.pods.dev.example.org"), ("sec-fetch-site", "same-origin")]);
    let answer = browser.send(&logout, own).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("You are logged out"));
    assert_eq!(browser.cookie(HOST, SESSION), None);
    assert_eq!(browser.get(URL).await.status, 302);
    until("the copy is worth nothing", async || copy.get(URL).await.status == 302).await;
    // A process that starts later knows it, too.
    let later = world.another_edge().await;
    let copy = Browser::new(&world, &[&shop]).at(&later);
    copy.set_cookie(HOST, SESSION, &session);
    until("the new edge knows the pod", async || later.knows(&shop, "default").await).await;
    assert_eq!(copy.get(URL).await.status, 302);
    // It would let one in that nobody ended.
    browser.log_in(URL, "ann").await;
    copy.set_cookie(HOST, SESSION, &browser.cookie(HOST, SESSION).unwrap());
    assert_eq!(copy.get(URL).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_login_has_one_for_its_readers() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", Networking::default())]).await;
    let browser = Browser::new(&world, &[&shop]);
    assert_eq!(browser.get(URL).await.status, 200, "its entry demands none");
    let login = format!("https://{HOST}/.well-known/tapis-pods/login?return=/x");
    let (end, answer) = browser.log_in(&login, "ann").await;
    assert_eq!(end, format!("https://{HOST}/x"));
    assert_eq!(answer.told("x-tapis-username"), None, "the pod is told nothing");
    let seconds: u32 = {
        let set = browser.set.borrow();
        let (_, cookie) = set.iter().find(|(_, cookie)| cookie.starts_with(SESSION)).unwrap();
        cookie.rsplit_once('=').unwrap().1.parse().unwrap()
    };
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    // It does not run, so that the catch-all leads to its page.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = |cookie: Option<String>| {
        let mut request = client
            .get(format!("http://{}/visitor/", world.edge.address))
            .header("host", HOST)
            .header("accept", "text/html");
        if let Some(cookie) = cookie {
            request = request.header("cookie", format!("{SESSION}={cookie}"));
        }
        async { request.send().await.unwrap().text().await.unwrap() }
    };
    let (stranger, reader) = (page(None).await, page(browser.cookie(HOST, SESSION)).await);
    assert!(stranger.contains("/.well-known/tapis-pods/login?return="), "{stranger}");
    assert!(reader.contains("ann") && reader.contains("/.well-known/tapis-pods/logout"), "{reader}");
    let begun = client
        .get(format!("http://{}/visitor/.well-known/tapis-pods/logout", world.edge.address))
        .header("host", HOST)
        .send()
        .await
        .unwrap();
    assert!(begun.text().await.unwrap().contains("<form method=\"post\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_another_tenant_log_in_at_theirs() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    world.grant(&shop, "tenant.two", Level::Read).await;
    until("the edge knows of it", async || world.edge.logins.can_log_in()).await;
    let browser = Browser::new(&world, &[&shop]);
    let (at, page) = browser.follow(URL).await;
    assert!(page.body.contains(">dev</a>") && page.body.contains(">two</a>"), "{}", page.body);
    let links: Vec<String> = page
        .body
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"))
        .filter(|link| link.contains("tenant="))
        .collect();
    assert_eq!(links.len(), 2);
    let theirs = links.iter().find(|link| link.ends_with("tenant=two")).unwrap();
    let base: url::Url = at.parse().unwrap();
    let theirs = base.join(theirs).unwrap().to_string();
    let (end, answer) = browser.log_in(&theirs, "bob").await;
    assert_eq!(end, URL);
    assert_eq!(answer.told("internal"), Some("bob.two.dev"));
    // Nobody chooses a tenant that the pod was not opened to.
    let other = Browser::new(&world, &[&shop]);
    let (at, _) = other.follow(URL).await;
    for bad in ["admin", "nowhere", "", "dev%22"] {
        assert_eq!(other.get(&format!("{at}&tenant={bad}")).await.status, 400, "{bad}");
    }
    // The grant goes, and with it what a login under way is worth.
    let (form, _) = other.follow(&format!("{at}&tenant=two")).await;
    let callback = other.submit(&form, "bob").await.location().to_owned();
    world.grant(&shop, "tenant.two", Level::None).await;
    assert_eq!(other.get(&callback).await.status, 400);
    until("the session is worth nothing", async || browser.get(URL).await.status == 403).await;
}
