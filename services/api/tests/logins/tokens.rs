//! Programs that send a token of the platform.

use dev_tapis::tokens::{Kind, Subject};
use pods_core::Level;

use crate::{
    browser::{Browser, Sent},
    world::{World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/api?x=1";

fn with_token(token: &str) -> Sent<'static> {
    Sent {
        headers: vec![("accept", "*/*".to_owned()), ("x-tapis-token", token.to_owned())],
        ..Sent::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_header_passes_and_stays_here() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["Ann"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let answer = browser.send(URL, with_token(&world.token("dev", "ann", 600))).await;
    assert_eq!((answer.told("x-tapis-username"), answer.told("x-tapis-token")), (Some("ann"), None));
    assert!(browser.set.borrow().is_empty(), "a program gets no session");

    let none = Sent { headers: vec![("accept", "*/*".to_owned())], ..Sent::default() };
    let answer = browser.send(URL, none).await;
    assert_eq!(answer.status, 302, "as documented");

    let service = Subject {
        tenant_id: "admin".to_owned(),
        username: "pods".to_owned(),
        target_site: Some("dev".to_owned()),
        client_id: None,
        grant_type: "service",
    };
    let service = world.platform.platform().mint(&service, Kind::Access, 600).unwrap();
    let refresh = Subject {
        tenant_id: "dev".to_owned(),
        username: "ann".to_owned(),
        target_site: None,
        client_id: None,
        grant_type: "password",
    };
    let refresh = world.platform.platform().mint(&refresh, Kind::Refresh, 600).unwrap();
    let good = world.token("dev", "ann", 600);
    // Some signatures end like this one, none is made of this letter alone.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let tampered = format!("{signed}.{}", "A".repeat(signature.len()));
    for (bad, code) in [
        ("nonsense", "token_malformed"),
        (&world.token("dev", "ann", -5), "token_expired"),
        (&refresh, "token_not_access"),
        (&service, "token_not_of_a_user"),
        (&tampered, "token_signature"),
    ] {
        let answer = browser.send(URL, with_token(bad)).await;
        assert_eq!(answer.status, 403, "{code}");
        assert!(answer.body.contains(&format!("\"code\":\"{code}\"")), "{code}: {}", answer.body);
        assert!(answer.headers.get("location").is_none() && !answer.body.contains(bad));
        let mut sent = with_token(bad);
        sent.headers[0].1 = "text/html".to_owned();
        assert_eq!(browser.send(URL, sent).await.status, 302, "a browser can log in: {code}");
    }
    let mut twice = with_token(&good);
    twice.headers.push(("x-tapis-token", good.clone()));
    assert_eq!(browser.send(URL, twice).await.status, 403);

    let answer = browser.send(URL, with_token(&world.token("dev", "bob", 600))).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("\"code\":\"not_listed\""), "{}", answer.body);

    // A cookie of that name is no login.
    browser.set_cookie(HOST, "X-Tapis-Token", &good);
    assert_eq!(browser.get(URL).await.status, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_its_user_took_back_is_no_login() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (kept, revoked) = (world.token("dev", "ann", 600), world.token("dev", "ann", 600));
    world.platform.platform().revoke_token(&revoked).unwrap();
    let answer = browser.send(URL, with_token(&revoked)).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("\"code\":\"token_revoked\""), "{}", answer.body);
    assert_eq!(browser.send(URL, with_token(&kept)).await.status, 200);
    // While the platform is away, what a token says has to do; what is known stays known.
    let unknown = world.token("dev", "ann", 600);
    world.platform.stop().await;
    assert_eq!(browser.send(URL, with_token(&unknown)).await.status, 200);
    assert_eq!(browser.send(URL, with_token(&revoked)).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tenants_pass_where_the_pod_was_opened_to_them() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let named = world.pod("named", &[("default", entry(&["ann", "AUTHORIZED_READS"]))]).await;
    let browser = Browser::new(&world, &[&shop, &named]);
    let token = world.token("two", "ann", 600);
    let answer = browser.send(URL, with_token(&token)).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("\"code\":\"other_tenant\""), "{}", answer.body);
    world.grant(&shop, "tenant.two", Level::Read).await;
    until("the tenant passes", async || browser.send(URL, with_token(&token)).await.status == 200).await;
    let answer = browser.send(URL, with_token(&token)).await;
    assert_eq!(
        answer.told("internal"),
        Some("ann.two.dev"),
        "nobody is taken for somebody of the pod's tenant"
    );
    world.grant(&named, "tenant.two", Level::Read).await;
    let url = "https://named.pods.dev.example.org/";
    until("the group passes", async || browser.send(url, with_token(&token)).await.status == 200).await;
    world.grant(&shop, "tenant.two", Level::None).await;
    until("the tenant does not pass any more", async || {
        browser.send(URL, with_token(&token)).await.status == 403
    })
    .await;
}
