//! A decision about somebody who has a session.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use futures::FutureExt;
use pods_core::visitor::{Gate, GatedPod};

use crate::{
    browser::Browser,
    world::{World, entry},
};

const HOST: &str = "shop.pods.dev.example.org";

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_with_a_session_asks_nobody() {
    let world = World::start().await;
    let shop = world.pod("shop", &[("default", entry(&["AUTHORIZED_READS"]))]).await;
    let browser = Browser::new(&world, &[&shop]);
    browser.log_in(&format!("https://{HOST}/"), "ann").await;
    let session = browser.cookie(HOST, "__Host-tapis-pods-session").unwrap();
    // Nobody could answer.
    world.platform.stop().await;
    world.stop_api().await;
    world.database.go_away().await;

    let tenant = shop.tenant();
    let permissions = [("ann".to_owned(), pods_core::Level::Admin)].into();
    let pod = GatedPod { tenant: &tenant, pod_id: "shop", uid: shop.uid, permissions: &permissions };
    let gate = Gate::new(pod, "default", &shop.definition.networking["default"]);
    let cookie = format!("theme=dark; __Host-tapis-pods-session={session}; other=1");
    let headers: HeaderMap = [
        ("x-forwarded-host", HOST),
        ("x-forwarded-uri", "/lab/tree?x=1"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-proto", "https"),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ("cookie", &cookie),
    ]
    .into_iter()
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
    .collect();

    let decided = world.edge.logins.forward(&headers, Some(&gate), false).now_or_never();
    assert_eq!(decided.expect("nothing is waited for").status(), 200);
    world.database.come_back().await;
}
