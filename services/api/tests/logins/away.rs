//! What goes on while others are away.

use pods_db::pods::PodRow;

use crate::{
    browser::Browser,
    world::{Replica, World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab";
const SESSION: &str = "__Host-tapis-pods-session";

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_on_without_api_platform_and_postgres_and_nobody_is_led_to_a_login() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let (known, stranger) = (Browser::new(&world, &[&shop]), Browser::new(&world, &[&shop]));
    known.log_in(URL, "ann").await;
    world.platform.stop().await;
    world.stop_api().await;
    until("the edge sees that the API is away", async || stranger.get(URL).await.status == 503).await;
    let answer = stranger.get(URL).await;
    assert!(answer.headers.contains_key("retry-after"));
    assert!(answer.body.contains("Nobody can log in right now"), "{}", answer.body);
    world.database.go_away().await;
    for _ in 0..20 {
        assert_eq!(known.get(URL).await.told("x-tapis-username"), Some("ann"));
    }
    // A logout counts here at once.
    let logout = crate::browser::Sent { method: reqwest::Method::POST, ..Default::default() };
    let answer = known.send(&format!("https://{HOST}/.well-known/tapis-pods/logout"), logout).await;
    assert_eq!(answer.status, 200);
    assert_eq!(known.get(URL).await.status, 503);
    world.database.come_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_without_postgres_is_told_to_the_others_later() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let replica = world.another_edge().await;
    let browser = Browser::new(&world, &[&shop]);
    browser.log_in(URL, "ann").await;
    let copy = Browser::new(&world, &[&shop]).at(&replica);
    let name = "__Host-tapis-pods-session";
    copy.set_cookie(HOST, name, &browser.cookie(HOST, name).unwrap());
    until("the other edge knows the pod", async || copy.get(URL).await.status == 200).await;
    world.database.go_away().await;
    let logout = crate::browser::Sent { method: reqwest::Method::POST, ..Default::default() };
    assert_eq!(
        browser.send(&format!("https://{HOST}/.well-known/tapis-pods/logout"), logout).await.status,
        200
    );
    assert_eq!(copy.get(URL).await.status, 200, "the other one cannot know");
    world.database.come_back().await;
    until("the other one knows", async || copy.get(URL).await.status == 302).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_way_back_says_so() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let begun = browser.get(URL).await;
    let (form, _) = browser.follow(URL).await;
    let callback = browser.submit(&form, "ann").await.location().to_owned();
    world.database.go_away().await;
    let answer = browser.get(&callback).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.headers.contains_key("retry-after") && answer.body.contains("Nobody can log in right now")
    );
    let login = begun.location().split_once("&login=").unwrap().1;
    let exchange =
        format!("https://{HOST}/.well-known/tapis-pods/session?ticket={}&login={login}", "x".repeat(43));
    assert_eq!(browser.get(&exchange).await.status, 503);
    world.database.come_back().await;
    // The state was not taken, so the page that looks again gets to the end.
    until("the login ends well", async || browser.follow(&callback).await.0 == URL).await;
}

/// Another browser that has the session cookie of this one, at another replica.
fn copy_of<'w>(world: &'w World, browser: &Browser<'w>, shop: &PodRow, replica: &Replica) -> Browser<'w> {
    let copy = Browser::new(world, &[shop]).at(replica);
    copy.set_cookie(HOST, SESSION, &browser.cookie(HOST, SESSION).unwrap());
    copy
}

async fn log_out(browser: &Browser<'_>) {
    let logout = crate::browser::Sent { method: reqwest::Method::POST, ..Default::default() };
    let answer = browser.send(&format!("https://{HOST}/.well-known/tapis-pods/logout"), logout).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_starts_without_postgres_knows_who_is_logged_in_and_who_logged_out() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let [stays, went, leaves] = std::array::from_fn(|_| Browser::new(&world, &[&shop]));
    for browser in [&stays, &went, &leaves] {
        browser.log_in(URL, "ann").await;
    }
    // One logs out before Postgres goes away, one when it is gone already.
    let old = [&went, &leaves].map(|browser| browser.cookie(HOST, SESSION).unwrap());
    log_out(&went).await;
    world.database.go_away().await;
    log_out(&leaves).await;

    let edge = world.edge_from_disk(&[]).await;
    world.edge.stop();
    let stays = copy_of(&world, &stays, &shop, &edge);
    until("the session goes on", async || stays.get(URL).await.status == 200).await;
    assert_eq!(stays.get(URL).await.told("x-tapis-username"), Some("ann"));
    let gone = old.map(|cookie| {
        let browser = Browser::new(&world, &[&shop]).at(&edge);
        browser.set_cookie(HOST, SESSION, &cookie);
        browser
    });
    for browser in &gone {
        assert_eq!(browser.get(URL).await.status, 503, "logged out, and nobody can log in");
    }

    world.database.come_back().await;
    let other = world.another_edge().await;
    let leaves = Browser::new(&world, &[&shop]).at(&other);
    leaves.set_cookie(HOST, SESSION, &gone[1].cookie(HOST, SESSION).unwrap());
    until("the others are told", async || leaves.get(URL).await.status == 302).await;
    assert_eq!(stays.get(URL).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_starts_without_postgres_asks_the_others_who_logged_out() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let other = world.another_edge().await;
    let (stays, leaves) = (Browser::new(&world, &[&shop]), Browser::new(&world, &[&shop]));
    stays.log_in(URL, "ann").await;
    leaves.log_in(URL, "bob").await;
    let at_other = copy_of(&world, &leaves, &shop, &other);
    until("the other edge knows the pod", async || at_other.get(URL).await.status == 200).await;
    world.database.go_away().await;
    log_out(&at_other).await;

    let edge = world.edge_from_disk(&[other.address]).await;
    let stays = copy_of(&world, &stays, &shop, &edge);
    until("the session goes on", async || stays.get(URL).await.status == 200).await;
    assert_eq!(copy_of(&world, &leaves, &shop, &edge).get(URL).await.status, 503, "the other one said so");
    world.database.come_back().await;
}
