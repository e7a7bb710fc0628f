//! The OAuth clients at the platform.

use diesel_async::RunQueryDsl;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    world::{World, entry, until},
};

const URL: &str = "https://shop.pods.dev.example.org/lab";
const CLIENT: &str = "PODS-SERVICE-pods-dev-dev-shop-default";

/// What the platform answers to the service about the clients of a tenant.
async fn ask(world: &World, method: Method, client: &str, body: &Value) -> Value {
    let subject = dev_tapis::tokens::Subject {
        tenant_id: "admin".to_owned(),
        username: "pods".to_owned(),
        target_site: Some("dev".to_owned()),
        client_id: None,
        grant_type: "service",
    };
    let token = world.platform.platform().mint(&subject, dev_tapis::tokens::Kind::Access, 600).unwrap();
    let url = format!("http://{}/v3/oauth2/clients{client}", world.platform.address());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .request(method, url)
        .header("x-tapis-token", token)
        .header("x-tapis-tenant", "dev")
        .header("x-tapis-user", "_tapis_pods")
        .json(body);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// The clients that the service has in a tenant, as the platform lists them.
async fn clients(world: &World) -> Vec<Value> {
    ask(world, Method::GET, "", &Value::Null).await["result"].as_array().unwrap().clone()
}

/// The platform loses the pod's client.
async fn lose(world: &World) {
    ask(world, Method::DELETE, &format!("/{CLIENT}"), &Value::Null).await;
}

/// Somebody else registers a client under the id that the pod's would have.
async fn take_the_id(world: &World) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .post(format!("http://{}/v3/oauth2/clients", world.platform.address()))
        .header("x-tapis-token", world.token("dev", "bob", 600))
        .json(&json!({"client_id": CLIENT, "callback_url": "https://evil.example/"}));
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// The next login asks the platform for the client again.
async fn long_ago(world: &World) {
    sql(world, "UPDATE oauth_clients SET key_ts = now() - interval '11 minutes'").await;
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
    take_the_id(&world).await;
    let browser = Browser::new(&world, &[&shop]);
    let (end, answer) = browser.log_in(URL, "ann").await;
    assert_eq!((end.as_str(), answer.told("x-tapis-username")), (URL, Some("ann")));
    let ours = clients(&world).await;
    assert_eq!(ours.len(), 1);
    assert!(ours[0]["client_id"].as_str().unwrap().starts_with("PODS-SERVICE-pods-dev-dev-shop-default-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_the_platform_lost_is_registered_again() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    Browser::new(&world, &[&shop]).log_in(URL, "ann").await;
    lose(&world).await;
    let (_, page) = Browser::new(&world, &[&shop]).follow(URL).await;
    assert_eq!(page.status, 400, "the platform knows no such client");
    long_ago(&world).await;
    let (end, answer) = Browser::new(&world, &[&shop]).log_in(URL, "bob").await;
    assert_eq!((end.as_str(), answer.told("x-tapis-username")), (URL, Some("bob")));
    assert_eq!(clients(&world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_counts_while_the_platform_cannot_be_asked_about_it() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    Browser::new(&world, &[&shop]).log_in(URL, "ann").await;
    long_ago(&world).await;
    // It refuses to tell the key: nothing says that the client is lost.
    lose(&world).await;
    take_the_id(&world).await;
    let browser = Browser::new(&world, &[&shop]);
    let begun = browser.get(URL).await.location().to_owned();
    let client_of = async || browser.get(&begun).await.location().contains(CLIENT);
    assert!(client_of().await);
    assert_eq!(rows(&world).await, 1);
    world.platform.stop().await;
    assert!(client_of().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_platform_changed_is_asked_for_again() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    let (form, _) = browser.follow(URL).await;
    let callback_url = clients(&world).await[0]["callback_url"].clone();
    lose(&world).await;
    ask(&world, Method::POST, "", &json!({"client_id": CLIENT, "callback_url": callback_url})).await;
    sql(&world, "UPDATE oauth_clients SET key_ts = now() - interval '2 minutes'").await;
    let answer = browser.submit(&form, "ann").await;
    let (_, answer) = browser.follow_from(form, answer).await;
    assert_eq!(answer.status, 503, "the login that notices it fails: {answer:?}");
    let (end, _) = browser.log_in(URL, "ann").await;
    assert_eq!(end, URL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_registered_after_its_pod_went_is_removed() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["*"]))]).await;
    // As if pod and row had gone while the platform registered the client.
    sql(
        &world,
        "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
           DELETE FROM oauth_clients WHERE client_id = NEW.client_id; RETURN NULL; END $$",
    )
    .await;
    sql(
        &world,
        "CREATE TRIGGER gone AFTER INSERT ON oauth_clients FOR EACH ROW \
         WHEN (NEW.unwanted_ts IS NULL) EXECUTE FUNCTION gone()",
    )
    .await;
    let (_, answer) = Browser::new(&world, &[&shop]).follow(URL).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(clients(&world).await.len(), 1);
    world.upkeep().turn().await.unwrap();
    assert!(clients(&world).await.is_empty());
}

/// Clients that no entry needs any more, looked at last an hour ago.
async fn needless_clients(world: &World, tenant_id: &str, count: usize, unwanted_ts: &str) {
    let statement = format!(
        "INSERT INTO oauth_clients (tenant_id, client_id, site_id, pod_uid, network, callback_url, created_ts, \
           checked_ts, unwanted_ts, next_try_ts) \
         SELECT '{tenant_id}', 'x-' || n, 'dev', gen_random_uuid(), 'default', 'http://x/', now(), \
           now() - interval '1 hour', {unwanted_ts}, now() - interval '1 hour' FROM generate_series(1, {count}) n"
    );
    sql(world, &statement).await;
}

async fn rows(world: &World) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let row: Row = diesel::sql_query("SELECT count(*) AS count FROM oauth_clients")
        .get_result(&mut *world.database.conn().await)
        .await
        .unwrap();
    row.count
}

#[tokio::test(flavor = "multi_thread")]
async fn one_turn_looks_at_all_clients() {
    let world = World::start().await;
    needless_clients(&world, "dev", 250, "NULL").await;
    world.upkeep().turn().await.unwrap();
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_hangs_keeps_no_new_pod_from_having_visitors() {
    let world = World::start().await;
    let old = world.pod("shop", &[("default", entry(&["*"]))]).await;
    Browser::new(&world, &[&old]).log_in(URL, "ann").await;
    needless_clients(&world, "gone", 1, "now()").await;
    world.delete(&old).await;
    let hanging = world.gone.hang().await;
    let upkeep = world.upkeep();
    let turn = tokio::spawn(async move { upkeep.turn().await });
    until("the other client is being removed", async || world.gone.asked() > 0).await;

    let new = world.pod("shop", &[("default", entry(&["*"]))]).await;
    let (end, _) = Browser::new(&world, &[&new]).log_in(URL, "ann").await;
    assert_eq!(end, URL);
    drop(hanging);
    turn.await.unwrap().unwrap();
    assert_eq!(clients(&world).await.len(), 1, "what was due before is the new pod's now");
    let (end, _) = Browser::new(&world, &[&new]).log_in(URL, "bob").await;
    assert_eq!(end, URL);
}
