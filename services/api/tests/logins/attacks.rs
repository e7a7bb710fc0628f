//! What nobody gets through with.

use pods_core::Networking;
use reqwest::Method;

use crate::{
    browser::{Answer, Browser, Sent},
    world::{World, entry},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab";
const SESSION: &str = "__Host-tapis-pods-session";
const NONCE: &str = "__Host-tapis-pods-login";

/// A login that is stopped before the ticket is exchanged: the addresses of the callback and of the exchange.
async fn almost(browser: &Browser<'_>, user: &str) -> (String, String) {
    let (form, _) = browser.follow(URL).await;
    let callback = browser.submit(&form, user).await.location().to_owned();
    let back = browser.get(&callback).await;
    assert_eq!(back.status, 302, "{back:?}");
    (callback, back.location().to_owned())
}

fn is_broken(answer: &Answer) -> bool {
    answer.status == 400 && answer.body.contains("This login cannot be completed")
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_and_states_count_once() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (callback, exchange) = almost(&browser, "ann").await;
    assert!(exchange.starts_with(&format!("https://{HOST}/.well-known/tapis-pods/session?ticket=")));
    assert!(is_broken(&browser.get(&callback).await), "the state was used");
    let nonce = browser.cookie(HOST, NONCE).unwrap();
    assert_eq!(browser.get(&exchange).await.location(), URL);
    browser.cookies.borrow_mut().clear();
    browser.set_cookie(HOST, NONCE, &nonce);
    let again = browser.get(&exchange).await;
    assert!(is_broken(&again), "the ticket was used: {again:?}");
    assert_eq!(browser.cookie(HOST, SESSION), None);
    for bad in ["", "?ticket=", "?ticket=nonsense", &format!("?ticket={}", "x".repeat(5000)), "?other=1"] {
        let answer = browser.get(&format!("https://{HOST}/.well-known/tapis-pods/session{bad}")).await;
        assert!(is_broken(&answer), "{bad}");
    }
    let head = Sent { method: Method::HEAD, ..Sent::default() };
    assert_eq!(browser.send(&exchange, head).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_worth_nothing_in_another_browser() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let (attacker, victim) = (Browser::new(&world, &[&shop]), Browser::new(&world, &[&shop]));
    let (_, exchange) = almost(&attacker, "bob").await;
    // Also one that has a login of its own under way.
    victim.get(URL).await;
    let answer = victim.get(&exchange).await;
    assert!(is_broken(&answer), "{answer:?}");
    assert_eq!(victim.cookie(HOST, SESSION), None);
    // Nor with the login that it has under way itself.
    let theirs: url::Url = victim.get(URL).await.location().parse().unwrap();
    let theirs = theirs.query_pairs().find(|(name, _)| name == "login").unwrap().1.into_owned();
    let (head, _) = exchange.split_once("&login=").unwrap();
    let answer = victim.get(&format!("{head}&login={theirs}")).await;
    assert!(is_broken(&answer), "{answer:?}");
    assert_eq!(victim.cookie(HOST, SESSION), None);
    assert_eq!(attacker.get(&exchange).await.location(), URL, "which keeps nobody from logging in");

    // A callback that is opened in another browser ends in the same way.
    let attacker = Browser::new(&world, &[&shop]);
    let (form, _) = attacker.follow(URL).await;
    let callback = attacker.submit(&form, "bob").await.location().to_owned();
    let (_, answer) = victim.follow(&callback).await;
    assert!(is_broken(&answer), "{answer:?}");
    assert_eq!(victim.cookie(HOST, SESSION), None);

    // Whoever is logged in already is not logged in as somebody else.
    victim.log_in(URL, "ann").await;
    let (_, exchange) = almost(&attacker, "bob").await;
    let answer = victim.get(&exchange).await;
    assert_eq!((answer.status.as_u16(), answer.location()), (302, URL));
    assert_eq!(victim.get(URL).await.told("x-tapis-username"), Some("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_counts_at_its_own_entry_only() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"])), ("admin", entry(&["*"]))]).await;
    let other = world.pod("other", &[("default", entry(&["*"]))]).await;
    let namesake = world.pod_of("two", "shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop, &other, &namesake]);
    browser.log_in(URL, "ann").await;
    let session = browser.cookie(HOST, SESSION).unwrap();
    for host in ["shop-admin.pods.dev.example.org", "other.pods.dev.example.org", "shop.pods.two.example.org"]
    {
        browser.set_cookie(host, SESSION, &session);
        assert_eq!(browser.get(&format!("https://{host}/")).await.status, 302, "{host}");
    }
    // The proxy that asks about another entry than the host's would be wrong; nobody passes.
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let asked = client
        .get(format!("http://{}/forward-auth/{}/default", world.edge.address, other.uid))
        .header("x-forwarded-host", HOST)
        .header("x-forwarded-uri", "/")
        .header("x-forwarded-method", "GET")
        .header("cookie", format!("{SESSION}={session}"));
    assert_eq!(asked.send().await.unwrap().status(), 404);
    // Changed by a character, cut, or of another kind, it is no session.
    for bad in [&session[1..], &session[..session.len() - 2], "", "x", &"A".repeat(5000)] {
        browser.set_cookie(HOST, SESSION, bad);
        assert_eq!(browser.get(URL).await.status, 302, "{bad}");
    }
    // A login of one entry does not end at another one.
    browser.cookies.borrow_mut().clear();
    let (_, exchange) = almost(&browser, "ann").await;
    let nonce = browser.cookie(HOST, NONCE).unwrap();
    browser.set_cookie("other.pods.dev.example.org", NONCE, &nonce);
    let moved = exchange.replace(HOST, "other.pods.dev.example.org");
    assert!(is_broken(&browser.get(&moved).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_to_another_site() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let other = world.pod("other", &[("default", entry(&["*"]))]).await;
    for bad in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\r\nLocation: https://evil.example",
        "/.well-known/tapis-pods/login",
        "",
    ] {
        let browser = Browser::new(&world, &[&shop]);
        let bad: String = url::form_urlencoded::byte_serialize(bad.as_bytes()).collect();
        let url = format!("https://{HOST}/.well-known/tapis-pods/login?return={bad}");
        let (end, _) = browser.log_in(&url, "ann").await;
        assert_eq!(end, format!("https://{HOST}/welcome"), "{bad}");
        let (end, _) = browser.follow(&url).await;
        assert_eq!(end, format!("https://{HOST}/welcome"), "{bad} with a session");
    }
    // What is sealed for one pod is nothing at another one, and the API sends nobody to a host that is not the pod's.
    let browser = Browser::new(&world, &[&shop, &other]);
    let begun = browser.get(URL).await.location().to_owned();
    for host in ["evil.example", "other.pods.dev.example.org", "shop.pods.dev.example.org:9999", ""] {
        let moved = begun.replace(&format!("host={HOST}"), &format!("host={host}"));
        assert!(is_broken(&browser.get(&moved).await), "{host}");
    }
    let at_other =
        begun.replace("/v3/pods/shop/", "/v3/pods/other/").replace(HOST, "other.pods.dev.example.org");
    let (form, _) = browser.follow(&at_other).await;
    let answer = browser.submit(&form, "ann").await;
    let (_, answer) = browser.follow_from(form, answer).await;
    assert!(is_broken(&answer), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_needs_the_state_of_its_own_pod() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"])), ("admin", entry(&["*"]))]).await;
    let other = world.pod("other", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop, &other]);
    for elsewhere in ["/v3/pods/other/auth/", "/v3/pods/shop-admin/auth/"] {
        let (form, _) = browser.follow(URL).await;
        let callback = browser.submit(&form, "ann").await.location().to_owned();
        assert!(
            is_broken(&browser.get(&callback.replace("/v3/pods/shop/auth/", elsewhere)).await),
            "{elsewhere}"
        );
        assert_eq!(browser.get(&callback).await.status, 302, "it is good where it belongs");
    }
    let base = format!("http://{}/v3/pods/shop/auth/callback", world.platform.address());
    let (form, _) = browser.follow(URL).await;
    let callback: url::Url = browser.submit(&form, "ann").await.location().parse().unwrap();
    let state = callback.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    for query in ["", "?code=x", "?state=", "?state=x&code=x", &format!("?state={}&code=x", "s".repeat(9000))]
    {
        assert!(is_broken(&browser.get(&format!("{base}{query}")).await), "{query}");
    }
    // The visitor turned back, or somebody made up a code.
    assert!(is_broken(&browser.get(&format!("{base}?state={state}&error=access_denied")).await));
    let (form, _) = browser.follow(URL).await;
    let callback = browser.submit(&form, "ann").await.location().to_owned();
    let (head, tail) = callback.split_once("code=").unwrap();
    let tail = tail.split_once('&').map_or("", |(_, rest)| rest);
    assert!(is_broken(&browser.get(&format!("{head}code=made-up&{tail}")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_no_entry_lead_nowhere() {
    let world = World::start().await;
    let tcp = Networking { protocol: pods_core::Protocol::Tcp, ..Networking::default() };
    let shop = world.pod("shop", &[("default", entry(&["*"])), ("bolt", tcp)]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (dev, two) =
        (world.platform.address().to_string(), format!("localhost:{}", world.platform.address().port()));
    for (tenant, entry) in [
        (&dev, "nobody"),
        (&dev, "shop-bolt"),
        (&dev, "shop-default"),
        (&dev, "shop-nothing"),
        (&dev, "shop-"),
        (&dev, "SHOP"),
        (&dev, "%00"),
        (&two, "shop"),
    ] {
        for rest in ["auth", "auth?login=abc", "auth/callback?state=a&code=b"] {
            let answer = browser.get(&format!("http://{tenant}/v3/pods/{entry}/{rest}")).await;
            assert_eq!(answer.status, 404, "{tenant} {entry} {rest}: {}", answer.body);
        }
    }
    for bad in ["%20", "a.b", "%0d%0a", &"x".repeat(7000)] {
        let answer = browser.get(&format!("http://{dev}/v3/pods/shop/auth?login={bad}")).await;
        assert!(is_broken(&answer), "{bad}");
    }
    let program = Sent { headers: vec![("accept", "application/json".to_owned())], ..Sent::default() };
    let answer = browser.send(&format!("http://{dev}/v3/pods/shop/auth/callback"), program).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["content-type"]),
        (400, &"application/json".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_paths_tell_the_pod_nothing_and_hide_nothing_less() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    browser.log_in(URL, "ann").await;
    browser.set_cookie(HOST, "a", "1");
    browser.set_cookie(HOST, "X-Tapis-Token", &world.token("dev", "ann", 600));
    let forged = |accept: &str| Sent {
        headers: [
            ("accept", accept),
            ("x-tapis-username", "root"),
            ("x_tapis_username", "root"),
            ("x-tapis-tenant", "root"),
            ("internal", "root"),
            ("x-tapis-token", "x.y.z"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        ..Sent::default()
    };
    let open = browser.send(&format!("https://{HOST}/open/app.js"), forged("*/*")).await;
    for name in ["x-tapis-username", "x_tapis_username", "x-tapis-tenant", "internal", "x-tapis-token"] {
        assert_eq!(open.told(name), None, "{name}");
    }
    assert_eq!(open.told("cookie"), Some("a=1"));
    // The same at a path behind the login: what the platform says replaces what the visitor says.
    let mut sent = forged("text/html");
    sent.headers.retain(|(name, _)| *name != "x-tapis-token");
    let closed = browser.send(URL, sent).await;
    assert_eq!(closed.told("x-tapis-username"), Some("ann"));
    assert_eq!((closed.told("x_tapis_username"), closed.told("internal")), (None, Some("ann.dev.dev")));
    assert_eq!(closed.told("cookie"), Some("a=1"));
    // A path that the pod might read as another one is not open.
    let stranger = Browser::new(&world, &[&shop]);
    for tricky in [
        "/open/%2e%2e/lab",
        "/open//lab",
        "/open/..;/lab",
        "/open%2f..%2flab",
        "/open/%5c..%5clab",
        "/open;x",
    ] {
        assert_eq!(stranger.get(&format!("https://{HOST}{tricky}")).await.status, 302, "{tricky}");
    }
    assert_eq!(stranger.get(&format!("https://{HOST}/open/x")).await.status, 200);
}
