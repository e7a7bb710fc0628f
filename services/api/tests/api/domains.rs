//! Custom domains as users meet them: named, proven, explained. What DNS says is played by the test.

use pods_core::domains::{Answer, Claim, Patience, decide};
use pods_db::{domains, testing::now};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::TestApp;

const DOMAIN: &str = "shop.example.org";

/// A look of the checker at [`DOMAIN`], whose record names `named`.
async fn look(app: &TestApp, named: &[Uuid]) {
    let hour = chrono::TimeDelta::hours(1);
    let patience = Patience { recheck: hour, grace: hour, silence: hour };
    let conn = &mut *app.conn().await;
    let known = domains::claims(conn, DOMAIN).await.unwrap();
    let claims: Vec<Claim> = known.iter().map(|known| known.claim.clone()).collect();
    let answer = Answer::Names(named.iter().copied().collect());
    for verdict in decide(&claims, &answer, false, patience, now()) {
        let before = known.iter().find(|known| known.claim.pod_uid == verdict.after.pod_uid).unwrap();
        assert!(domains::record(conn, before, &verdict, now()).await.unwrap());
    }
}

fn named(domain: &str) -> Value {
    json!({"networking": {"default": {"port": 8080, "custom_domain": domain, "custom_domain_verified": true}}})
}

async fn entry(app: &TestApp) -> Value {
    app.alice().get("/v3/pods/shop").await.ok()["networking"]["default"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_verified_by_dns_and_not_by_its_user() {
    let app = TestApp::start().await;
    app.alice().create("shop", named("Shop.Example.org")).await;
    let uid = app.row("shop").await.uid;
    let first = entry(&app).await;
    assert_eq!((&first["custom_domain"], &first["custom_domain_verified"]), (&json!(DOMAIN), &json!(false)));

    let explained = app.alice().get("/v3/pods/shop/explain").await.ok();
    let note = &explained["networking"][0]["custom_domain"];
    assert_eq!(note["record_name"], "_tapis-pods.shop.example.org", "{explained}");
    assert_eq!(note["record_text"], format!("pod-uid={uid}"));
    assert!(explained["hints"].to_string().contains(note["record_text"].as_str().unwrap()), "{explained}");

    look(&app, &[uid]).await;
    assert_eq!(entry(&app).await["custom_domain_verified"], true);
    let explained = app.alice().get("/v3/pods/shop/explain").await.ok();
    assert_eq!(explained["networking"][0]["custom_domain"]["verified"], true);
    assert_eq!(explained["hints"], json!([]));

    // Another change of the entry leaves it verified, another domain does not.
    let port = json!({"networking": {"default": {"port": 80, "custom_domain": DOMAIN}}});
    app.alice().put("/v3/pods/shop", port).await.ok();
    assert_eq!(entry(&app).await["custom_domain_verified"], true);
    app.alice().put("/v3/pods/shop", named("other.example.org")).await.ok();
    assert_eq!(entry(&app).await["custom_domain_verified"], false);
    app.alice().put("/v3/pods/shop", named(DOMAIN)).await.ok();
    assert_eq!(entry(&app).await["custom_domain_verified"], false, "what it was before counts no more");
    let log = app.alice().get("/v3/pods/shop/logs").await.ok()["action_logs"].to_string();
    assert!(log.contains("Custom domain shop.example.org is verified"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_the_platform_are_refused() {
    let app = TestApp::start().await;
    // The test's own tenant, and another one.
    for domain in ["dev.localhost", "shop.dev.localhost", "shop.DEV-TWO.localhost", "shop.pods"] {
        let mut body = named(domain);
        body["pod_id"] = json!("shop");
        body["image"] = json!("busybox");
        let answer = app.alice().post("/v3/pods", body).await;
        assert_eq!(answer.status, 400, "{domain}: {}", answer.body);
        assert!(answer.body["message"].to_string().contains("custom_domain must not be"), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_leads_to_one_pod_of_any_tenant() {
    let app = TestApp::start().await;
    app.alice().create("shop", named(DOMAIN)).await;
    let alices = app.row("shop").await.uid;
    look(&app, &[alices]).await;
    app.other_alice().create("shop", named(DOMAIN)).await;
    look(&app, &[alices]).await;
    let other = app.other_alice().get("/v3/pods/shop/explain").await.ok();
    assert_eq!(other["networking"][0]["custom_domain"]["verified"], false, "{other}");
    assert!(!other.to_string().contains(&alices.to_string()), "whose it is is nobody's business");
    assert_eq!(entry(&app).await["custom_domain_verified"], true);

    app.alice().delete("/v3/pods/shop").await.ok();
    let text = other["networking"][0]["custom_domain"]["record_text"].as_str().unwrap();
    look(&app, &[text.strip_prefix("pod-uid=").unwrap().parse().unwrap()]).await;
    let other = app.other_alice().get("/v3/pods/shop").await.ok();
    assert_eq!(other["networking"]["default"]["custom_domain_verified"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_domain_is_refused() {
    let app = TestApp::start().await;
    app.alice().create("shop", json!({})).await;
    let long = format!("{}.org", ["a".repeat(60).as_str(); 4].join("."));
    for bad in [
        "localhost",
        "https://shop.example.org",
        "shop.example.org:443",
        "x.pods.example.org",
        "10.0.0.1",
        &long,
    ] {
        app.alice().put("/v3/pods/shop", named(bad)).await.is_invalid("custom_domain");
    }
    let twice = json!({"networking": {
        "default": {"custom_domain": DOMAIN}, "web": {"port": 80, "custom_domain": DOMAIN}}});
    app.alice().put("/v3/pods/shop", twice).await.is_invalid("custom_domain");
}
