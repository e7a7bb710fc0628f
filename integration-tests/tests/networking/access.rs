//! Who may reach an entry: by address, and from inside of the cluster alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use integration_tests::{
    Scene, await_condition,
    programs::curl,
    scene::{BUSYBOX, POSTGRES, PYTHON},
    wait::LIMIT,
};
use serde_json::{Value, json};

use crate::{
    databases::{Database, POSTGRES_USER},
    start,
};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// An entry for each protocol, all of them with one list. The web server's port is that of two entries.
fn entries(list: &Value) -> Value {
    json!({ "networking": {
        "default": { "protocol": "http", "port": 5000, "ip_allow_list": list },
        "raw": { "protocol": "tcp", "port": 5000, "ip_allow_list": list },
        "data": { "protocol": "postgres", "port": 5432, "ip_allow_list": list },
        "ends": { "protocol": "postgres", "port": 5432, "tls_mode": "terminate", "ip_allow_list": list },
    } })
}

/// Which entries let a client in that comes from an address: HTTP, TCP, PostgreSQL with TLS of its own and of the proxy.
async fn open(scene: &Scene, id: &str, from: IpAddr) -> [bool; 4] {
    let web = async |entry: &str| {
        let host = scene.env.pod_host(id, entry);
        let reply = curl(&scene.env, Some(from), (&host, "/"), &[]).await;
        reply.is_ok_and(|reply| reply.code == 200 && reply.text.contains("It works"))
    };
    let data = async |entry: &str, mode: &str| {
        let database = Database::of(scene, id, entry).await;
        let reply = database.psql(&format!("hostaddr={from} {mode}"), "select 1").await;
        reply.is_ok()
    };
    let verified = format!("sslmode=verify-full sslrootcert={}", scene.env.ca_file.display());
    [
        web("default").await,
        web("raw").await,
        data("data", "sslmode=require").await,
        data("ends", &verified).await,
    ]
}

#[tokio::test]
async fn an_address_that_is_not_on_the_list_does_not_get_in() {
    let scene = Scene::new().await;
    let both = "httpd -p 5000 -h /www; exec docker-entrypoint.sh postgres";
    let mut body = entries(&json!(["192.0.2.1"]));
    body["image"] = POSTGRES.into();
    body["command"] = json!(["sh", "-c", both]);
    body["environment_variables"] = POSTGRES_USER.clone();
    let id = start(&scene, "list", body).await;
    for (list, v4, v6) in [
        (json!([]), true, true),
        (json!(["127.0.0.1"]), true, false),
        (json!(["::1"]), false, true),
        (json!(["192.0.2.0/24", "2001:db8::/32"]), false, false),
        (json!(["127.0.0.0/8", "::/64"]), true, true),
    ] {
        scene.alice.put(&format!("/v3/pods/{id}"), entries(&list)).await.result();
        await_condition(&format!("the list {list} counts"), LIMIT, || async {
            let found = (open(&scene, &id, V4).await, open(&scene, &id, V6).await);
            if found == ([v4; 4], [v6; 4]) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        let host = scene.env.pod_host(&id, "default");
        for (from, may) in [(V4, v4), (V6, v6)] {
            let reply = curl(&scene.env, Some(from), (&host, "/"), &[]).await.unwrap();
            assert_eq!(reply.code, if may { 200 } else { 403 }, "{from} {list}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_local_entry_is_reached_from_inside_alone() {
    let scene = Scene::new().await;
    let body = json!({
        "image": BUSYBOX,
        "command": ["httpd", "-f", "-p", "9000", "-h", "/www"],
        "networking": { "inside": { "protocol": "local_only", "port": 9000 } },
    });
    let id = start(&scene, "local", body).await;
    // As docs/kubernetes.md says how pods call each other.
    let url = format!("http://pods-{}-dev-{id}:9000/", scene.env.site_id);
    let ask = format!("import urllib.request; print(urllib.request.urlopen('{url}', timeout=10).read())");
    let caller = scene.id("caller");
    let body = json!({ "pod_id": caller, "image": PYTHON, "command": ["python3", "-c", ask] });
    scene.create(&scene.alice, body).await;
    scene.alice.await_status(&caller, "COMPLETE").await;
    assert!(scene.alice.logs(&caller).await.contains("It works"));

    let host = scene.env.pod_host(&id, "inside");
    let outside = scene.visitor.https(&host, "/").await;
    assert!(outside.code == 404 && !outside.text.contains("It works"), "{outside:?}");
    assert_eq!(scene.visitor.http(&host, "/").await.code, 404);
    let document = reqwest::Client::builder().no_proxy().build().unwrap();
    let document = document.get(format!("{}/traefik-config", scene.env.edge_url)).send().await.unwrap();
    assert!(!document.text().await.unwrap().contains(&host), "no route leads there");
    let said = scene.alice.get(&format!("/v3/pods/{id}/explain")).await.result();
    assert!(said["networking"].to_string().contains("inside"), "{said}");
}
