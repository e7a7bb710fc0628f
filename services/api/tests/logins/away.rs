//! What goes on while others are away.

use crate::{
    browser::Browser,
    world::{World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab";

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
    let (form, _) = browser.follow(URL).await;
    let callback = browser.submit(&form, "ann").await.location().to_owned();
    world.database.go_away().await;
    let answer = browser.get(&callback).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.headers.contains_key("retry-after") && answer.body.contains("Nobody can log in right now")
    );
    let exchange = format!("https://{HOST}/.well-known/tapis-pods/session?ticket={}", "x".repeat(43));
    assert_eq!(browser.get(&exchange).await.status, 503);
    world.database.come_back().await;
    // The state was not taken, so the page that looks again gets to the end.
    until("the login ends well", async || browser.follow(&callback).await.0 == URL).await;
}
