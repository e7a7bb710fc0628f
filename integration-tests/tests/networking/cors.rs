//! What browsers of other origins may do, as the guide's example configures it.

use std::collections::BTreeMap;

use integration_tests::{
    Scene, await_condition,
    programs::{Reply, curl},
    wait::LIMIT,
};
use serde_json::{Value, json};

use crate::guide::{shown, web_pod};

/// The middleware that the guide shows for its example.
fn middleware_of_the_guide() -> Value {
    json!({ "headers": {
        "accessControlAllowOriginList": [
            "https://myfrontend.pods.tacc.tapis.io",
            "https://myfrontendauthtest.pods.tacc.tapis.io",
            "https://myfrontendstaging.pods.tacc.tapis.io",
        ],
        "accessControlAllowMethods": ["GET", "POST", "OPTIONS", "DELETE", "PUT", "HEAD", "PATCH"],
        "accessControlAllowHeaders": ["content-type", "x-tapis-token", "TAPIS-VALIDATED-USERNAME"],
        "accessControlAllowCredentials": false,
        "accessControlMaxAge": 100,
        "addVaryHeader": true,
    } })
}

/// What the proxy is told to do with requests for a host: the middlewares of its router, in their order.
async fn middlewares(scene: &Scene, host: &str) -> Vec<Value> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let document = http.get(format!("{}/traefik-config", scene.env.edge_url)).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let routers = document["http"]["routers"].as_object().unwrap();
    let router = routers.values().find(|router| router["rule"] == format!("Host(`{host}`)"));
    let names = router.unwrap_or_else(|| panic!("{host} has no router"))["middlewares"].as_array().unwrap();
    names.iter().map(|name| document["http"]["middlewares"][name.as_str().unwrap()].clone()).collect()
}

/// Asks as a browser does before a request of another origin.
async fn preflight(scene: &Scene, host: &str, origin: &str, method: &str) -> Reply {
    let origin = format!("Origin: {origin}");
    let method = format!("Access-Control-Request-Method: {method}");
    let headers = "Access-Control-Request-Headers: content-type,x-tapis-token";
    let options = [
        "--request",
        "OPTIONS",
        "--header",
        origin.as_str(),
        "--header",
        method.as_str(),
        "--header",
        headers,
    ];
    curl(&scene.env, None, (host, "/"), &options).await.unwrap()
}

/// What a preflight's answer says about the other origin.
fn granted(reply: &Reply) -> BTreeMap<&str, &str> {
    let ours = |name: &str| name.starts_with("access-control-");
    let found = reply.headers.iter().filter(|(name, _)| ours(name));
    found.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn the_middleware_is_the_guides_and_does_what_it_says() {
    let scene = Scene::new().await;
    let id = web_pod(&scene, "networking-cors").await;
    let host = scene.env.pod_host(&id, "default");
    scene.visitor.await_page(&host, "/", 200, "It works").await;
    let middleware = middleware_of_the_guide();
    let found = middlewares(&scene, &host).await;
    let cors: Vec<&Value> = found.iter().filter(|one| one.get("headers").is_some()).collect();
    assert_eq!(cors, [&middleware]);

    let words = |name: &str| {
        let list = middleware["headers"][name].as_array().unwrap();
        list.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>()
    };
    let (methods, headers) =
        (words("accessControlAllowMethods").join(","), words("accessControlAllowHeaders").join(","));
    for origin in words("accessControlAllowOriginList") {
        for method in words("accessControlAllowMethods") {
            let reply = preflight(&scene, &host, origin, method).await;
            let expected = BTreeMap::from([
                ("access-control-allow-origin", origin),
                ("access-control-allow-methods", methods.as_str()),
                ("access-control-allow-headers", headers.as_str()),
                ("access-control-max-age", "100"),
            ]);
            assert_eq!((reply.code, granted(&reply)), (200, expected), "{reply:?}");
        }
        // The request itself, and the pod's own answer to it.
        let reply =
            curl(&scene.env, None, (&host, "/"), &["--header", &format!("Origin: {origin}")]).await.unwrap();
        assert!(reply.code == 200 && reply.text.contains("It works"), "{reply:?}");
        assert_eq!(granted(&reply), BTreeMap::from([("access-control-allow-origin", origin)]));
        assert!(reply.header("vary").split(',').any(|name| name.trim() == "Origin"), "{reply:?}");
    }
    let stranger = preflight(&scene, &host, "https://evil.example", "GET").await;
    assert_eq!(stranger.header("access-control-allow-origin"), "", "{stranger:?}");
    let stranger =
        curl(&scene.env, None, (&host, "/"), &["--header", "Origin: https://evil.example"]).await.unwrap();
    assert_eq!(granted(&stranger), BTreeMap::new(), "{stranger:?}");
}

#[tokio::test]
async fn a_login_does_not_stand_in_the_way_of_a_preflight_request() {
    let scene = Scene::new().await;
    let id = web_pod(&scene, "networking-cors").await;
    let host = scene.env.pod_host(&id, "default");
    let mut networking = shown("networking-cors");
    networking["default"]["tapis_auth"] = true.into();
    scene.alice.put(&format!("/v3/pods/{id}"), json!({ "networking": networking })).await.result();
    scene.visitor.await_page(&host, "/", 302, "").await;
    let origin = "https://myfrontend.pods.tacc.tapis.io";
    let reply = await_condition("the preflight is answered", LIMIT, || async {
        let reply = preflight(&scene, &host, origin, "PUT").await;
        if reply.code == 200 { Ok(reply) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert_eq!(reply.header("access-control-allow-origin"), origin, "{reply:?}");
}
