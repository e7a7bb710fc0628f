//! Several entries of a pod, and pods whose names could be mistaken for each other.

use integration_tests::{
    Caller, Scene, await_condition, env::TokenWish, programs::curl, scene::BUSYBOX, wait::LIMIT,
};
use serde_json::json;

use crate::start;

/// Serves numbers, more than the proxy leaves uncompressed.
const NUMBERS: &str = "mkdir /tmp/www; seq 5000 > /tmp/www/numbers.txt; exec httpd -f -p 5000 -h /tmp/www";

/// What of it is asked for, and what the answer contains.
const PATH: &str = "/numbers.txt";
const NUMBER: &str = "\n4999\n";

#[tokio::test]
async fn several_entries_on_one_port() {
    let scene = Scene::new().await;
    let body = json!({
        "image": BUSYBOX,
        "command": ["sh", "-c", NUMBERS],
        "networking": {
            "default": { "protocol": "http", "port": 5000 },
            "second": { "protocol": "http", "port": 5000, "ip_allow_list": ["192.0.2.1"] },
            "raw": { "protocol": "tcp", "port": 5000 },
        },
    });
    let id = start(&scene, "oneport", body).await;
    scene.visitor.await_page(&scene.env.pod_host(&id, "default"), PATH, 200, NUMBER).await;
    for (entry, code) in [("default", 200), ("second", 403), ("raw", 200)] {
        let reply = curl(&scene.env, None, (&scene.env.pod_host(&id, entry), PATH), &[]).await.unwrap();
        assert_eq!((reply.code, reply.text.contains(NUMBER)), (code, code == 200), "{entry}: {reply:?}");
    }
    let pod = scene.alice.pod(&id).await;
    for (entry, said) in pod["networking"].as_object().unwrap() {
        assert_eq!(said["url"], scene.env.pod_host(&id, entry));
    }
}

#[tokio::test]
async fn answers_are_compressed_as_the_entry_says() {
    let scene = Scene::new().await;
    let body = json!({
        "image": BUSYBOX,
        "command": ["sh", "-c", NUMBERS],
        "networking": {
            "default": { "port": 5000 },
            "gzip": { "port": 5000, "proxy_compression_encodings": ["gzip"] },
            "large": { "port": 5000, "proxy_compression_min_response_body_bytes": 100_000 },
            "types": { "port": 5000, "proxy_compression_excluded_content_types": ["text/plain"] },
        },
    });
    let id = start(&scene, "compress", body).await;
    let encoding = async |entry: &str, accepted: &str| {
        let accepted = format!("Accept-Encoding: {accepted}");
        let host = scene.env.pod_host(&id, entry);
        let reply = curl(&scene.env, None, (&host, PATH), &["--header", &accepted]).await.unwrap();
        assert!(
            reply.code == 200 && reply.header("content-type").starts_with("text/plain"),
            "{entry}: {reply:?}"
        );
        reply.header("content-encoding").to_owned()
    };
    for entry in ["default", "gzip", "large", "types"] {
        scene.visitor.await_page(&scene.env.pod_host(&id, entry), PATH, 200, NUMBER).await;
    }
    for (entry, accepted, expected) in [
        ("default", "gzip, br, zstd", "zstd"),
        ("default", "gzip", "gzip"),
        ("default", "identity", ""),
        ("gzip", "gzip, br, zstd", "gzip"),
        ("gzip", "br", ""),
        ("large", "gzip, br, zstd", ""),
        ("types", "gzip, br, zstd", ""),
    ] {
        assert_eq!(encoding(entry, accepted).await, expected, "{entry} for {accepted}");
    }
    let plain = json!({ "networking": { "default": { "port": 5000, "proxy_compression": false } } });
    scene.alice.put(&format!("/v3/pods/{id}"), plain).await.result();
    await_condition("answers are not compressed any more", LIMIT, || async {
        let found = encoding("default", "gzip").await;
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn pods_of_one_name_in_tenants_with_and_without_a_hyphen() {
    let scene = Scene::new().await;
    let two = scene.env.other_tenant().clone();
    assert!(two.id.contains('-'), "the second tenant of the environment has a hyphen");
    let token = scene.env.token(TokenWish { user: "alice", tenant: &two.id, ..TokenWish::default() });
    let callers = [scene.alice.clone(), Caller::new("alice", &two.base_url, token)];
    let id = scene.id("same");
    let mut hosts = Vec::new();
    for (place, caller) in callers.iter().enumerate() {
        // Each entry has a page that says whose it is.
        let script = format!(
            "for net in default admin; do mkdir /tmp/$net; echo tenant {place} $net > /tmp/$net/index.html; done; \
             httpd -p 5001 -h /tmp/admin; exec httpd -f -p 5000 -h /tmp/default"
        );
        let body = json!({
            "pod_id": id,
            "image": BUSYBOX,
            "command": ["sh", "-c", script],
            "networking": { "default": { "port": 5000 }, "admin": { "port": 5001 } },
        });
        let pod = scene.create(caller, body).await;
        for entry in ["default", "admin"] {
            let host = pod["networking"][entry]["url"].as_str().unwrap().to_owned();
            hosts.push((host, format!("tenant {place} {entry}")));
        }
    }
    for caller in &callers {
        caller.await_status(&id, "AVAILABLE").await;
    }
    for (host, text) in &hosts {
        scene.visitor.await_page(host, "/", 200, text).await;
    }
    // One of them ends, and the other one is not touched.
    callers[0].delete(&format!("/v3/pods/{id}")).await.result();
    scene.visitor.await_page(&hosts[0].0, "/", 404, "There is no pod here").await;
    for (host, text) in &hosts[2..] {
        let page = scene.visitor.https(host, "/").await;
        assert!(page.code == 200 && page.text.contains(text), "{host}: {page:?}");
    }
}

/// A page, and a program of the web server after which the container counts as ready.
const READY_ON_DEMAND: &str = r#"
mkdir -p /tmp/www/cgi-bin
cd /tmp/www
echo welcome > index.html
printf '#!/bin/sh\ntouch /tmp/ready\nprintf "Content-Type: text/plain\\r\\n\\r\\nready"\n' > cgi-bin/ready
chmod 755 cgi-bin/ready
exec httpd -f -p 5000 -h /tmp/www
"#;

#[tokio::test]
async fn a_container_gets_visitors_once_it_is_ready() {
    let scene = Scene::new().await;
    let probe = json!({ "exec_command": ["test", "-e", "/tmp/ready"], "initial_delay_seconds": 0, "period_seconds": 1 });
    let body = json!({
        "image": BUSYBOX,
        "command": ["sh", "-c", READY_ON_DEMAND],
        "healthchecks": { "readiness": probe },
    });
    let id = start(&scene, "unready", body).await;
    let host = scene.env.pod_host(&id, "default");
    let page = scene.visitor.await_page(&host, "/", 503, "is starting").await;
    assert!(!page.retry_after.is_empty(), "{page:?}");
    let said = async || {
        let pod = scene.alice.pod(&id).await;
        (pod["status"].clone(), pod["networking_live"].clone())
    };
    assert_eq!(said().await, (json!("AVAILABLE"), json!(false)));

    // Nobody gets in, so it is told at its own address.
    let status = scene.cluster.pod_of(&id).await.status.unwrap();
    let url = format!("http://{}:5000/cgi-bin/ready", status.pod_ip.unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(http.get(url).send().await.unwrap().status(), 200);
    scene.visitor.await_page(&host, "/", 200, "welcome").await;
    assert_eq!(said().await, (json!("AVAILABLE"), json!(true)));

    // The next start is not ready either, and need not be.
    let open = json!({ "healthchecks": { "readiness": probe, "networking_requires_ready": false } });
    scene.alice.put(&format!("/v3/pods/{id}"), open).await.result();
    let before = scene.cluster.pod_of(&id).await.metadata.uid;
    scene.alice.act(&id, "restart").await;
    await_condition("another container runs", LIMIT, || async {
        let (pods, said) = (scene.cluster.pods_of(&id).await, said().await);
        let other = pods.len() == 1 && pods[0].metadata.uid != before;
        if other && said.0 == "AVAILABLE" { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    scene.visitor.await_page(&host, "/", 200, "welcome").await;
    let ready =
        scene.cluster.pod_of(&id).await.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready =
        ready.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status.clone());
    assert_eq!((ready.as_deref(), said().await.1), (Some("False"), json!(true)));
}
