//! Tickets, states and sessions in the wrong place.

use integration_tests::{
    Caller, Scene, await_condition,
    browser::Browser,
    curl::Curl,
    env::TokenWish,
    guarded::{
        ENV, NONCE, SESSION, WELL_KNOWN, almost_logged_in, await_listening, is_broken, is_told_of,
        networking, pod, pod_of, returned,
    },
    scene::HTTPD,
    wait::LIMIT,
};
use serde_json::json;

use crate::{header, slices, token_of};

#[tokio::test]
async fn tickets_and_states_count_once() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "once", json!({})).await;
    let browser = Browser::new(&scene.env);
    let url = browser.url(&host, ENV);
    let begun = almost_logged_in(&browser, &url, "alice").await;
    assert!(begun.exchange.starts_with(&browser.url(&host, &format!("{WELL_KNOWN}session?ticket="))));
    assert!(is_broken(&browser.get(&begun.callback).await), "the state was used");
    let nonce = browser.cookie(&host, NONCE).unwrap();
    let back = browser.get(&begun.exchange).await;
    assert_eq!((back.code, back.location.as_str()), (302, url.as_str()), "{back:?}");
    // Somebody copied everything but the session.
    let copy = Browser::new(&scene.env);
    copy.set_cookie(&host, NONCE, &nonce);
    for used in [&begun.exchange, &begun.callback] {
        let shown = copy.get(used).await;
        assert!(is_broken(&shown), "{shown:?}");
    }
    assert_eq!(copy.cookie(&host, SESSION), None);
    assert_eq!(copy.get(&url).await.code, 302);
}

#[tokio::test]
async fn a_ticket_opens_nothing_in_a_second_browser() {
    let scene = Scene::new().await;
    let (_, host) = pod(&scene, "second", json!({})).await;
    let (attacker, victim) = (Browser::new(&scene.env), Browser::new(&scene.env));
    let url = victim.url(&host, ENV);
    // The victim has a login of its own under way.
    victim.visit(&url).await;
    let begun = almost_logged_in(&attacker, &url, "carol").await;
    assert!(is_broken(&victim.get(&begun.exchange).await));
    assert_eq!(victim.cookie(&host, SESSION), None);
    // Whoever opens it elsewhere takes nothing from the browser that began.
    assert_eq!(attacker.get(&begun.exchange).await.location, url);
    // The same with what the platform sends back.
    let other = Browser::new(&scene.env);
    let callback = returned(&other, &url, "carol").await;
    assert!(is_broken(&victim.visit(&callback).await));
    assert_eq!(victim.cookie(&host, SESSION), None);
    assert_eq!(victim.get(&url).await.code, 302, "nobody is logged in as somebody else");
}

#[tokio::test]
async fn a_session_opens_no_other_pod_not_even_one_of_the_same_name() {
    let scene = Scene::new().await;
    let (id, host) = pod(&scene, "shop", json!({})).await;
    let (_, other) = pod(&scene, "other", json!({ "tapis_auth_allowed_users": ["*"] })).await;
    let tenant = scene.env.other_tenant().clone();
    let theirs = TokenWish { user: "alice", tenant: &tenant.id, ..TokenWish::default() };
    let owner = Caller::new("alice", &tenant.base_url, scene.env.token(theirs));
    let namesake = pod_of(&scene, &owner, &id, &json!({ "tapis_auth_allowed_users": ["*"] })).await;
    assert_ne!(namesake, host);

    let browser = Browser::new(&scene.env);
    let url = browser.url(&host, ENV);
    is_told_of(&browser.log_in(&url, "alice").await, "alice");
    let session = browser.cookie(&host, SESSION).unwrap();
    for elsewhere in [&other, &namesake] {
        browser.set_cookie(elsewhere, SESSION, &session);
        assert_eq!(browser.get(&browser.url(elsewhere, ENV)).await.code, 302, "{elsewhere}");
    }
    // A login that began at one pod does not end at another one.
    let stranger = Browser::new(&scene.env);
    let begun = stranger.get(&url).await.location;
    let moved = begun.replace(&scene.env.base_url, &tenant.base_url);
    assert!(is_broken(&stranger.get(&moved).await), "{moved}");
    let exchange = almost_logged_in(&stranger, &url, "alice").await.exchange;
    let nonce = stranger.cookie(&host, NONCE).unwrap();
    stranger.set_cookie(&namesake, NONCE, &nonce);
    assert!(is_broken(&stranger.get(&exchange.replace(&host, &namesake)).await));
    assert_eq!(stranger.cookie(&namesake, SESSION), None);
    // A user of that tenant is no user of this one.
    let options = header("X-Tapis-Token", &owner.token);
    let shown = Curl::new(&scene.env).get(&url, &slices(&options)).await;
    assert!(shown.code == 403 && shown.text.contains("other_tenant"), "{shown:?}");
}

#[tokio::test]
async fn a_session_from_before_the_login_was_demanded_opens_nothing() {
    let scene = Scene::new().await;
    let id = scene.id("before");
    let body = json!({ "pod_id": id, "image": HTTPD, "status_requested": "OFF" });
    scene.create(&scene.alice, body).await;
    let host = scene.env.pod_host(&id, "default");
    scene.visitor.await_page(&host, "/", 503, "is stopped").await;
    let reader = Browser::new(&scene.env);
    let url = reader.url(&host, ENV);
    let shown = reader.log_in(&reader.url(&host, &format!("{WELL_KNOWN}login?return={ENV}")), "alice").await;
    assert!(shown.code == 503 && shown.text.contains("What is known"), "{shown:?}");
    assert!(reader.cookie(&host, SESSION).is_some());
    let closed = json!({ "networking": networking(&json!({})) });
    scene.alice.put(&format!("/v3/pods/{id}"), closed).await.result();
    scene.alice.act(&id, "start").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    await_condition("the login is asked for", LIMIT, || async {
        let shown = reader.get(&url).await;
        assert_ne!(shown.code, 200, "{shown:?}");
        if shown.code == 302 { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    await_listening(&scene, &scene.alice, &host).await;
    is_told_of(&reader.log_in(&url, "alice").await, "alice");
}

/// A request with a session, as the page of some origin makes a browser send it.
struct Sent {
    options: &'static [&'static str],
    origin: Option<String>,
    code: u16,
}

fn sent(options: &'static [&'static str], origin: Option<&str>, code: u16) -> Sent {
    Sent { options, origin: origin.map(str::to_owned), code }
}

#[tokio::test]
async fn a_page_of_another_origin_does_nothing_with_the_visitors_session() {
    let scene = Scene::new().await;
    let friend = "https://friend.example";
    let (_, host) = pod(&scene, "foreign", json!({ "cors_allow_origins": [friend] })).await;
    let (browser, curl) = (Browser::new(&scene.env), Curl::new(&scene.env));
    let url = browser.url(&host, ENV);
    assert_eq!(browser.log_in(&url, "alice").await.code, 200);
    let session = format!("{SESSION}={}", browser.cookie(&host, SESSION).unwrap());
    let own = browser.url(&host, "");
    // Pods of one tenant, and of all tenants below one domain, are the same site: SameSite keeps none of this back.
    let sibling = own.replace(&host, &scene.env.pod_host("evil", "default"));
    const POST: &[&str] = &["--data", "x=1"];
    const LINK: &[&str] = &[
        "--header",
        "Accept: text/html",
        "--header",
        "Sec-Fetch-Mode: navigate",
        "--header",
        "Sec-Fetch-Site: same-site",
    ];
    const WEB_SOCKET: &[&str] = &[
        "--http1.1",
        "--header",
        "Connection: Upgrade",
        "--header",
        "Upgrade: websocket",
        "--header",
        "Sec-WebSocket-Version: 13",
        "--header",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for Sent { options, origin, code } in [
        sent(POST, Some(&sibling), 403),
        sent(POST, Some("https://evil.example"), 403),
        sent(POST, Some("null"), 403),
        sent(POST, Some(&own.replace("https", "http")), 403),
        sent(&["--request", "DELETE"], Some(&sibling), 403),
        sent(&["--data", "x=1", "--header", "Sec-Fetch-Site: same-site"], None, 403),
        sent(WEB_SOCKET, Some(&sibling), 403),
        sent(&["--header", "Sec-Fetch-Mode: cors"], Some(&sibling), 403),
        sent(POST, Some(&own), 200),
        sent(POST, Some(friend), 200),
        sent(POST, None, 200),
        sent(WEB_SOCKET, Some(&own), 200),
        sent(LINK, None, 200),
        sent(&[], None, 200),
    ] {
        let mut sending = header("Cookie", &session).to_vec();
        sending.extend(options.iter().map(|option| (*option).to_owned()));
        sending.extend(origin.iter().flat_map(|origin| header("Origin", origin)));
        let shown = curl.get(&url, &slices(&sending)).await;
        assert_eq!(shown.code, code, "{options:?} from {origin:?}: {shown:?}");
        assert_eq!(shown.text.contains("GATEWAY_INTERFACE"), code == 200, "{options:?} from {origin:?}");
        assert_eq!(shown.text.contains("\"foreign_page\""), code == 403, "{options:?}: {shown:?}");
    }
    // A token in a header is nothing that a browser adds by itself.
    let token = header("X-Tapis-Token", &token_of(&scene, "alice"));
    let program = [token, header("Origin", &sibling)].concat();
    assert_eq!(curl.get(&url, &slices(&program)).await.code, 200);
    // Parts of a page lead nobody through a login.
    let part = curl.get(&url, &["--header", "Sec-Fetch-Mode: no-cors"]).await;
    assert!(part.code == 401 && part.location.is_empty(), "{part:?}");
}
