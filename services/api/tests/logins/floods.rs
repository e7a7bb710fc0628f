//! Scripts without an account: they keep nobody from logging in, and leave nothing behind.

use diesel_async::RunQueryDsl;
use futures::{StreamExt, stream};

use crate::{
    browser::{Answer, Browser},
    world::{World, entry},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab";
const NONCE: &str = "__Host-tapis-pods-login";

/// Sends so many requests for an address, a few at a time.
async fn flood(browser: &Browser<'_>, url: &str, requests: usize) -> Vec<Answer> {
    stream::iter(0..requests).map(|_| browser.get(url)).buffer_unordered(4).collect().await
}

async fn rows(world: &World) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let row: Row = diesel::sql_query(
        "SELECT (SELECT count(*) FROM login_states_used) + (SELECT count(*) FROM login_tickets) AS count",
    )
    .get_result(&mut *world.database.conn().await)
    .await
    .unwrap();
    row.count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_that_begin_disturbs_no_other_login() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let (browser, script) = (Browser::new(&world, &[&shop]), Browser::new(&world, &[&shop]));
    let (form, _) = browser.follow(URL).await;
    let auth = format!("http://{}/v3/pods/shop/auth?login=x", world.platform.address());
    let answers = flood(&script, &auth, 1100).await;
    assert!(answers.iter().all(|answer| answer.status == 302), "nobody is counted");
    assert_eq!(rows(&world).await, 0, "nothing is left of them");
    // Whoever took as long to type a password as the flood lasted gets in, and so does the next one.
    let answer = browser.submit(&form, "ann").await;
    let (end, answer) = browser.follow_from(form, answer).await;
    assert_eq!((end.as_str(), answer.told("x-tapis-username")), (URL, Some("ann")));
    let next = Browser::new(&world, &[&shop]);
    assert_eq!(next.log_in(URL, "bob").await.0, URL);
    // Made-up codes for states that the script was given leave nothing either.
    let before = rows(&world).await;
    let state: url::Url = answers[0].location().parse().unwrap();
    let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let callback =
        format!("http://{}/v3/pods/shop/auth/callback?state={state}&code=made-up", world.platform.address());
    assert!(flood(&script, &callback, 50).await.iter().all(|answer| answer.status == 400));
    assert_eq!(rows(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_strangers_do_not_reach_the_database() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let begun: url::Url = browser.get(URL).await.location().parse().unwrap();
    let login = begun.query_pairs().find(|(name, _)| name == "login").unwrap().1.into_owned();
    let session = format!("https://{HOST}/.well-known/tapis-pods/session");
    let good = format!("{session}?ticket={}&login={login}", "x".repeat(43));
    assert_eq!(browser.get(&good).await.status, 400, "there is no such ticket");
    world.database.go_away().await;
    assert_eq!(browser.get(&good).await.status, 503, "the browser that began has to know");
    let stranger = Browser::new(&world, &[&shop]);
    stranger.set_cookie(HOST, NONCE, &"n".repeat(43));
    for bad in [
        good.clone(),
        format!("{session}?ticket={}", "x".repeat(43)),
        format!("{session}?ticket={}&login=x", "x".repeat(43)),
    ] {
        assert_eq!(stranger.get(&bad).await.status, 400, "{bad}");
    }
    let malformed = format!("{session}?ticket=x&login={login}");
    assert_eq!(browser.get(&malformed).await.status, 400);
    world.database.come_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_fails_is_not_asked_by_every_visitor() {
    let world = World::start().await;
    let shop = world.pod_of("gone", "shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let url = "https://shop.pods.gone.example.org/";
    let begun = browser.get(url).await.location().to_owned();
    assert!(begun.starts_with(&format!("http://{}/v3/pods/shop/auth?", world.gone.address)), "{begun}");
    assert_eq!(world.gone.asked(), 0);
    let answer = browser.get(&begun).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    let asked = world.gone.asked();
    assert!(asked > 0);
    assert!(flood(&browser, &begun, 50).await.iter().all(|answer| answer.status == 503));
    assert_eq!(world.gone.asked(), asked, "the others were told at once");
}
