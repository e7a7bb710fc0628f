//! The OAuth clients at the platform.

use diesel_async::RunQueryDsl;
use serde_json::Value;

use crate::{
    browser::Browser,
    world::{World, entry},
};

const URL: &str = "https://shop.pods.dev.example.org/lab";

/// The clients that the service has in a tenant, as the platform lists them.
async fn clients(world: &World) -> Vec<Value> {
    let subject = dev_tapis::tokens::Subject {
        tenant_id: "admin".to_owned(),
        username: "pods".to_owned(),
        target_site: Some("dev".to_owned()),
        client_id: None,
        grant_type: "service",
    };
    let token = world.platform.platform().mint(&subject, dev_tapis::tokens::Kind::Access, 600).unwrap();
    let answer: Value = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("http://{}/v3/oauth2/clients", world.platform.address()))
        .header("x-tapis-token", token)
        .header("x-tapis-tenant", "dev")
        .header("x-tapis-user", "_tapis_pods")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["result"].as_array().unwrap().clone()
}

pub async fn sql(world: &World, statement: &str) {
    diesel::sql_query(statement).execute(&mut *world.database.conn().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_registered_once_and_goes_with_its_pod() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"])), ("admin", entry(&["*"]))]).await;
    assert!(clients(&world).await.is_empty(), "nobody needed one yet");
    for user in ["ann", "bob"] {
        Browser::new(&world, &[&shop]).log_in(URL, user).await;
    }
    Browser::new(&world, &[&shop]).log_in("https://shop-admin.pods.dev.example.org/", "ann").await;
    let registered = clients(&world).await;
    let ids: Vec<&str> = registered.iter().map(|client| client["client_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["PODS-SERVICE-pods-dev-dev-shop-admin", "PODS-SERVICE-pods-dev-dev-shop-default"]);
    let base = format!("http://{}", world.platform.address());
    assert_eq!(registered[1]["callback_url"], format!("{base}/v3/pods/shop/auth/callback"));
    assert_eq!(registered[0]["callback_url"], format!("{base}/v3/pods/shop-admin/auth/callback"));
    let created: Vec<&Value> = registered.iter().map(|client| &client["last_update_time"]).collect();
    Browser::new(&world, &[&shop]).log_in(URL, "ann").await;
    let now = clients(&world).await;
    assert_eq!(
        now.iter().map(|client| &client["last_update_time"]).collect::<Vec<_>>(),
        created,
        "untouched"
    );

    let key = registered[1]["client_key"].as_str().unwrap();
    let stored: String = {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            text: String,
        }
        let row: Row =
            diesel::sql_query("SELECT string_agg(encode(sealed, 'escape'), ' ') AS text FROM oauth_clients")
                .get_result(&mut *world.database.conn().await)
                .await
                .unwrap();
        row.text
    };
    assert!(!stored.contains(key), "the key is sealed");

    world.upkeep().turn().await.unwrap();
    assert_eq!(clients(&world).await.len(), 2, "both are needed");
    world.delete(&shop).await;
    world.upkeep().turn().await.unwrap();
    assert!(clients(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_with_its_entry() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"])), ("admin", entry(&["*"]))]).await;
    Browser::new(&world, &[&shop]).log_in(URL, "ann").await;
    Browser::new(&world, &[&shop]).log_in("https://shop-admin.pods.dev.example.org/", "ann").await;
    sql(&world, "UPDATE pods SET networking = networking - 'admin', revision = revision + 1").await;
    world.upkeep().turn().await.unwrap();
    assert_eq!(clients(&world).await.len(), 2, "an entry is asked now and then");
    sql(&world, "UPDATE oauth_clients SET checked_ts = now() - interval '1 hour'").await;
    world.upkeep().turn().await.unwrap();
    let left = clients(&world).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["client_id"], "PODS-SERVICE-pods-dev-dev-shop-default");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_away_is_asked_again() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    Browser::new(&world, &[&shop]).log_in(URL, "ann").await;
    world.delete(&shop).await;
    world.platform.stop().await;
    world.upkeep().turn().await.unwrap();
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        tries: i32,
        #[diesel(sql_type = diesel::sql_types::Bool)]
        later: bool,
    }
    let row: Row = diesel::sql_query("SELECT tries, next_try_ts > now() AS later FROM oauth_clients")
        .get_result(&mut *world.database.conn().await)
        .await
        .unwrap();
    assert_eq!((row.tries, row.later), (1, true), "it is not forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_somebody_else_took_keeps_no_pod_from_having_visitors() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let taken = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("http://{}/v3/oauth2/clients", world.platform.address()))
        .header("x-tapis-token", world.token("dev", "bob", 600))
        .json(&serde_json::json!({
            "client_id": "PODS-SERVICE-pods-dev-dev-shop-default", "callback_url": "https://evil.example/"
        }))
        .send()
        .await
        .unwrap();
    assert_eq!(taken.status(), 200);
    let browser = Browser::new(&world, &[&shop]);
    let (end, answer) = browser.log_in(URL, "ann").await;
    assert_eq!((end.as_str(), answer.told("x-tapis-username")), (URL, Some("ann")));
    let ours = clients(&world).await;
    assert_eq!(ours.len(), 1);
    assert!(ours[0]["client_id"].as_str().unwrap().starts_with("PODS-SERVICE-pods-dev-dev-shop-default-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_platform_forgot_is_registered_again() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    browser.log_in(URL, "ann").await;
    // The key changed under us: the login that notices it fails, the next one works.
    sql(&world, "UPDATE oauth_clients SET key_id = NULL, sealed = NULL, key_ts = NULL").await;
    let other = Browser::new(&world, &[&shop]);
    let (end, _) = other.log_in(URL, "bob").await;
    assert_eq!(end, URL);
    assert_eq!(clients(&world).await.len(), 1);
}
