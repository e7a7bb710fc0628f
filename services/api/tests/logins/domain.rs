//! Domains of users' own.

use pods_core::Networking;

use crate::{
    browser::Browser,
    clients::sql,
    world::{World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab";
const DOMAIN: &str = "shop.example.com";
const AT_DOMAIN: &str = "https://shop.example.com/lab?x=1";
const SESSION: &str = "__Host-tapis-pods-session";

/// As health writes it, once the record was seen or is gone.
async fn proven(world: &World, proven: bool) {
    let value = format!("jsonb_set(networking, '{{default,custom_domain_verified}}', '{proven}')");
    sql(world, &format!("UPDATE pods SET networking = {value}, revision = revision + 1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_has_sessions_of_its_own() {
    let world = World::start().await;
    let with_domain = Networking { custom_domain: DOMAIN.to_owned(), ..entry(&["*"]) };
    let shop = world.pod("shop", &[("default", with_domain)]).await;
    let browser = Browser::new(&world, &[&shop]);
    assert_eq!(browser.get(AT_DOMAIN).await.status, 404, "anybody may name a domain");
    proven(&world, true).await;
    until("the domain counts", async || browser.get(AT_DOMAIN).await.status == 302).await;

    let (end, answer) = browser.log_in(AT_DOMAIN, "ann").await;
    assert_eq!((end.as_str(), answer.told("x-tapis-username")), (AT_DOMAIN, Some("ann")));
    assert_eq!(browser.cookie(HOST, SESSION), None);
    let at_domain = browser.cookie(DOMAIN, SESSION).unwrap();
    assert_eq!(browser.get(URL).await.status, 302, "nobody is logged in at the other host");
    browser.set_cookie(HOST, SESSION, &at_domain);
    assert_eq!(browser.get(URL).await.status, 302, "nor with a copy");

    let other = Browser::new(&world, &[&shop]);
    other.log_in(URL, "bob").await;
    other.set_cookie(DOMAIN, SESSION, &other.cookie(HOST, SESSION).unwrap());
    assert_eq!(other.get(AT_DOMAIN).await.status, 302, "nor the other way round");

    // A domain that is lost takes its sessions along; a login under way does not end there.
    let stranger = Browser::new(&world, &[&shop]);
    let (form, _) = stranger.follow(AT_DOMAIN).await;
    let callback = stranger.submit(&form, "ann").await.location().to_owned();
    proven(&world, false).await;
    until("the domain does not count", async || browser.get(AT_DOMAIN).await.status == 404).await;
    assert_eq!(stranger.get(&callback).await.status, 400);
    assert_eq!(other.get(URL).await.status, 200, "the pod's own host goes on");
}
