//! What visitors of a pod's host get, in each state of the pod.

use integration_tests::{Scene, await_condition, wait::LIMIT};
use serde_json::json;

#[tokio::test]
async fn a_running_pod_is_reached_at_its_own_host_and_plain_http_leads_there() {
    let scene = Scene::new().await;
    let id = scene.httpd("visit").await;
    let pod = scene.alice.await_status(&id, "AVAILABLE").await;
    let host = scene.env.pod_host(&id, "default");
    assert_eq!(pod["networking"]["default"]["url"], host);
    scene.visitor.await_page(&host, "/", 200, "It works").await;

    let redirect = scene.visitor.http(&host, "/a/b?c=d").await;
    assert_eq!(redirect.code, 308, "{redirect:?}");
    assert_eq!(redirect.location, format!("https://{host}:{}/a/b?c=d", scene.env.https_port));

    let request = scene.visitor.https(&host, "/cgi-bin/env").await.text;
    assert!(request.contains(&format!("HTTP_HOST={host}")), "{request}");
    assert!(request.contains("X_FORWARDED_PROTO=https"), "{request}");
}

#[tokio::test]
async fn each_entry_has_its_own_host() {
    let scene = Scene::new().await;
    let id = scene.id("entries");
    let script = "mkdir /tmp/a /tmp/b /tmp/c; echo first > /tmp/a/index.html; echo second > /tmp/b/index.html; \
        echo inside > /tmp/c/index.html; \
        httpd -p 5000 -h /tmp/a; httpd -p 8000 -h /tmp/b; httpd -f -p 9000 -h /tmp/c";
    let networking = json!({
        "default": { "protocol": "http", "port": 5000 },
        "second": { "protocol": "http", "port": 8000 },
        "inside": { "protocol": "local_only", "port": 9000 },
    });
    let body = json!({ "pod_id": id, "image": "busybox", "command": ["sh", "-c", script], "networking": networking });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 200, "first").await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "second"), "/", 200, "second").await;
    let inside = scene.visitor.https(&scene.env.pod_host(&id, "inside"), "/").await;
    assert_eq!(inside.code, 404, "{inside:?}");
    assert!(!inside.text.contains("inside"), "{inside:?}");

    // A change of networking counts at once.
    let fewer = json!({ "networking": { "default": { "protocol": "http", "port": 8000 } } });
    scene.alice.put(&format!("/v3/pods/{id}"), fewer).await.result();
    scene.visitor.await_page(&scene.env.pod_host(&id, "second"), "/", 404, "There is no pod here").await;
}

#[tokio::test]
async fn ports_of_a_running_pod_can_be_changed_and_added() {
    let scene = Scene::new().await;
    let id = scene.id("ports");
    let script = "mkdir /tmp/a /tmp/b; echo first > /tmp/a/index.html; echo second > /tmp/b/index.html; \
        httpd -p 5000 -h /tmp/a; httpd -f -p 8000 -h /tmp/b";
    // Nothing leads to it in the beginning, not even a Service.
    let body = json!({ "pod_id": id, "image": "busybox", "command": ["sh", "-c", script], "networking": {} });
    scene.create(&scene.alice, body).await;
    let started = scene.alice.await_status(&id, "AVAILABLE").await;
    assert_eq!(started["networking_live"], false, "{started}");
    let (first, late) = (scene.env.pod_host(&id, "default"), scene.env.pod_host(&id, "late"));
    let put = async |networking: serde_json::Value| {
        let path = format!("/v3/pods/{id}");
        scene.alice.put(&path, json!({ "networking": networking })).await.result()
    };
    let changed = put(json!({ "default": { "port": 5000 } })).await;
    assert_eq!(changed["networking_live"], true, "{changed}");
    scene.cluster.await_port(&id, 5000, "first").await;
    scene.visitor.await_page(&first, "/", 200, "first").await;
    put(json!({ "default": { "port": 8000 } })).await;
    scene.cluster.await_port(&id, 8000, "second").await;
    scene.visitor.await_page(&first, "/", 200, "second").await;
    put(json!({ "default": { "port": 8000 }, "late": { "port": 5000 } })).await;
    scene.cluster.await_port(&id, 5000, "first").await;
    scene.visitor.await_page(&late, "/", 200, "first").await;
    assert_eq!(scene.visitor.https(&first, "/").await.text.trim(), "second");
    let explained = scene.alice.get(&format!("/v3/pods/{id}/explain")).await.result();
    let live: Vec<_> =
        explained["networking"].as_array().unwrap().iter().map(|entry| &entry["live"]).collect();
    assert_eq!(live, [true, true], "{explained}");
    let now = scene.alice.pod(&id).await;
    assert_eq!(now["start_instance_ts"], started["start_instance_ts"], "it was not started again");
}

#[tokio::test]
async fn an_unknown_host_has_a_page_with_and_without_tls() {
    let scene = Scene::new().await;
    let host = scene.env.pod_host(&scene.id("nobody"), "default");
    for page in [scene.visitor.https(&host, "/").await, scene.visitor.http(&host, "/x").await] {
        assert_eq!(page.code, 404, "{page:?}");
        assert!(page.text.contains("There is no pod here"), "{page:?}");
    }
}

#[tokio::test]
async fn a_pod_that_starts_and_fails_says_so_and_no_more() {
    let scene = Scene::new().await;
    let id = scene.too_large("pages").await;
    let host = scene.env.pod_host(&id, "default");
    let page = scene.visitor.await_page(&host, "/", 503, "is starting").await;
    assert!(!page.retry_after.is_empty(), "{page:?}");
    assert!(page.text.contains("http-equiv=\"refresh\""), "{page:?}");
    assert_eq!(scene.visitor.http(&host, "/").await.code, 308);

    scene.alice.await_status(&id, "ERROR").await;
    let page = scene.visitor.await_page(&host, "/", 503, "is not running").await;
    for secret in [id.as_str(), "secret plan", "Insufficient", "alice", "busyhttpd"] {
        assert!(!page.text.contains(secret), "{secret}: {page:?}");
    }
}

#[tokio::test]
async fn a_stopped_pod_is_no_longer_routed_and_a_started_one_is_again() {
    let scene = Scene::new().await;
    let id = scene.httpd("unrouted").await;
    let host = scene.env.pod_host(&id, "default");
    scene.visitor.await_page(&host, "/", 200, "It works").await;
    scene.alice.act(&id, "stop").await;
    scene.alice.await_status(&id, "STOPPED").await;
    scene.visitor.await_page(&host, "/", 503, "is stopped").await;
    let document = reqwest::Client::builder().no_proxy().build().unwrap();
    let document = document.get(format!("{}/traefik-config", scene.env.edge_url)).send().await.unwrap();
    assert!(!document.text().await.unwrap().contains(&host), "no route is left");

    scene.alice.act(&id, "start").await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    scene.visitor.await_page(&host, "/", 200, "It works").await;
    scene.alice.delete(&format!("/v3/pods/{id}")).await.result();
    scene.visitor.await_page(&host, "/", 503, "is being deleted").await;
    scene.visitor.await_page(&host, "/", 404, "There is no pod here").await;
}

#[tokio::test]
async fn a_pod_that_was_never_started_and_one_that_has_finished() {
    let scene = Scene::new().await;
    let id = scene.id("off");
    let body = json!({ "pod_id": id, "image": "busyhttpd", "status_requested": "OFF" });
    scene.create(&scene.alice, body).await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 503, "is stopped").await;
    let id = scene.shell("finished", "exit 0").await;
    scene.alice.await_status(&id, "COMPLETE").await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), "/", 503, "has finished").await;
}

#[tokio::test]
async fn an_entry_that_wants_a_login_is_not_open() {
    let scene = Scene::new().await;
    let id = scene.id("login");
    let networking = json!({ "default": { "protocol": "http", "port": 5000, "tapis_auth": true } });
    scene.create(&scene.alice, json!({ "pod_id": id, "image": "busyhttpd", "networking": networking })).await;
    scene.alice.await_status(&id, "AVAILABLE").await;
    let host = scene.env.pod_host(&id, "default");
    let page = await_condition("the way to the login", LIMIT, || async {
        let page = scene.visitor.https(&host, "/").await;
        assert_ne!(page.code, 200, "open to everybody: {page:?}");
        if page.code == 302 { Ok(page) } else { Err(format!("{page:?}")) }
    });
    let login = format!("{}/v3/pods/{id}/auth?", scene.env.base_url);
    let page = page.await;
    assert!(page.location.starts_with(&login), "{page:?}");
}
