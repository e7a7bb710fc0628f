//! Sessions at entries that demand no login.

use pods_core::Networking;

use crate::{
    browser::Browser,
    clients::sql,
    world::{World, entry, until},
};

const HOST: &str = "shop.pods.dev.example.org";
const URL: &str = "https://shop.pods.dev.example.org/lab";
const LOGIN: &str = "https://shop.pods.dev.example.org/.well-known/tapis-pods/login?return=/lab";
const SESSION: &str = "__Host-tapis-pods-session";

async fn demand_login(world: &World, demanded: bool) {
    let value = format!("jsonb_set(networking, '{{default,tapis_auth}}', '{demanded}')");
    sql(world, &format!("UPDATE pods SET networking = {value}, revision = revision + 1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readers_session_does_not_open_an_entry_that_is_closed_later() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", Networking { tapis_auth: false, ..entry(&["*"]) })]).await;
    let reader = Browser::new(&world, &[&shop]);
    reader.log_in(LOGIN, "ann").await;
    let session = reader.cookie(HOST, SESSION).unwrap();

    let mut closed = shop.clone();
    closed.definition.networking.get_mut("default").unwrap().tapis_auth = true;
    demand_login(&world, true).await;
    let stranger = Browser::new(&world, &[&closed]);
    until("the entry is closed", async || stranger.get(URL).await.status == 302).await;
    let copy = Browser::new(&world, &[&closed]);
    copy.set_cookie(HOST, SESSION, &session);
    assert_eq!(copy.get(URL).await.status, 302, "it is no session of a visitor");
    copy.log_in(URL, "ann").await;
    assert_eq!(copy.get(URL).await.told("x-tapis-username"), Some("ann"));
    // A logout ends whatever the browser has.
    let logout = crate::browser::Sent { method: reqwest::Method::POST, ..Default::default() };
    let url = format!("https://{HOST}/.well-known/tapis-pods/logout");
    assert_eq!(reader.send(&url, logout).await.status, 200);
    demand_login(&world, false).await;
    until("the entry is open", async || stranger.get(URL).await.status == 200).await;
    let page = status_page(&world, &session).await;
    assert!(page.contains("This pod is") && !page.contains("<strong>ann</strong>"), "{page}");
}

/// The page that the catch-all shows for the pod to whoever has this session.
async fn status_page(world: &World, session: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(format!("http://{}/visitor/", world.edge.address))
        .header("host", HOST)
        .header("accept", "text/html")
        .header("cookie", format!("{SESSION}={session}"));
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_pod_sees_why_it_failed_without_being_on_its_list() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["bob"]))]).await;
    sql(&world, "UPDATE pods SET status = 'ERROR', revision = revision + 1").await;
    let owner = Browser::new(&world, &[&shop]);
    let (end, answer) = owner.log_in(LOGIN, "ann").await;
    assert_eq!((end.as_str(), answer.status.as_u16()), (URL, 403), "the pod itself is not for ann");
    assert!(answer.body.contains("/.well-known/tapis-pods/logout"), "{}", answer.body);
    let session = owner.cookie(HOST, SESSION).unwrap();
    until("the reader's page is about the failure", async || {
        let page = status_page(&world, &session).await;
        page.contains("This pod is not running") && page.contains("<strong>ann</strong>")
    })
    .await;
    let page = status_page(&world, &session).await;
    assert!(page.contains("What is known"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_pod_without_a_route_can_log_in_to_see_why() {
    let world = World::start().await;
    let unroutable = Networking { ip_allow_list: vec!["nonsense".to_owned()], ..Networking::default() };
    let shop = world.pod("shop", &[("default", unroutable)]).await;
    sql(&world, "UPDATE pods SET status = 'AVAILABLE', revision = revision + 1").await;
    let owner = Browser::new(&world, &[&shop]);
    let (end, _) = owner.log_in(LOGIN, "ann").await;
    assert_eq!(end, URL);
    let session = owner.cookie(HOST, SESSION).unwrap();
    until("the reader's page is about the route", async || {
        let page = status_page(&world, &session).await;
        page.contains("This pod cannot be reached") && page.contains("<strong>ann</strong>")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_logs_in_where_the_container_would_see_the_login() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", Networking::default())]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (form, _) = browser.follow(LOGIN).await;
    let begun = browser.get(LOGIN).await.location().to_owned();
    sql(&world, "UPDATE pods SET status = 'AVAILABLE', revision = revision + 1").await;
    let home = format!("https://{HOST}/");
    let auth = format!("http://{}/v3/pods/shop/auth", world.platform.address());
    for url in [&begun, &auth] {
        let answer = browser.get(url).await;
        assert_eq!((answer.status.as_u16(), answer.location()), (302, home.as_str()), "{url}");
    }
    // A login that began before the pod ran ends without a ticket.
    let callback = browser.submit(&form, "ann").await.location().to_owned();
    let answer = browser.get(&callback).await;
    assert_eq!((answer.status.as_u16(), answer.location()), (302, home.as_str()));
}
