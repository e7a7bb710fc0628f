//! What pages of other pods make a visitor's browser send. Pods are neighbours below one domain, so our cookie comes along.

use pods_core::Networking;
use reqwest::Method;

use crate::{
    browser::{Browser, Sent},
    world::{World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/api/delete";
const SIBLING: &str = "https://evil.pods.dev.example.org";
const PORTAL: &str = "https://portal.example.org";

fn sent(method: Method, accept: &str, headers: &[(&'static str, &str)]) -> Sent<'static> {
    let mut all = vec![("accept", accept.to_owned())];
    all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Sent { method, headers: all, ..Sent::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_nothing_for_pages_of_other_pods() {
    let world = World::start().await;
    let origins = vec![PORTAL.to_owned(), "*".to_owned()];
    let trusting = Networking { cors_allow_origins: origins, ..entry(&["*"]) };
    let shop = world.pod("shop", &[("default", trusting)]).await;
    let browser = Browser::new(&world, &[&shop]);
    browser.log_in(URL, "ann").await;
    let own = format!("https://{HOST}");
    let http = format!("http://{HOST}");
    for (method, headers) in [
        (
            Method::POST,
            &[("origin", SIBLING), ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")][..],
        ),
        (Method::POST, &[("origin", SIBLING)]),
        (Method::DELETE, &[("origin", SIBLING), ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")]),
        (Method::POST, &[("origin", http.as_str())]),
        (Method::POST, &[("origin", "null"), ("sec-fetch-site", "cross-site")]),
        (Method::POST, &[("origin", "null")]),
        (Method::POST, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")]),
        // A WebSocket, whose answer the other page would read.
        (
            Method::GET,
            &[
                ("origin", SIBLING),
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "websocket"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        ),
        (Method::GET, &[("origin", SIBLING), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]),
        // A picture, a script, something fetched.
        (Method::GET, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")]),
        (Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]),
    ] {
        let answer = browser.send(URL, sent(method.clone(), "*/*", headers)).await;
        assert_eq!(answer.status, 403, "{method} {headers:?}");
        assert!(answer.at_pod.is_none() && answer.headers.get("location").is_none());
        assert!(answer.body.contains("\"code\":\"foreign_page\""), "{method} {headers:?}: {}", answer.body);
    }
    let form = [("origin", SIBLING), ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")];
    let page = browser.send(URL, sent(Method::POST, "text/html", &form)).await;
    assert_eq!(page.status, 403);
    assert!(page.body.contains("<h1>Nothing was done</h1>"), "{}", page.body);

    for (method, headers) in [
        (Method::POST, &[("origin", own.as_str()), ("sec-fetch-site", "same-origin")][..]),
        (Method::POST, &[("origin", own.as_str())]),
        (Method::GET, &[("origin", own.as_str()), ("sec-fetch-mode", "websocket")]),
        (Method::POST, &[("origin", "null"), ("sec-fetch-site", "same-origin")]),
        (Method::GET, &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "no-cors")]),
        (Method::GET, &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]),
        // A link on another website, or on a page of a neighbour.
        (Method::GET, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]),
        (Method::GET, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")]),
        (Method::POST, &[("origin", PORTAL), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")]),
        // A program with a copy of the cookie.
        (Method::POST, &[]),
    ] {
        let answer = browser.send(URL, sent(method.clone(), "*/*", headers)).await;
        assert_eq!(answer.status, 200, "{method} {headers:?}: {}", answer.body);
        assert_eq!(answer.told("x-tapis-username"), Some("ann"));
    }
    // What comes with a token was meant: no page can send one along without being allowed to.
    let token = world.token("dev", "ann", 600);
    let headers = [("origin", SIBLING), ("x-tapis-token", token.as_str())];
    assert_eq!(
        browser.send(URL, sent(Method::POST, "*/*", &headers)).await.told("x-tapis-username"),
        Some("ann")
    );
    // Where nobody is named a session does not matter.
    let open = format!("https://{HOST}/open/hook");
    let answer = browser.send(&open, sent(Method::POST, "*/*", &[("origin", SIBLING)])).await;
    assert_eq!((answer.status.as_u16(), answer.told("x-tapis-username")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_pages_are_led_nowhere() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let begun = browser.get(URL).await.location().to_owned();
    let auth = format!("http://{}/v3/pods/shop/auth", world.platform.address());
    let login = format!("https://{HOST}/.well-known/tapis-pods/login");
    browser.cookies.borrow_mut().clear();
    for url in [URL, &login, &auth, &begun] {
        for mode in ["no-cors", "cors", "same-origin", "websocket"] {
            let answer = browser.send(url, sent(Method::GET, "image/*", &[("sec-fetch-mode", mode)])).await;
            assert_eq!(answer.status, 401, "{url} {mode}");
            assert!(answer.headers.get("location").is_none() && answer.headers.get("set-cookie").is_none());
            assert!(answer.body.contains("\"code\":\"login_required\""), "{}", answer.body);
        }
        // A program that is no browser is led on, as documented.
        assert_eq!(browser.send(url, sent(Method::GET, "*/*", &[])).await.status, 302, "{url}");
    }
    until("a page is still led to the login", async || browser.get(URL).await.status == 302).await;
}
